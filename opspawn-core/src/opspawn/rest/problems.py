"""Errors as RFC 9457 problem documents with a stable `code`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from loguru import logger
from starlette.exceptions import HTTPException
from starlette.responses import Response

from opspawn.contracts.asgi import Asgi, Message, Receive, Scope, Send
from opspawn.errors import InvalidInput, OpspawnError
from opspawn.logs import traceback_text
from opspawn.rest.answers import JsonAnswer
from opspawn.rest.faults import faults_of, member_of

_FIELD = re.compile(r"\{\w+\}")
MEDIA_TYPE = "application/problem+json"

#: The HTTP status of each code of `opspawn.errors`; any other is a 500.
STATUS = {
    "not-found": 404,
    "invalid-input": 422,
    "idempotency-mismatch": 422,
    "invalid-transition": 409,
    "conflict": 409,
    "refused": 403,
    "denied": 403,
    "limited": 429,
    "memory": 503,
    "memory-unusable": 503,
    "embedder-mismatch": 409,
    "model": 503,
    "store": 503,
    "store-unusable": 503,
}
_TITLES = {
    400: "Bad request",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    413: "Content too large",
    415: "Unsupported media type",
    421: "Misdirected request",
    422: "Unprocessable content",
    500: "Internal server error",
    503: "Service unavailable",
}


class Problem(Exception):
    """An error with its HTTP status, before it has become a response; `members` are further members of the document."""

    def __init__(
        self, status: int, code: str, detail: str, *, headers: Mapping[str, str] | None = None, **members: Any
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers
        self.members = members

    def response(self, instance: str) -> Response:
        """The problem document."""
        body = {
            "type": f"urn:opspawn:problem:{self.code}",
            "title": _TITLES.get(self.status, "Error"),
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            "instance": instance,
            **self.members,
        }
        return JsonAnswer(body, self.status, self.headers, MEDIA_TYPE)


def invalid_request(faults: Sequence[Mapping[str, str]]) -> Problem:
    """A request that does not fit the API; each fault has a `pointer` to its place and a `detail`."""
    detail = "; ".join(f"{fault['pointer']}: {fault['detail'].rstrip('.')}" for fault in faults)
    detail += "" if detail.endswith("?") else "."
    return Problem(422, "invalid-request", detail, errors=list(faults))


class LastResort:
    """An ASGI middleware: what nobody foresaw is logged, once, and answered with a problem document."""

    def __init__(self, app: Asgi) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            logger.bind(exception=traceback_text(error), error_type=type(error).__name__).error(
                "{} {} failed", scope.get("method"), scope.get("path")
            )
            # An answer that has begun cannot be taken back: without an end of it, the server cuts the connection.
            if not started:
                answer = Problem(500, "internal", "The server failed; its log tells why.").response(scope["path"])
                await answer(scope, receive, send)


def install(api: FastAPI) -> None:
    """Make every error of `api` a problem document."""

    @api.exception_handler(Problem)
    async def on_problem(request: Request, error: Problem) -> Response:
        return error.response(request.url.path)

    @api.exception_handler(OpspawnError)
    async def on_known(request: Request, error: OpspawnError) -> Response:
        members: dict[str, Any] = {"remedy": error.remedy} if error.remedy else {}
        if isinstance(error, InvalidInput):
            error = error.named(member_of(error.argument)) if error.argument else error
            if error.faults:
                members["errors"] = [{"detail": fault} for fault in error.faults]
        return Problem(STATUS.get(error.code, 500), error.code, error.message, **members).response(request.url.path)

    @api.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> Response:
        return invalid_request(faults_of(error.errors(), request.scope.get("route"))).response(request.url.path)

    @api.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> Response:
        return _of_http(request, error).response(request.url.path)

    api.add_middleware(LastResort)


def _methods(request: Request) -> list[str]:
    """All methods that a path takes, by the API's own description: a route knows only its own."""
    described: Mapping[str, Mapping[str, Any]] = request.app.openapi()["paths"]
    path = request.url.path
    fitting = [methods for known, methods in described.items() if re.fullmatch(_FIELD.sub("[^/]+", known), path)]
    return sorted({method.upper() for methods in fitting for method in methods})


def _of_http(request: Request, error: HTTPException) -> Problem:
    path, headers = request.url.path, error.headers
    if error.status_code == 404:
        return Problem(404, "no-such-path", f"There is no path {path}.", remedy="GET /openapi.json tells the paths.")
    if error.status_code == 405:
        allowed = ", ".join(_methods(request)) or (headers or {}).get("Allow", "another method")
        detail = f"{request.method} is not allowed on {path}."
        return Problem(405, "method-not-allowed", detail, headers={"Allow": allowed}, remedy=f"Use {allowed}.")
    return Problem(error.status_code, "http", str(error.detail), headers=headers)
