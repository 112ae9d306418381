"""Errors as problem documents, the unforeseen ones too."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from loguru import logger

from opspawn.contracts.asgi import Message, Receive, Scope, Send
from opspawn.errors import (
    Conflict,
    IdempotencyMismatch,
    InvalidInput,
    InvalidTransition,
    NotFound,
    OpspawnError,
    StoreError,
    StoreUnusable,
)
from opspawn.host import Host
from opspawn.rest import problems


class Failing:
    """An app whose only route raises what it is given."""

    def __init__(self) -> None:
        self.api = FastAPI()
        self.error: Exception = ValueError("the secret is 42")
        problems.install(self.api)
        self.api.get("/fail")(self._fail)
        self.client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=self.api), base_url="http://localhost")

    async def _fail(self) -> None:
        raise self.error


@pytest.fixture
def logged() -> Any:
    """What is logged meanwhile: level and message."""
    lines: list[tuple[str, str]] = []
    sink = logger.add(lambda line: lines.append((line.record["level"].name, line.record["message"])), level="DEBUG")
    yield lines
    logger.remove(sink)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (NotFound("agent", "x"), 404, "not-found"),
        (InvalidInput("No."), 422, "invalid-input"),
        (IdempotencyMismatch("No."), 422, "idempotency-mismatch"),
        (InvalidTransition("No."), 409, "invalid-transition"),
        (Conflict("No."), 409, "conflict"),
        (StoreError("No."), 503, "store"),
        (StoreUnusable("No."), 503, "store-unusable"),
        (OpspawnError("No."), 500, "error"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_each_error_of_ours_has_its_status_and_its_code(error: Exception, status: int, code: str) -> None:
    app = Failing()
    app.error = error

    answer = await app.client.get("/fail")

    assert (answer.status_code, answer.json()["status"], answer.json()["code"]) == (status, status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == f"urn:opspawn:problem:{code}"


async def test_remedy_and_faults_ride_along() -> None:
    app = Failing()
    app.error = InvalidInput("Two faults.", faults=["a: one.", "b: two."], remedy="Mend them.")

    body = (await app.client.get("/fail")).json()

    assert body["detail"] == "Two faults."
    assert body["remedy"] == "Mend them."
    assert body["errors"] == [{"detail": "a: one."}, {"detail": "b: two."}]


async def test_what_nobody_foresaw_is_logged_once_and_tells_nothing_inside(logged: list[tuple[str, str]]) -> None:
    app = Failing()

    answer = await app.client.get("/fail")

    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "42" not in answer.text
    assert [line for line in logged if line[0] == "ERROR"] == [("ERROR", "GET /fail failed")]


async def test_an_answer_that_breaks_off_is_logged_and_has_no_end(logged: list[tuple[str, str]]) -> None:
    sent: list[Message] = []

    async def breaking(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half of ", "more_body": True})
        raise ValueError("the other half is lost")

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await problems.LastResort(breaking)({"type": "http", "method": "GET", "path": "/half"}, receive, send)

    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[-1]["more_body"] is True
    assert logged == [("ERROR", "GET /half failed")]


async def test_the_connection_survives_a_failure_that_nobody_foresaw(client: httpx2.AsyncClient, host: Host) -> None:
    """A real fault: the database goes away under a running server."""
    await host.store.aclose()

    answers = [await client.get("/v1/opscore/tasks"), await client.get("/readyz"), await client.get("/healthz")]

    assert [answer.status_code for answer in answers] == [503, 503, 200]
    assert answers[0].json()["code"] == "store"
    assert answers[1].json()["ready"] is False


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/opscore/tasks", "GET, POST"),
        ("POST", "/v1/opscore/agent/echo", "DELETE, GET"),
        ("DELETE", "/v1/opscore/tasks/t-1", "GET"),
    ],
)
async def test_a_405_names_all_methods_that_the_path_takes(
    client: httpx2.AsyncClient, method: str, path: str, allowed: str
) -> None:
    answer = await client.request(method, path)
    assert (answer.status_code, answer.headers["Allow"], answer.json()["remedy"]) == (405, allowed, f"Use {allowed}.")
