"""How one transport serves another: what wants to be reached at a path of the HTTP server that is there anyway."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from opspawn.contracts.asgi import Asgi
from opspawn.contracts.transport import Transport


@dataclass(frozen=True, slots=True)
class Mount:
    """An ASGI application to be served at a path of another transport's server, and at all paths below it.

    It gets requests with their whole path, as it would at an address of its own, after they have passed what the server
    refuses: foreign hosts, bodies that are too large, too deep, or not JSON. It answers between its transport's `start`
    and `stop`; whatever comes before and after is its own to refuse.

    Args:
        path: such as "/hooks"; without a slash at the end.
        section: the table of the configuration that it comes from, such as "plugins.hooks", for messages. These name
            its settings `path` and `max_body_bytes`.
        max_body_bytes: its largest request; None leaves that to the server.
        hosts: further names by which requests to it may come, as in the header Host: "NAME", or "NAME:*" for any port.
    """

    path: str
    app: Asgi
    section: str
    max_body_bytes: int | None = None
    hosts: Sequence[str] = ()


@runtime_checkable
class Mountable(Protocol):
    """A transport that need not listen itself, where another that serves HTTP is open, too."""

    def mount(self) -> Mount | None:
        """What to serve; None if it is to have an address of its own. Asked once, before anything is bound."""
        ...

    def mounted(self, carrier: Transport) -> None:
        """It is served by `carrier`: `bind` takes no address, and `address` is that of the carrier with the path.

        Called before `bind`, at which the carrier has its address. `start` and `stop` come before those of the carrier.
        """
        ...


@runtime_checkable
class Carrier(Protocol):
    """A transport that serves HTTP and lets others in: REST."""

    def carry(self, mount: Mount) -> None:
        """Serve this, too, once it starts. Called before `bind`.

        Raises: ConfigError: the path is none, or not free.
        """
        ...
