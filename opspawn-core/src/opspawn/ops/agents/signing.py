"""Signed messages between agentkit and ops-core: HMAC-SHA256 over the timestamp, a dot, and the body as it is sent."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime

from opspawn.errors import Refused

TIMESTAMP = "X-AgentKit-Timestamp"
SIGNATURE = "X-AgentKit-Signature"
#: How far the timestamp of a message may lie from our clock, in seconds.
WINDOW_S = 300.0


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """The signature of a body, in hex."""
    return hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def signed(secret: str, now: float, body: bytes) -> dict[str, str]:
    """The headers that sign a body, dated `now` (epoch seconds)."""
    timestamp = str(int(now))
    return {TIMESTAMP: timestamp, SIGNATURE: sign(secret, timestamp, body)}


def verify(secret: str, headers: Mapping[str, str], body: bytes, now: float) -> float:
    """When a message was signed, in epoch seconds, once its signature holds; names of headers in any case.

    The timestamp is Unix seconds or ISO 8601 (UTC without an offset), within five minutes of `now`.

    Raises: Refused.
    """
    given = {name.lower(): value for name, value in headers.items()}
    timestamp, signature = given.get(TIMESTAMP.lower(), ""), given.get(SIGNATURE.lower(), "")
    if not timestamp or not signature:
        raise Refused("The message is not signed.", remedy=f"Send {TIMESTAMP} and {SIGNATURE}.")
    expected = sign(secret, timestamp, body)
    if not hmac.compare_digest(expected.encode(), signature.lower().encode("utf-8", "replace")):
        raise Refused("The signature does not fit the message.", remedy="Sign timestamp, dot and body with the secret.")
    when = _epoch(timestamp)
    if when is None:
        raise Refused(f"The timestamp {timestamp[:40]!r} is no time.", remedy="Send Unix seconds, or ISO 8601.")
    if not abs(when - now) <= WINDOW_S:
        raise Refused("The message was signed too long ago, or in the future.", remedy="Set the clocks; sign it anew.")
    return when


def _epoch(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
