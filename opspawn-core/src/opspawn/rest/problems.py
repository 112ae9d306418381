"""Errors as RFC 9457 problem documents with a stable `code`."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from loguru import logger
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from opspawn.errors import InvalidInput, OpspawnError

MEDIA_TYPE = "application/problem+json"

#: The HTTP status of each code of `opspawn.errors`; any other is a 500.
STATUS = {
    "not-found": 404,
    "invalid-input": 422,
    "idempotency-mismatch": 422,
    "invalid-transition": 409,
    "conflict": 409,
    "store": 503,
    "store-unusable": 503,
}
_TITLES = {
    400: "Bad request",
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
    """An error with its HTTP status, before it has become a response."""

    def __init__(self, status: int, code: str, detail: str, **members: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
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
        return JSONResponse(body, self.status, media_type=MEDIA_TYPE)


def install(api: FastAPI) -> None:
    """Make every error of `api` a problem document."""

    @api.exception_handler(Problem)
    async def on_problem(request: Request, error: Problem) -> Response:
        return error.response(request.url.path)

    @api.exception_handler(OpspawnError)
    async def on_known(request: Request, error: OpspawnError) -> Response:
        members: dict[str, Any] = {"remedy": error.remedy} if error.remedy else {}
        if isinstance(error, InvalidInput) and error.faults:
            members["errors"] = [{"detail": fault} for fault in error.faults]
        return Problem(STATUS.get(error.code, 500), error.code, error.message, **members).response(request.url.path)

    @api.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> Response:
        faults = [{"pointer": _pointer(fault["loc"]), "detail": fault["msg"]} for fault in error.errors()]
        detail = "; ".join(f"{fault['pointer']}: {fault['detail']}" for fault in faults)
        return Problem(422, "invalid-request", detail, errors=faults).response(request.url.path)

    @api.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> Response:
        code = {404: "no-such-path", 405: "method-not-allowed"}.get(error.status_code, "http")
        return Problem(error.status_code, code, str(error.detail)).response(request.url.path)

    @api.exception_handler(Exception)
    async def on_unforeseen(request: Request, error: Exception) -> Response:
        logger.opt(exception=error).error("{} {} failed", request.method, request.url.path)
        return Problem(500, "internal", "The server failed; its log tells why.").response(request.url.path)


def _pointer(place: tuple[int | str, ...]) -> str:
    where, *rest = place
    return f"{where}/{'/'.join(str(part) for part in rest)}" if rest else str(where)
