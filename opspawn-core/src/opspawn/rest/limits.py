"""What is refused before a request is looked into: foreign hosts, media types, bodies too large, deep or not JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection
from typing import NoReturn

from opspawn.contracts.asgi import Asgi, Message, Receive, Scope, Send
from opspawn.rest.problems import Problem

_LOCAL_NAMES = {"localhost", "127.0.0.1", "[::1]"}


class Limits:
    """An ASGI middleware. With `local`, only requests to a loopback name pass: no web page can reach in by DNS.

    `hosts` are further names that pass, "NAME:*" with any port; `section` has the setting for larger bodies.
    """

    def __init__(
        self,
        app: Asgi,
        *,
        max_body_bytes: int,
        max_depth: int,
        local: bool,
        hosts: Collection[str] = (),
        section: str = "plugins.rest",
    ) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._max_depth = max_depth
        self._local = local
        self._hosts = hosts
        self._section = section

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
        if self._local and bare.lower() not in _LOCAL_NAMES and not {name, f"{bare}:*"}.intersection(self._hosts):
            detail = f"This server answers to localhost, not to {name!r}."
            raise Problem(421, "foreign-host", detail, remedy="Ask for http://localhost or http://127.0.0.1.")

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
            detail = f"The body must be application/json, not {media or 'untyped'}."
            raise Problem(415, "media-type", detail, remedy="Send the header Content-Type: application/json.")
        if depth_of(body, self._max_depth) > self._max_depth:
            detail = f"The JSON is nested deeper than {self._max_depth} levels."
            raise Problem(400, "too-deep", detail, remedy="Send a flatter value, or raise plugins.rest.max_depth.")
        try:
            data = json.loads(body, parse_constant=_no_json, parse_float=_finite, parse_int=_whole)
            # Rare enough to be looked for in the text first: half of a surrogate pair, which no UTF-8 can express.
            if rb"\u" in body:
                json.dumps(data, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            detail = "The body is not JSON in Unicode: it has half of a surrogate pair."
            raise Problem(400, "not-json", detail, remedy="Send the character itself, or both halves.") from error
        except ValueError as error:
            raise Problem(400, "not-json", f"The body is not JSON: {error}.", remedy="Send one JSON value.") from error

    def _too_large(self) -> Problem:
        detail = f"The body is larger than {self._max_body_bytes} bytes."
        return Problem(413, "too-large", detail, remedy=f"Send less, or raise {self._section}.max_body_bytes.")


def depth_of(body: bytes, limit: int) -> int:
    """How deep arrays and objects nest, counted without parsing; stops one above `limit`."""
    depth = deepest = 0
    for bracket in _TEXT.sub(b"", body).translate(None, _NO_BRACKETS):
        if bracket in b"[{":
            depth += 1
            deepest = max(deepest, depth)
            if deepest > limit:
                return deepest
        else:
            depth -= 1
    return deepest


_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def _no_json(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:20]} is too large")
    return number


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:  # Python refuses thousands of digits, with advice that is not for clients
        raise ValueError(f"a number of {len(text)} digits is too large") from None


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
