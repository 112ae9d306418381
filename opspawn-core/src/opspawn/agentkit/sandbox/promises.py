"""What a sandbox promises, and which wall of this kernel keeps which promise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

#: The walls that are built where the kernel has them. Tests leave some out, to stand for another kernel.
WALLS = ("landlock", "seccomp", "namespaces", "user")


@dataclass(slots=True)
class Plan:
    """A call's sandbox with all paths spelled out, as it goes to the process that builds it.

    `base` and `folder`: what every tool may read, and the folder for temporary folders.
    """

    read: list[str] = field(default_factory=list)
    write: list[str] = field(default_factory=list)
    execute: list[str] = field(default_factory=list)
    base: list[str] = field(default_factory=list)
    folder: str = ""
    network: bool = False
    memory_mb: int = 512
    cpu_s: int = 60
    processes: int = 32
    files: int = 256
    disk_mb: int = 64
    required: bool = True
    walls: list[str] = field(default_factory=lambda: list(WALLS))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(slots=True)
class Held:
    """Which walls stand. `landlock` is the version, `counted` whether the number of processes is limited."""

    landlock: int = 0
    seccomp: bool = False
    namespaces: tuple[str, ...] = ()
    counted: bool = False


def gaps(held: Held, *, network: bool) -> list[str]:
    """What cannot be promised with these walls, and what the kernel lacks for it; empty when all is kept."""
    found = []
    if held.landlock < 3:
        what = "cannot be kept from files" if held.landlock == 0 else "can empty files that it may not write"
        found.append(
            f"a tool {what} (Landlock with ABI 3 is missing: Linux 6.2 or newer, with CONFIG_SECURITY_LANDLOCK)"
        )
    if not network and not held.seccomp and "net" not in held.namespaces:
        found.append("a tool can use the network (neither seccomp filters nor network namespaces)")
    if not held.seccomp and not {"ipc", "net"} <= set(held.namespaces):
        found.append("a tool can reach Unix sockets and System V memory (no seccomp filters)")
    if held.landlock < 6 and "pid" not in held.namespaces:
        found.append("a tool can signal other processes of its user (Landlock ABI 6, of Linux 6.12, or PID namespaces)")
    if not held.counted:
        found.append("a tool can start processes without limit (it runs as root, and cannot become another user)")
    return found


def in_one_line(missing: Sequence[str]) -> str:
    return "; ".join(missing)
