"""From what a tool asks for to a plan with every path spelled out."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Sequence

from opspawn.agentkit.sandbox.promises import Plan
from opspawn.contracts.sandbox import Sandbox

#: What Python, the C library and time zones read besides Python's own folders.
_SYSTEM = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/share/zoneinfo",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/mime.types",
)
#: What looking up names and checking certificates read.
_NETWORK = (
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/usr/share/ca-certificates",
)


def plan_of(sandbox: Sandbox, walls: Sequence[str]) -> Plan:
    """Relative paths start at the current folder."""
    return Plan(
        read=[*_absolute(sandbox.read)],
        write=[*_absolute(sandbox.write)],
        execute=[*_absolute(sandbox.execute)],
        base=[*_python(), *_SYSTEM, *(_NETWORK if sandbox.network else ())],
        network=sandbox.network,
        memory_mb=sandbox.memory_mb,
        cpu_s=sandbox.cpu_s,
        processes=sandbox.processes,
        files=sandbox.files,
        disk_mb=sandbox.disk_mb,
        required=sandbox.policy == "required",
        walls=list(walls),
    )


def _python() -> list[str]:
    """Python's own folders and those of installed packages; never the app's, which may hold its secrets and data."""
    packages = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    paths = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    return list(dict.fromkeys([*paths, *packages, os.path.dirname(os.path.dirname(os.path.dirname(__file__)))]))


def _absolute(paths: Sequence[str | os.PathLike[str]]) -> list[str]:
    return [os.path.abspath(path) for path in paths]
