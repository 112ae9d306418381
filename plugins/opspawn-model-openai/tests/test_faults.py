"""What goes wrong ends as a `ModelError`: the right class of retry, a plain sentence, a remedy, and no secret in it."""

from __future__ import annotations

import asyncio
import socket
import time
from email.utils import formatdate

import pytest

from opspawn.contracts.model import Message, ModelRequest
from opspawn.errors import ModelError
from opspawn.testing.openai_server import BreakStream, CallTools, Fail, Hang, Say

KEY = "sk-test-0123456789abcdef"


def error_body(message: str, code: str | None = None) -> dict[str, object]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}


@pytest.mark.parametrize(
    ("failure", "low", "high"),
    [
        (Fail(429, retry_after=7), 7, 7),
        (Fail(429, retry_after="1.5"), 1.5, 1.5),
        (Fail(429, headers={"retry-after-ms": "250"}), 0.25, 0.25),
        (lambda: Fail(429, retry_after=formatdate(time.time() + 3600, usegmt=True)), 3000, 3600),
        (Fail(429, retry_after=formatdate(1_000_000_000, usegmt=True)), 0, 0),
        (
            Fail(
                429,
                retry_after=formatdate(1_000_000_090, usegmt=True),
                headers={"date": formatdate(1_000_000_000, usegmt=True)},
            ),
            90,
            90,
        ),
    ],
    ids=["seconds", "fraction", "milliseconds", "date", "past-date", "date-by-the-servers-clock"],
)
async def test_a_429_says_when_to_come_back(serve, asker, failure, low, high):
    ask = asker(await serve(failure() if callable(failure) else failure))

    with pytest.raises(ModelError) as caught:
        await ask()

    assert (caught.value.error_type, caught.value.status) == ("rate_limited", 429)
    assert caught.value.retry_after_s is not None
    assert low <= caught.value.retry_after_s <= high
    assert caught.value.request_id == "req_1"


@pytest.mark.parametrize("value", [None, "soon", "nan", ""])
async def test_a_429_without_a_usable_time_has_none(serve, asker, value):
    ask = asker(await serve(Fail(429, retry_after=value)))

    with pytest.raises(ModelError) as caught:
        await ask()

    assert (caught.value.error_type, caught.value.retry_after_s) == ("rate_limited", None)


@pytest.mark.parametrize(
    ("failure", "kind", "text"),
    [
        (Fail(500), "transient", "failed with status 500: Scripted failure 500."),
        (Fail(503, body="<html>Bad gateway</html>"), "transient", "failed with status 503: HTTP status 503"),
        (Fail(408), "transient", "status 408"),
        (Fail(409), "transient", "status 409"),
        (Fail(401), "denied", "Check OPENAI_API_KEY, or api_key in [plugins.openai]."),
        (Fail(403, body=error_body("Not in your country.")), "denied", "refused the key: Not in your country."),
        (Fail(429, body=error_body("You exceeded it.", "insufficient_quota")), "denied", "has no credit left"),
        (Fail(402, body=error_body("Insufficient credits")), "denied", "has no credit left"),
        (
            Fail(404, body=error_body("No such thing.", "model_not_found")),
            "permanent",
            "Model 'test-model' was not found",
        ),
        (Fail(404, body={"detail": "Not Found"}), "permanent", "base_url in [plugins.openai]"),
        (Fail(400, body=error_body("temperature must be a number")), "permanent", "temperature must be a number"),
        (Fail(400, body={"error": "unexpected end"}), "permanent", "refused the request: unexpected end"),
        (
            Fail(400, body=error_body("maximum context length is 8192 tokens", "context_length_exceeded")),
            "context_overflow",
            "Context length exceeded for model 'test-model'",
        ),
        (
            Fail(400, body={"error": {"message": "the request exceeds the available context size"}}),
            "context_overflow",
            "Context length exceeded",
        ),
        (Fail(422, body={"detail": [{"loc": ["body"], "msg": "bad"}]}), "permanent", "refused the request: [{"),
    ],
)
async def test_an_http_error_has_its_class_and_its_words(serve, asker, failure, kind, text):
    ask = asker(await serve(failure))

    with pytest.raises(ModelError) as caught:
        await ask()

    assert caught.value.error_type == kind
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (caught.value.status, caught.value.request_id) == (failure.status, "req_1")


async def test_there_is_exactly_one_request_per_call(serve, asker):
    server = await serve(Fail(500), Say("Never."))

    with pytest.raises(ModelError):
        await asker(server)()

    assert len(server.requests) == 1


async def test_a_secret_never_stands_in_an_error(serve, asker):
    echo = error_body(f"Incorrect API key provided: {KEY}; header was letmein-please.")
    server = await serve(Fail(401, body=echo), Fail(500, body=f"{KEY} broke"))
    ask = asker(server, api_key=KEY, headers={"X-Team": "letmein-please"})

    for _ in range(2):
        with pytest.raises(ModelError) as caught:
            await ask()
        assert KEY not in str(caught.value)
        assert "letmein-please" not in str(caught.value)
        assert caught.value.__cause__ is None

    assert server.requests[0]["headers"]["authorization"] == f"Bearer {KEY}"
    assert server.requests[0]["headers"]["x-team"] == "letmein-please"


@pytest.mark.parametrize("answer", [Say("One two three four."), CallTools([("search", {"query": "one two three"})])])
async def test_an_answer_that_breaks_off_is_transient_and_never_returned(serve, asker, answer):
    ask = asker(await serve(BreakStream(2, answer)))

    with pytest.raises(ModelError, match="broke before the answer was complete") as caught:
        await ask()

    assert caught.value.error_type == "transient"


async def test_a_stream_that_ends_in_good_order_without_its_last_event_is_transient(serve, open_provider, dialect):
    server = await serve(BreakStream(2, Say("One two three four."), clean=True))
    provider = open_provider(base_url=server.base_url, dialect=dialect)
    deltas = []

    with pytest.raises(ModelError, match="stream ended before the answer was complete") as caught:
        await provider.complete(ModelRequest("m", [Message("user", "Count.")]), deltas.append)

    assert caught.value.error_type == "transient"
    assert "".join(delta.text for delta in deltas) == "One two"


async def test_a_server_that_is_down_is_named_with_the_question_whether_it_runs(open_provider, dialect, streamed):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    provider = open_provider(base_url=f"http://user:hunter2hunter2@127.0.0.1:{port}/v1", dialect=dialect)

    with pytest.raises(ModelError) as caught:
        await provider.complete(ModelRequest("m", [Message("user", "Hi")]), print if streamed else None)

    assert caught.value.error_type == "transient"
    assert f"The model server at http://127.0.0.1:{port}/v1 cannot be reached" in str(caught.value)
    assert "Is the server running" in str(caught.value)
    assert "hunter2" not in str(caught.value)


async def test_silence_ends_as_a_timeout(serve, asker):
    ask = asker(await serve(Hang(60, after_n_chunks=0)), timeout_s=0.2)

    with pytest.raises(ModelError, match="did not answer in time") as caught:
        await ask()

    assert caught.value.error_type == "timeout"


async def test_silence_in_the_middle_of_a_stream_ends_as_a_timeout(serve, open_provider, dialect):
    server = await serve(Hang(60, after_n_chunks=1, answer=Say("One two")))
    provider = open_provider(base_url=server.base_url, dialect=dialect, timeout_s=0.2)
    deltas = []

    with pytest.raises(ModelError) as caught:
        await provider.complete(ModelRequest("m", [Message("user", "Hi")]), deltas.append)

    assert caught.value.error_type == "timeout"
    assert [delta.text for delta in deltas] == ["One"]


async def test_deltas_arrive_while_the_answer_is_still_being_made(serve, open_provider, dialect):
    server = await serve(Hang(60, after_n_chunks=3, answer=Say("One two three four.")))
    provider = open_provider(base_url=server.base_url, dialect=dialect)
    pieces: asyncio.Queue[str] = asyncio.Queue()

    call = asyncio.create_task(
        provider.complete(ModelRequest("m", [Message("user", "Hi")]), lambda delta: pieces.put_nowait(delta.text))
    )
    arrived = [await pieces.get() for _ in range(3)]

    assert arrived == ["One", " two", " three"]
    assert not call.done()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


@pytest.mark.parametrize("after", [0, 1])
async def test_cancelling_a_call_closes_its_connection(serve, open_provider, dialect, streamed, after):
    begun = asyncio.Event()

    def script(request):
        if not (streamed and after):
            begun.set()
        return Hang(60, after_n_chunks=after, answer=Say("One two three."))

    server = await serve(script)
    provider = open_provider(base_url=server.base_url, dialect=dialect)
    request = ModelRequest("m", [Message("user", "Count.")])
    call = asyncio.create_task(provider.complete(request, (lambda delta: begun.set()) if streamed else None))
    await begun.wait()

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    await asyncio.wait_for(server.client_gone.wait(), 10)
    assert server.disconnects == 1


async def test_a_listener_that_fails_ends_the_call_and_closes_its_connection(serve, open_provider, dialect):
    server = await serve(Hang(60, after_n_chunks=1, answer=Say("One two three.")))
    provider = open_provider(base_url=server.base_url, dialect=dialect)

    def fail(delta):
        raise LookupError(delta.text)

    with pytest.raises(LookupError, match="One"):
        await provider.complete(ModelRequest("m", [Message("user", "Count.")]), fail)

    await asyncio.wait_for(server.client_gone.wait(), 10)


async def test_a_provider_works_again_after_a_failure(serve, asker):
    ask = asker(await serve(BreakStream(1, Say("One two three.")), Fail(500), Say("Here again.")))
    for _ in range(2):
        with pytest.raises(ModelError):
            await ask()

    answer = await ask()

    assert answer.text == "Here again."


async def test_a_request_that_breaks_the_protocol_is_refused_with_the_servers_words(serve, asker):
    ask = asker(await serve(Say("Never.")))

    with pytest.raises(ModelError) as caught:
        await ask(Message("user", "Hi"), Message("tool", "found", tool_call_id="call_9"))

    assert (caught.value.error_type, caught.value.status) == ("permanent", 400)


async def test_a_model_that_the_server_lacks_is_named(serve, asker):
    ask = asker(await serve(Say("Never."), models=("other",)))

    with pytest.raises(ModelError, match="Model 'test-model' was not found at http") as caught:
        await ask()

    assert caught.value.error_type == "permanent"


async def test_a_server_of_another_sort_is_told_from_a_broken_one(asker, serve, stack, open_provider, dialect):
    async def hello(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 5\r\nconnection: close\r\n\r\nHello"
        )
        writer.close()

    other = await asyncio.start_server(hello, "127.0.0.1", 0)
    port = other.sockets[0].getsockname()[1]
    async with other:
        provider = open_provider(base_url=f"http://127.0.0.1:{port}", dialect=dialect)

        with pytest.raises(ModelError, match=r"does not speak this protocol.*base_url") as caught:
            await provider.complete(ModelRequest("m", [Message("user", "Hi")]))

    assert caught.value.error_type == "permanent"
