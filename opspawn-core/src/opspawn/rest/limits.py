"""What is refused before a request is looked into: foreign hosts, other media types, bodies too large, too deep or not JSON."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from opspawn.rest.problems import Problem

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

_LOCAL_NAMES = {"localhost", "127.0.0.1", "[::1]"}


class Limits:
    """An ASGI middleware. With `local`, only requests that name a loopback host pass, so that no web page can reach in by DNS."""

    def __init__(self, app: Asgi, *, max_body_bytes: int, max_depth: int, local: bool) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._max_depth = max_depth
        self._local = local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            self._check_host(headers)
            if scope["method"] in ("POST", "PUT", "PATCH"):
                receive = _replay(await self._body(headers, receive), receive)
        except Problem as problem:
            await problem.response(scope["path"])(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _check_host(self, headers: dict[str, str]) -> None:
        name = headers.get("host", "")
        bare = name if name.endswith("]") else name.rsplit(":", 1)[0]
        if self._local and bare.lower() not in _LOCAL_NAMES:
            raise Problem(421, "foreign-host", f"This server answers to localhost, not to {name!r}.")

    async def _body(self, headers: dict[str, str], receive: Receive) -> bytes:
        declared = headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self._max_body_bytes:
            raise self._too_large()
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Problem(400, "incomplete", "The request ended before its body did.")
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self._max_body_bytes:
                raise self._too_large()
        if body:
            self._check_json(headers, bytes(body))
        return bytes(body)

    def _check_json(self, headers: dict[str, str], body: bytes) -> None:
        media = headers.get("content-type", "").split(";")[0].strip().lower()
        if media != "application/json" and not media.endswith("+json"):
            raise Problem(415, "media-type", f"The body must be application/json, not {media or 'untyped'}.")
        if depth_of(body, self._max_depth) > self._max_depth:
            raise Problem(400, "too-deep", f"The JSON is nested deeper than {self._max_depth} levels.")
        try:
            json.loads(body)
        except ValueError as error:
            raise Problem(400, "not-json", f"The body is not JSON: {error}.") from error

    def _too_large(self) -> Problem:
        return Problem(413, "too-large", f"The body is larger than {self._max_body_bytes} bytes.")


def depth_of(body: bytes, limit: int) -> int:
    """How deep arrays and objects nest, counted without parsing; stops one above `limit`."""
    depth = deepest = 0
    in_string = escaped = False
    for byte in body:
        if in_string:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                in_string = False
        elif byte == 0x22:
            in_string = True
        elif byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
            if deepest > limit:
                return deepest
        elif byte in b"]}":
            depth -= 1
    return deepest


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
