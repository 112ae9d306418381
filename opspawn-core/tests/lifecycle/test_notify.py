"""The webhook of agentkit: signed, within five minutes, and never twice."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from opspawn.contracts.store import Store
from opspawn.errors import InvalidInput, NotFound, Refused
from opspawn.ops.agents.agents import Agents
from opspawn.ops.agents.signing import SIGNATURE, TIMESTAMP, sign, signed, verify
from opspawn.ops.agents.webhook import Notifications

SECRET = "s3cret"
BODY = (
    b'{"event_type":"REGISTER","agent_details":{"agentId":"agent-1","agentName":"Demo","version":"1.0",'
    b'"capabilities":["echo"],"contactEndpoint":"http://agent.example/run","metadata":{}}}'
)
NOW = 1_800_000_000.0


@pytest.fixture
def notifications(store: Store, agents: Agents, clock: Any) -> Notifications:
    return Notifications(store, agents, SECRET, clock)


def body(kind: str = "REGISTER", **details: Any) -> bytes:
    told = {"agentId": "agent-1", "agentName": "Demo", "version": "1.0", "contactEndpoint": "http://agent.example/run"}
    return json.dumps({"event_type": kind, "agent_details": {**told, **details}}).encode()


def test_a_signature_is_as_agentkit_makes_it() -> None:
    assert sign(SECRET, "1745176500", BODY) == "b1a011c7f8fcd0eb653dbda15faec3aac194eb6f65e713a8129d13580aee20f8"


@pytest.mark.parametrize("timestamp", [str(int(NOW)), "2027-01-15T08:00:00Z", "2027-01-15T08:00:00", f"{NOW:.3f}"])
def test_the_timestamp_is_epoch_seconds_or_iso(timestamp: str) -> None:
    assert datetime.fromtimestamp(NOW, UTC).isoformat() == "2027-01-15T08:00:00+00:00"
    headers = {TIMESTAMP.lower(): timestamp, SIGNATURE.upper(): sign(SECRET, timestamp, BODY).upper()}

    assert verify(SECRET, headers, BODY, NOW) == NOW


@pytest.mark.parametrize("off", [-301, 301, -86400])
def test_what_was_signed_too_long_ago_or_in_the_future_is_refused(off: float) -> None:
    with pytest.raises(Refused, match="too long ago"):
        verify(SECRET, signed(SECRET, NOW + off, BODY), BODY, NOW)
    verify(SECRET, signed(SECRET, NOW + 299, BODY), BODY, NOW)


@pytest.mark.parametrize("timestamp", ["soon", "nan", "inf", "-inf", ""])
def test_a_timestamp_that_is_none_is_refused(timestamp: str) -> None:
    with pytest.raises(Refused):
        verify(SECRET, {TIMESTAMP: timestamp, SIGNATURE: sign(SECRET, timestamp, BODY)}, BODY, NOW)


@pytest.mark.parametrize(
    "change",
    [
        lambda headers: {},
        lambda headers: {**headers, SIGNATURE: "0" * 64},
        lambda headers: {**headers, SIGNATURE: "é"},
        lambda headers: {**headers, TIMESTAMP: str(int(NOW) + 1)},
    ],
)
def test_a_signature_that_does_not_fit_is_refused(change: Any) -> None:
    with pytest.raises(Refused):
        verify(SECRET, change(signed(SECRET, NOW, BODY)), BODY, NOW)
    with pytest.raises(Refused):
        verify("other", signed(SECRET, NOW, BODY), BODY, NOW)
    with pytest.raises(Refused):
        verify(SECRET, signed(SECRET, NOW, BODY), BODY + b" ", NOW)


async def test_a_notification_registers_and_deregisters(notifications: Notifications, agents: Agents) -> None:
    assert await notifications.take(signed(SECRET, NOW, BODY), BODY) == "Agent agent-1 is registered."
    found = await agents.get("agent-1")
    assert (found.name, found.capabilities, found.contact_endpoint) == ("Demo", ("echo",), "http://agent.example/run")

    gone = body("deregister")
    await notifications.take(signed(SECRET, NOW + 1, gone), gone)
    with pytest.raises(NotFound):
        await agents.get("agent-1")


async def test_without_a_secret_nothing_is_taken(store: Store, agents: Agents) -> None:
    with pytest.raises(Refused, match="no secret"):
        await Notifications(store, agents, None).take(signed("", NOW, BODY), BODY)


async def test_a_copy_of_a_notification_is_refused(notifications: Notifications) -> None:
    headers = signed(SECRET, NOW, BODY)
    await notifications.take(headers, BODY)

    with pytest.raises(Refused, match="came before"):
        await notifications.take(headers, BODY)


async def test_a_copy_does_not_bring_a_deregistered_agent_back(notifications: Notifications, agents: Agents) -> None:
    headers, gone = signed(SECRET, NOW, BODY), body("DEREGISTER")
    await notifications.take(headers, BODY)
    await notifications.take(signed(SECRET, NOW, gone), gone)

    with pytest.raises(Refused):
        await notifications.take(headers, BODY)
    with pytest.raises(NotFound):
        await agents.get("agent-1")


async def test_an_older_notification_does_not_undo_a_newer(notifications: Notifications, agents: Agents) -> None:
    newer, older = body(version="2"), body(version="1")
    await notifications.take(signed(SECRET, NOW, newer), newer)

    with pytest.raises(Refused, match="later one did"):
        await notifications.take(signed(SECRET, NOW - 10, older), older)
    assert (await agents.get("agent-1")).version == "2"


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (b"[]", "not as agentkit sends it"),
        (b"{", "not as agentkit sends it"),
        (b'{"event_type":"REGISTER","agent_details":{}}', "agentId"),
        (body("DANCE"), "Unknown event type: DANCE"),
        (body(contactEndpoint="nowhere"), "contactEndpoint"),
    ],
)
async def test_a_notification_that_makes_no_sense_is_refused_in_words(
    notifications: Notifications, sent: bytes, told: str
) -> None:
    with pytest.raises(InvalidInput, match=told):
        await notifications.take(signed(SECRET, NOW, sent), sent)


async def test_a_refused_registration_may_be_sent_again_mended(notifications: Notifications, agents: Agents) -> None:
    wrong = body(contactEndpoint="nowhere")
    with pytest.raises(InvalidInput):
        await notifications.take(signed(SECRET, NOW, wrong), wrong)
    await notifications.take(signed(SECRET, NOW, BODY), BODY)

    assert (await agents.get("agent-1")).name == "Demo"
