"""Faults: what goes wrong ends as a `ModelError` of the right class, with a plain sentence and no secret in it."""

from __future__ import annotations

import asyncio
import socket
import time
from email.utils import formatdate
from typing import Any

import pytest

from opspawn.contracts.model import Message, ModelDelta, ModelRequest
from opspawn.errors import ModelError
from opspawn.testing.model_promises import ModelSuite, needs
from opspawn.testing.model_server import BreakStream, Fail, Garbage, Hang, Say

KEY = "secret-0123456789abcdef"
COUNT = Say("One two three four.")


@pytest.mark.asyncio
class FaultPromises(ModelSuite):
    """What a failure promises."""

    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            (400, "permanent"),
            (401, "denied"),
            (402, "denied"),
            (403, "denied"),
            (404, "permanent"),
            (429, "rate_limited"),
            (500, "transient"),
            (502, "transient"),
            (503, "transient"),
            (504, "transient"),
        ],
    )
    async def test_a_status_has_its_class(self, streamed: bool, status: int, kind: str) -> None:
        """With the status, the vendor's words, and the id of the request for its support. Nothing is tried twice."""
        server = await self.serve(Fail(status), Say("Never."))
        with pytest.raises(ModelError, match=f"Scripted failure {status}") as caught:
            await self.ask(self.opened(server.base_url), streamed=streamed)
        assert (caught.value.error_type, caught.value.status) == (kind, status)
        if "request_ids" in self.capabilities:
            assert caught.value.request_id == "req_1"
        assert len(server.requests) == 1

    async def test_an_overloaded_vendor_is_worth_another_try(self, streamed: bool) -> None:
        """Status 529 is "later", and not "never"."""
        server = await self.serve(Fail(529))
        with pytest.raises(ModelError) as caught:
            await self.ask(self.opened(server.base_url), streamed=streamed)
        assert caught.value.error_type in ("rate_limited", "transient")

    @pytest.mark.parametrize(
        ("value", "low", "high"),
        [
            (7, 7, 7),
            ("1.5", 1.5, 1.5),
            (3600.0, 3000, 3600),
            (-3600.0, 0, 0),
        ],
        ids=["seconds", "fraction", "date", "past-date"],
    )
    async def test_a_429_says_when_to_come_back(self, value: int | str | float, low: float, high: float) -> None:
        """In seconds, whichever way the vendor said it; here a float stands for the date so many seconds from now."""
        if isinstance(value, float):
            value = formatdate(time.time() + value, usegmt=True)
        server = await self.serve(Fail(429, retry_after=value))
        with pytest.raises(ModelError) as caught:
            await self.ask(self.opened(server.base_url))
        assert caught.value.retry_after_s is not None
        assert low <= caught.value.retry_after_s <= high

    @pytest.mark.parametrize("value", [None, "soon", "nan", ""])
    async def test_a_429_without_a_usable_time_has_none(self, value: Any) -> None:
        """It is never guessed."""
        server = await self.serve(Fail(429, retry_after=value))
        with pytest.raises(ModelError) as caught:
            await self.ask(self.opened(server.base_url))
        assert (caught.value.error_type, caught.value.retry_after_s) == ("rate_limited", None)

    @pytest.mark.parametrize("clean", [False, True], ids=["cut", "clean"])
    async def test_a_broken_stream_is_no_answer(self, clean: bool) -> None:
        """However it ends, half an answer is a transient failure, after the pieces that came."""
        server = await self.serve(BreakStream(2, COUNT, clean=clean))
        provider, deltas = self.opened(server.base_url), list[ModelDelta]()
        with pytest.raises(ModelError) as caught:
            await provider.complete(ModelRequest(self.model, [Message("user", "Count.")]), deltas.append)
        assert caught.value.error_type == "transient"
        assert "".join(delta.text for delta in deltas) == "One two"

    async def test_a_body_that_breaks_off_is_no_answer(self) -> None:
        """A whole answer of which the end is missing is a transient failure."""
        server = await self.serve(BreakStream(0, COUNT))
        with pytest.raises(ModelError) as caught:
            await self.ask(self.opened(server.base_url))
        assert caught.value.error_type == "transient"

    @needs("error_events")
    @pytest.mark.parametrize(("status", "kinds"), [(500, ("transient",)), (429, ("rate_limited",))])
    async def test_an_error_in_a_stream_has_its_class(self, status: int, kinds: tuple[str, ...]) -> None:
        """Though the HTTP status was 200."""
        server = await self.serve(BreakStream(1, COUNT, error=status))
        with pytest.raises(ModelError, match="Scripted failure on the way") as caught:
            await self.ask(self.opened(server.base_url), streamed=True)
        assert caught.value.error_type in kinds

    @pytest.mark.parametrize("text", ["<html>Welcome!</html>", '{"hello": "world"}', "[1, 2]", '{"cho', ""])
    async def test_what_is_none_of_the_protocol_is_no_answer(self, streamed: bool, text: str) -> None:
        """A proxy's page, another API, nothing at all: an error, and never an empty answer."""
        server = await self.serve(Garbage(text))
        with pytest.raises(ModelError) as caught:
            await self.ask(self.opened(server.base_url), streamed=streamed)
        assert caught.value.error_type in ("permanent", "transient")

    async def test_an_event_that_is_no_json_is_no_answer(self) -> None:
        """The stream counts as broken."""
        server = await self.serve(Garbage('event: message\ndata: {"type": "mess\n\n'))
        with pytest.raises(ModelError) as caught:
            await self.ask(self.opened(server.base_url), streamed=True)
        assert caught.value.error_type == "transient"

    async def test_silence_ends_as_a_timeout(self, streamed: bool) -> None:
        """Before the first byte."""
        server = await self.serve(Hang(60))
        with pytest.raises(ModelError) as caught:
            await self.ask(self.opened(server.base_url, timeout_s=0.2), streamed=streamed)
        assert caught.value.error_type == "timeout"

    async def test_silence_in_the_middle_of_a_stream_ends_as_a_timeout(self) -> None:
        """Between two pieces, too."""
        server = await self.serve(Hang(60, after_n_chunks=1, answer=COUNT))
        with pytest.raises(ModelError) as caught:
            await self.ask(self.opened(server.base_url, timeout_s=0.2), streamed=True)
        assert caught.value.error_type == "timeout"

    async def test_a_server_that_is_not_there_is_a_transient_failure(self, streamed: bool) -> None:
        """The error names it, and asks whether it runs."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        with pytest.raises(ModelError, match=f"127.0.0.1:{port}") as caught:
            await self.ask(self.opened(f"http://127.0.0.1:{port}"), streamed=streamed)
        assert caught.value.error_type == "transient"

    async def test_pieces_arrive_while_the_answer_is_being_made(self) -> None:
        """They are not kept back until its end."""
        server = await self.serve(Hang(60, after_n_chunks=3, answer=COUNT))
        provider, pieces = self.opened(server.base_url), asyncio.Queue[str]()
        request = ModelRequest(self.model, [Message("user", "Count.")])
        call = asyncio.create_task(provider.complete(request, lambda delta: pieces.put_nowait(delta.text)))
        assert [await pieces.get() for _ in range(3)] == ["One", " two", " three"]
        assert not call.done()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    async def test_cancelling_a_call_closes_its_connection(self, streamed: bool) -> None:
        """So that nobody goes on making an answer which nobody will read."""
        begun = asyncio.Event()

        def script(request: dict[str, Any]) -> Hang:
            begun.set()
            return Hang(60, answer=COUNT)

        server = await self.serve(script)
        provider = self.opened(server.base_url)
        call = asyncio.create_task(self.ask(provider, streamed=streamed))
        await begun.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(server.client_gone.wait(), 10)

    async def test_a_listener_that_fails_ends_the_call(self) -> None:
        """With its own exception, and the connection closed."""
        server = await self.serve(Hang(60, after_n_chunks=1, answer=COUNT))

        def fail(delta: ModelDelta) -> None:
            raise LookupError(delta.text)

        with pytest.raises(LookupError, match="One"):
            await self.opened(server.base_url).complete(ModelRequest(self.model, [Message("user", "Count.")]), fail)
        await asyncio.wait_for(server.client_gone.wait(), 10)

    async def test_a_provider_works_again_after_a_failure(self, streamed: bool) -> None:
        """Whatever happened before."""
        server = await self.serve(BreakStream(1, COUNT), Fail(500), Garbage(), Say("Here again."))
        provider = self.opened(server.base_url)
        for _ in range(3):
            with pytest.raises(ModelError):
                await self.ask(provider, streamed=streamed)
        assert (await self.ask(provider, streamed=streamed)).answer.text == "Here again."

    async def test_no_error_quotes_the_key(self, streamed: bool) -> None:
        """Though servers like to quote the key that they refuse; neither its text nor its causes."""
        body = {"error": {"message": f"Incorrect key: {KEY}", "type": "authentication_error"}}
        server = await self.serve(Fail(401, body=body))
        with pytest.raises(ModelError) as caught:
            await self.ask(self.opened(server.base_url, key=KEY), streamed=streamed)
        error: BaseException | None = caught.value
        assert "Incorrect key" in str(error)
        while error is not None:
            assert KEY not in str(error)
            error = error.__cause__

    async def test_a_server_of_another_sort_is_refused_for_good(self) -> None:
        """JSON that is no answer is the wrong address, and no passing fault."""
        server = await self.serve(Garbage('{"hello": "world"}'))
        with pytest.raises(ModelError) as caught:
            await self.ask(self.opened(server.base_url))
        assert caught.value.error_type == "permanent"
