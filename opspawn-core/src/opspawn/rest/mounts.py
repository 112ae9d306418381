"""What other transports have served by the server of the API, each at a path of its own, behind the same limits."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from opspawn.contracts.asgi import Asgi, Receive, Scope, Send
from opspawn.contracts.mounting import Mount
from opspawn.errors import ConfigError
from opspawn.rest.limits import Limits
from opspawn.rest.plugin import RestConfig

_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+")


def check_mount(mount: Mount, own: Collection[str], others: Sequence[Mount]) -> None:
    """Whether a path can be served: `own` are the first parts of the API's. Raises: ConfigError."""
    place, path = f"{mount.section}.path", mount.path
    if not path.startswith("/"):
        raise ConfigError(f"{place}: {path!r} does not begin with a slash.", remedy=f'Write "/{path}".')
    if not _PATH.fullmatch(path):
        remedy = 'Name one, such as "/mine", without a slash at its end.'
        raise ConfigError(f"{place}: {path!r} is no path that REST can serve beside its own.", remedy=remedy)
    if path.split("/")[1] in own:
        remedy = f"Choose another; these are REST's own: {', '.join(f'/{one}' for one in sorted(own))}."
        raise ConfigError(f"{place}: {path!r} lies where the paths of REST are.", remedy=remedy)
    for other in others:
        if _below(path, other.path) or _below(other.path, path):
            words = f"{place}: {path!r} is in the way of {other.path!r} ({other.section}.path)."
            raise ConfigError(words, remedy="Give each a path of its own, neither below the other.")


class Mounts:
    """An ASGI middleware: each mounted application gets the requests to its path and below it, past limits of its own
    where it has any; all others go on.
    """

    def __init__(self, app: Asgi, *, mounts: Sequence[Mount], config: RestConfig, local: bool) -> None:
        self._app = app
        self._mounted = [(mount.path, _limited(mount, config, local)) for mount in mounts]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http":
            app = next((mounted for path, mounted in self._mounted if _below(scope["path"], path)), app)
        await app(scope, receive, send)


def _limited(mount: Mount, config: RestConfig, local: bool) -> Asgi:
    """The application behind the API's limits, with the size and the names that the mount brings."""
    own = mount.max_body_bytes is not None
    return Limits(
        mount.app,
        max_body_bytes=mount.max_body_bytes if mount.max_body_bytes is not None else config.max_body_bytes,
        max_depth=config.max_depth,
        local=local,
        hosts=frozenset(mount.hosts),
        section=mount.section if own else "plugins.rest",
    )


def _below(path: str, mount: str) -> bool:
    return path == mount or path.startswith(f"{mount}/")
