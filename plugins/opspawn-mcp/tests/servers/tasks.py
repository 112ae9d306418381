"""A remote server of the modern era, without the SDK, which answers calls with tasks: the SDK's servers cannot."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

EXTENSION = "io.modelcontextprotocol/tasks"
UNKNOWN = {"code": -32602, "message": "There is no such task."}
FORM = {
    "method": "elicitation/create",
    "params": {
        "mode": "form",
        "message": "How many?",
        "requestedSchema": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
    },
}


class Tasking:
    """The server.

    Attributes:
        said: each request by its method, with the task it is about. tasks: how they are, by id; a test sets that.
        away: whether every request fails, as before a proxy whose server is gone. ends_at_once: whether a task has
            ended once it is asked for.
    """

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []
        self.tasks: dict[str, dict[str, Any]] = {}
        self.updates: list[dict[str, Any]] = []
        self.begins: dict[str, Any] = {"status": "working"}
        self.away = False
        self.ends_at_once = False
        self.app = Starlette(routes=[Route("/mcp", self._answer, methods=["POST", "GET", "DELETE"])])

    def calls(self) -> int:
        """How often the tool was called."""
        return [method for method, _ in self.said].count("tools/call")

    def end(self, text: str = "built") -> None:
        """All tasks are completed."""
        for task in self.tasks.values():
            task.update(
                status="completed", result={"content": [{"type": "text", "text": text}], "resultType": "complete"}
            )

    async def until(self, method: str, times: int = 1) -> None:
        """Return once a request has come so often."""
        for _ in range(4000):
            if [one for one, _ in self.said].count(method) >= times:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"{method} did not come {times} times: {self.said}")

    async def _answer(self, request: Request) -> Response:
        if request.method != "POST" or self.away:
            return Response(status_code=503 if self.away else 405)
        message = await request.json()
        method, params = message["method"], message.get("params") or {}
        if "id" not in message:
            return Response(status_code=202)
        self.said.append((method, params.get("taskId", "")))
        answer = self._result(method, params)
        told = {"jsonrpc": "2.0", "id": message["id"]}
        if "code" in answer:
            return JSONResponse({**told, "error": answer})
        return JSONResponse({**told, "result": {"resultType": "complete", **answer}})

    def _result(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        kept = {"ttlMs": 0, "cacheScope": "private"}
        if method == "server/discover":
            capabilities = {"tools": {}, "extensions": {EXTENSION: {}}}
            return {"supportedVersions": ["2026-07-28"], "capabilities": capabilities, **kept}
        if method == "tools/list":
            tool = {"name": "build", "description": "Builds.", "inputSchema": {"type": "object"}}
            return {"tools": [tool], **kept}
        if method == "tools/call":
            return self._call(params)
        task = self.tasks.get(params.get("taskId", ""))
        if task is None:
            return UNKNOWN
        if method == "tasks/get":
            if self.ends_at_once:
                self.end()
            return task
        if method == "tasks/cancel":
            task["status"] = "cancelled"
            return {}
        if method == "tasks/update":
            self.updates.append(params["inputResponses"])
            task.pop("inputRequests", None)
            task["status"] = "working"
            return {}
        return {"code": -32601, "message": f"There is no {method}."}

    def _call(self, params: dict[str, Any]) -> dict[str, Any]:
        meta = params.get("_meta") or {}
        offered = meta.get("io.modelcontextprotocol/clientCapabilities", {}).get("extensions", {})
        if EXTENSION not in offered:
            return {"content": [{"type": "text", "text": "built at once"}]}
        id = f"t-{len(self.tasks) + 1}"
        times = {"createdAt": "2026-11-26T00:00:00Z", "lastUpdatedAt": "2026-11-26T00:00:00Z"}
        self.tasks[id] = {"taskId": id, "ttlMs": 60_000, "pollIntervalMs": 20, **times, **self.begins}
        return {**self.tasks[id], "resultType": "task"}
