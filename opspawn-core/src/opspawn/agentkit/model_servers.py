"""For authors of model providers: where a server is and by which key, one client per event loop, failures in words."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from pydantic import SecretStr

from opspawn.agentkit.providing import BrokenAnswer, is_url, without_secrets
from opspawn.errors import ModelError, PluginError


def server_of(name: str, base_url: str | None, api_key: SecretStr | None, *, example: str) -> tuple[str | None, str]:
    """Return the address and the key for the provider `name`, from its section or else from the environment.

    The variables are NAME_BASE_URL and NAME_API_KEY. The address is None for the vendor's own; the key may be "" for
    any other server. `example` is an address for the error's text.

    Raises: PluginError: there is no key for the vendor's own server, or the variable holds no address.
    """
    variable = f"{name.upper()}_BASE_URL"
    address = base_url or os.environ.get(variable) or None
    if address is not None and not is_url(address):
        raise PluginError(
            f"{variable} is {address!r}, which is no address.", remedy=f"Set it to one such as {example}, or unset it."
        )
    known = f"{name.upper()}_API_KEY"
    key = (api_key.get_secret_value() if api_key else "") or os.environ.get(known, "")
    if not key and address is None:
        raise PluginError(
            f"There is no API key for the model provider {name!r}.",
            remedy=f"Set {known}, or api_key in [plugins.{name}]; for a server of your own, set base_url there.",
        )
    return address, key


class Closable(Protocol):
    """A vendor's client."""

    async def close(self) -> None:
        """Close the connections."""
        ...


C = TypeVar("C", bound=Closable)


class ClientOfLoop(Generic[C]):
    """A client that is made where it is first needed, and anew in another event loop: connections belong to one."""

    def __init__(self, make: Callable[[], C]) -> None:
        self._make = make
        self._client: C | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def get(self) -> C:
        """The client of the running loop."""
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            self._client, self._loop = self._make(), loop
        return self._client

    async def aclose(self) -> None:
        """Close the connections of this loop. Idempotent; a later `get` makes a new client."""
        client, self._client = self._client, None
        if client is not None and self._loop is asyncio.get_running_loop():
            await client.close()


class HasJson(Protocol):
    """An HTTP response."""

    def json(self) -> Any:
        """Its body as JSON. Raises: ValueError."""
        ...


def json_object(response: HasJson) -> dict[str, Any]:
    """The JSON object that is an answer. Raises: BrokenAnswer."""
    try:
        data = response.json()
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise BrokenAnswer("its answer is not a JSON object", foreign=True)
    return data


async def json_events(stream: AsyncIterable[object]) -> AsyncGenerator[dict[str, Any], None]:
    """The events of a stream that are JSON objects. Raises: BrokenAnswer, for an event that is not JSON."""
    try:
        async for event in stream:
            if isinstance(event, dict):
                yield event
    except ValueError:
        raise BrokenAnswer("an event of its stream is not JSON") from None


@dataclass(frozen=True, slots=True)
class Place:
    """Whom was asked for what, for the text of errors; `secrets` must not appear in any.

    `provider` is the provider's name, as in `[plugins.NAME]`.
    """

    provider: str
    server: str
    model: str
    secrets: Sequence[str] = ()

    def clean(self, text: str) -> str:
        """One line without secrets; servers like to quote the key they refuse."""
        return without_secrets(text, self.secrets)

    def late(self, error: Exception) -> ModelError:
        """What to raise for a call that timed out; the cause of `error` tells whether a connection was there."""
        if "Connect" in type(error.__cause__).__name__:
            return ModelError(
                f"The model server at {self.server} could not be reached in time.",
                error_type="timeout",
                remedy="Is the server running, and base_url right?",
            )
        return ModelError(
            f"Model {self.model!r} at {self.server} did not answer in time.",
            error_type="timeout",
            remedy=f"Raise timeout_s in [plugins.{self.provider}] if it is only slow.",
        )

    def broken(self, error: Exception) -> ModelError:
        """What to raise for a connection that could not be made, or broke."""
        cause = error.__cause__
        if "Connect" in type(cause).__name__:
            text = self.clean(f"The model server at {self.server} cannot be reached: {str(cause) or 'no connection'}.")
            return ModelError(text, error_type="transient", remedy="Is the server running, and base_url right?")
        text = f"The connection to the model server at {self.server} broke before the answer was complete."
        return ModelError(text, error_type="transient")

    def unread(self, error: Exception, *, remedy: str) -> ModelError:
        """What to raise for an answer that cannot be read; `remedy` is for a server with another protocol."""
        if isinstance(error, BrokenAnswer) and error.foreign:
            return ModelError(f"The server at {self.server} does not speak this protocol: {error}.", remedy=remedy)
        return ModelError(self.clean(f"The server at {self.server} broke off: {error}."), error_type="transient")

    def said(self, status: int, text: str) -> tuple[str, str, str | None] | None:
        """Error type, message and remedy of a status that means the same with every vendor; None for the others."""
        if status == 402:
            remedy = "Add credit, or use another key."
            return "denied", f"The account at {self.server} has no credit left: {text}", remedy
        if status in (401, 403):
            known = f"{self.provider.upper()}_API_KEY"
            remedy = f"Check {known}, or api_key in [plugins.{self.provider}]."
            return "denied", f"The server at {self.server} refused the key: {text}", remedy
        if status == 429:
            return "rate_limited", f"The server at {self.server} asks to slow down: {text}", None
        if status in (408, 409, 425) or status >= 500:
            return "transient", f"The server at {self.server} failed with status {status}: {text}", None
        return None

    def too_long(self, text: str) -> tuple[str, str, str | None]:
        """Error type, message and remedy of a request that is more than the model can read."""
        remedy = "Give the model less to read, or use one with a longer context."
        return "context_overflow", f"Context length exceeded for model {self.model!r}: {text}", remedy

    def refused(self, text: str) -> tuple[str, str, str | None]:
        """Error type, message and remedy of a request that would be refused again."""
        return "permanent", f"The server at {self.server} refused the request: {text}", None
