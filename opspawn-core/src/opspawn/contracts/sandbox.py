"""Where a tool runs and what it may reach there, and what a sandbox must do."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from opspawn.contracts.tool import ToolContext
from opspawn.errors import ConfigError

SandboxPolicy = Literal["required", "best_effort"]


@dataclass(frozen=True, slots=True)
class Sandbox:
    """Where a tool runs and what it may reach there.

    `sandbox="process"` is short for `Sandbox()`. What is said beyond the name counts for "process" (and for plugins as
    they say); "none" and "thread" hold nothing back.

    Attributes:
        name: "process" (a process of its own for each call, behind walls), "thread" (a thread, so that a blocking
            `async` function does not hold up others), "none" (as without a sandbox), or that of a plugin.
        policy: "required": no call where this kernel cannot keep all that is promised; "best_effort": the log says
            once what is missing, and the call goes on.
        read, write, execute: files and folders, with all below them, that the tool may read, may change (and read), may
            run as programs. Relative paths start at the current folder. Its own temporary folder, which is also its
            current one and goes away after the call, and Python with its packages are always there.
        network: whether it may open connections; Unix sockets stay closed.
        env: names of variables that it gets, of the worker's; names that look like secrets are refused.
        memory_mb: how much each of its processes may allocate, in MiB.
        cpu_s: seconds of CPU time of each of its processes. (`timeout_s` of the tool limits the time on the wall.)
        processes: how many processes and threads it may have at a time; without user namespaces, where the kernel
            counts those of all the user's programs together, up to 64 more.
        files: how many files each process may have open.
        disk_mb: how large its temporary folder and each file may get, in MiB.
    """

    name: str = "process"
    policy: SandboxPolicy = "required"
    read: Sequence[str | os.PathLike[str]] = ()
    write: Sequence[str | os.PathLike[str]] = ()
    execute: Sequence[str | os.PathLike[str]] = ()
    network: bool = False
    env: Sequence[str] = ()
    memory_mb: int = 512
    cpu_s: int = 60
    processes: int = 32
    files: int = 256
    disk_mb: int = 64

    def __post_init__(self) -> None:
        for field in ("read", "write", "execute", "env"):
            given = getattr(self, field)
            if isinstance(given, str) or not isinstance(given, Sequence):
                raise ConfigError(f"Sandbox has {field}={given!r}; a list is meant.")
        for field in ("memory_mb", "cpu_s", "processes", "files", "disk_mb"):
            given = getattr(self, field)
            if isinstance(given, bool) or not isinstance(given, int) or given < 1:
                raise ConfigError(f"Sandbox has {field}={given!r}; a whole number from 1 is meant.")
        if self.policy not in ("required", "best_effort"):
            raise ConfigError(f"Sandbox has policy={self.policy!r}.", remedy='Known: "required", "best_effort".')
        for name in self.env:
            if _SECRETIVE & set(name.upper().split("_")) or name.upper().startswith("OPSPAWN_"):
                raise ConfigError(
                    f"Sandbox has {name!r} in env, which looks like a secret.",
                    remedy="A sandbox gets no secrets by its environment; hand on what one run needs in its deps.",
                )


_SECRETIVE = {"KEY", "APIKEY", "TOKEN", "SECRET", "SECRETS", "PASSWORD", "PASSWD", "CREDENTIAL", "CREDENTIALS", "DSN"}


@dataclass(frozen=True, slots=True)
class SandboxCall:
    """One call.

    Attributes:
        tool, function: the tool's name, and the function behind it.
        arguments: as the model sent them; they fit.
        here: carries the call out in this process, a plain function in a thread.
    """

    tool: str
    function: Callable[..., Any]
    arguments: dict[str, Any]
    context: ToolContext
    sandbox: Sandbox
    here: Callable[[], Coroutine[Any, Any, Any]]


class SandboxRunner(Protocol):
    """A place where tools run. Belongs to one event loop."""

    def check(self, tool: str, function: Callable[..., Any]) -> None:
        """Return when such a function can run here. Raises: ConfigError, with the remedy."""
        ...

    async def run(self, call: SandboxCall) -> Any:
        """Carry out a call and return what the function returned, as JSON. Never blocks the event loop.

        Cancelled, it ends the work and whatever that has started, if the place can do so, within two seconds.

        Raises:
            ModelRetry, ToolError, InvalidInput: the function raised it.
            ToolError: the function failed (`tool_error`), died, with its work perhaps done (`transient`), or was not
                begun because the sandbox cannot keep its promises (`denied`).
        """
        ...

    async def aclose(self) -> None:
        """End what is still there. Idempotent."""
        ...
