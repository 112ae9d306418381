"""The scripted server itself: it reads a request, records it, asks the script, and answers."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from opspawn.testing.model_server.http import ClientGone, Connection, Cut, HttpRequest
from opspawn.testing.model_server.steps import BreakStream, Fail, Garbage, Hang, Script, Step, answer_of
from opspawn.testing.model_server.wire import BadRequest, Frame, Wire


class ModelServer:
    """A scripted model server; an async context manager. `wires` says which protocol is spoken at which path.

    Args:
        script: a step for each request in turn, or a function from the request to its step (see `Script`). A request
            that the protocol refuses uses up no step. After the last step every request is refused with 400.
        port: 0 takes a free one.
        latency_s: seconds before the first byte of every answer, besides the step's own.
        log: a file to which each request is appended as one JSON line before it is answered: time (epoch seconds), n,
            dialect, model, stream, messages, tools.
        models: the models it has, others are answered with 404; None for any.

    Attributes:
        requests: what was understood, in order: dialect, model, messages, tools, stream, n, body, headers.
        connections: how many connections were opened so far.
        disconnects: how often a client went away before its answer was complete; `client_gone` is set at the first.
    """

    #: The protocol at each path of a POST.
    wires: ClassVar[Mapping[str, Wire]] = {}
    #: What clients take as the path of their base URL.
    prefix = ""

    def __init__(
        self,
        script: Script,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        latency_s: float = 0.0,
        log: str | os.PathLike[str] | None = None,
        models: tuple[str, ...] | None = None,
    ) -> None:
        self._script = script
        self._host, self._port = host, port
        self._latency_s = latency_s
        self._log = Path(log) if log is not None else None
        self.models = models
        self._steps_used = 0
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], Connection] = {}
        self.requests: list[dict[str, Any]] = []
        self.connections = 0
        self.disconnects = 0
        self.client_gone = asyncio.Event()

    def other(self, http: HttpRequest) -> tuple[int, dict[str, Any]]:
        """The answer, with its status, to a request at a path without a wire."""
        return 404, {"error": {"message": f"Invalid URL ({http.method} {http.path})"}}

    @property
    def base_url(self) -> str:
        """What a client takes as its base URL, e.g. "http://127.0.0.1:40123/v1"."""
        return f"http://{self._host}:{self._port}{self.prefix}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self._host, self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop, cutting whatever is being answered. Idempotent."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        for task, connection in list(self._open.items()):
            connection.abort()
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connection = self._open[task] = Connection(reader, writer)
        self.connections += 1
        try:
            await self._converse(connection)
            await connection.close()
        except (ClientGone, ConnectionError):
            self.disconnects += 1
            self.client_gone.set()
        except asyncio.CancelledError:
            # Only `aclose` cancels these tasks; ending quietly keeps asyncio's stream callback from logging it.
            return
        finally:
            del self._open[task]
            connection.abort()

    async def _converse(self, connection: Connection) -> None:
        try:
            while (request := await connection.receive()) is not None:
                await self._route(connection, request)
                if not request.keep_alive:
                    return
        except ValueError as error:
            await connection.send_body(400, {"error": {"message": str(error)}}, {"connection": "close"})
        except Cut:
            return

    async def _route(self, connection: Connection, http: HttpRequest) -> None:
        wire = self.wires.get(http.path) if http.method == "POST" else None
        if wire is None:
            await connection.send_body(*self.other(http))
            return
        try:
            request = self._record(wire, http)
        except BadRequest as error:
            await connection.send_body(400, wire.error(400, str(error), error.code, error.param))
            return
        if self.models is not None and request["model"] not in self.models:
            text = f"The model '{request['model']}' does not exist or you do not have access to it."
            await connection.send_body(404, wire.error(404, text, "model_not_found"))
            return
        await self._answer(connection, wire, request, await self._step(wire, request))

    def _record(self, wire: Wire, http: HttpRequest) -> dict[str, Any]:
        try:
            body = json.loads(http.body)
        except ValueError:
            body = None
        request = wire.read(body, http.headers) | {"n": len(self.requests) + 1, "headers": http.headers}
        self.requests.append(request)
        if self._log is not None:
            shown = {key: request[key] for key in ("n", "dialect", "model", "stream", "messages", "tools")}
            with self._log.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"time": time.time(), **shown}, ensure_ascii=False) + "\n")
        return request

    async def _step(self, wire: Wire, request: dict[str, Any]) -> Step:
        if callable(self._script):
            try:
                step = self._script(request)
                return await step if inspect.isawaitable(step) else step
            except Exception as error:
                # Not a 5xx: a client would try again, and the mistake in the script would show as a slow test.
                return _refuse(wire, f"The script failed: {type(error).__name__}: {error}")
        if self._steps_used == len(self._script):
            return _refuse(wire, f"The script has only {len(self._script)} steps.")
        self._steps_used += 1
        return self._script[self._steps_used - 1]

    async def _answer(self, connection: Connection, wire: Wire, request: dict[str, Any], step: Step) -> None:
        await connection.pause(self._latency_s + step.latency_s)
        headers = {wire.id_header: f"req_{request['n']}"}
        if isinstance(step, BreakStream) and step.error is not None and not request["stream"]:
            step = Fail(step.error)
        if isinstance(step, Fail):
            await _send_failure(connection, wire, step, headers)
            return
        if isinstance(step, Garbage):
            kind = "text/event-stream" if request["stream"] else "application/json"
            await connection.send_body(200, step.text, headers | {"content-type": kind})
            return
        said = answer_of(step.answer if isinstance(step, (Hang, BreakStream)) else step)
        if request["stream"]:
            await _send_stream(connection, wire, wire.frames(request, said), headers, step)
            return
        if isinstance(step, Hang):
            await connection.pause(step.seconds)
        cut = isinstance(step, BreakStream)
        await connection.send_body(200, wire.whole(request, said), headers, cut=cut)


async def _send_stream(
    connection: Connection, wire: Wire, frames: Iterator[Frame], headers: dict[str, str], step: Step
) -> None:
    kind = {"content-type": "text/event-stream; charset=utf-8", "transfer-encoding": "chunked"}
    await connection.send_head(200, {**kind, **headers})
    pieces = 0
    for frame in frames:
        if frame.piece and isinstance(step, (Hang, BreakStream)) and pieces == step.after_n_chunks:
            if isinstance(step, Hang):
                await connection.pause(step.seconds)
            elif step.error is not None:
                await connection.send_chunk(Frame(wire.error(step.error, "Scripted failure on the way.")).encode())
                break
            elif step.clean:
                break
            else:
                raise Cut
        await connection.send_chunk(frame.encode())
        pieces += frame.piece
    await connection.send_chunk(b"")


async def _send_failure(connection: Connection, wire: Wire, step: Fail, headers: dict[str, str]) -> None:
    headers = {**headers, **step.headers}
    if step.retry_after is not None:
        headers["retry-after"] = str(step.retry_after)
    body = wire.error(step.status, f"Scripted failure {step.status}.") if step.body is None else step.body
    await connection.send_body(step.status, body, headers)


def _refuse(wire: Wire, text: str) -> Fail:
    return Fail(400, body=wire.error(400, text, "script"))
