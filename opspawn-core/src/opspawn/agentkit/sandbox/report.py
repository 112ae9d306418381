"""What sandboxes can promise on this machine, for this user: found out by building one."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict

from opspawn.agentkit.sandbox.promises import WALLS, Held, gaps, in_one_line
from opspawn.contracts.sandbox import Sandbox, SandboxCall
from opspawn.contracts.store import Finding
from opspawn.contracts.tool import ToolContext
from opspawn.errors import OpspawnError

_PATIENCE_S = 30.0
_PROBE = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from opspawn.agentkit.sandbox.report import main
main()
"""


def sandbox_report() -> Sequence[Finding]:
    """One finding per wall, and what this means for `Sandbox(policy="required")`. Takes a second; blocks meanwhile."""
    try:
        held = probe()
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return [Finding("error", f"Sandboxes for tools cannot be built: {error}.", "They need Linux.")]
    missing = gaps(held, network=False)
    namespaces = ", ".join(held.namespaces) or "none"
    findings = [
        _finding(
            held.landlock >= 6,
            f"Landlock (files, TCP, signals): {f'ABI {held.landlock}' if held.landlock else 'missing'}.",
            "Linux 6.12 or newer with CONFIG_SECURITY_LANDLOCK and lsm=landlock,… has all of it.",
        ),
        _finding(
            held.seccomp,
            f"Seccomp filters (system calls, sockets): {'there' if held.seccomp else 'missing'}.",
            "They need CONFIG_SECCOMP_FILTER, and a processor of the kind x86_64 or aarch64.",
        ),
        _finding(
            {"net", "ipc", "pid", "mount"} <= set(held.namespaces),
            f"Namespaces (a second wall; temporary folders of fixed size): {namespaces}.",
            "Containers and Ubuntu often forbid user namespaces; sandboxes do without, if the other walls stand.",
        ),
        _finding(
            held.counted,
            f"The number of a tool's processes is {'limited' if held.counted else 'not limited'}.",
            "Run the worker as an ordinary user, or leave root the capabilities to become another.",
        ),
    ]
    if missing:
        remedy = 'Tools with Sandbox(policy="required") are refused here; policy="best_effort" accepts it.'
        return [*findings, Finding("warning", f"Sandboxes are incomplete: {in_one_line(missing)}.", remedy)]
    return [*findings, Finding("ok", "Sandboxes keep all that they promise here.")]


def probe(walls: Sequence[str] = WALLS) -> Held:
    """Which walls stand. Raises: OSError, ValueError, SubprocessError: none can be built at all."""
    command = [sys.executable, "-c", _PROBE, json.dumps(sys.path), *walls]
    done = subprocess.run(command, capture_output=True, timeout=_PATIENCE_S, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise ValueError(done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2].rstrip("."))
    data = json.loads(done.stdout)
    return Held(**{**data, "namespaces": tuple(data["namespaces"])})


def nothing() -> None:
    """What the probe runs."""


def main() -> None:
    """The probe's process: print what held."""
    from opspawn.agentkit.sandbox.process import ProcessRunner

    async def call() -> Held:
        runner = ProcessRunner(sys.argv[2:])
        sandbox = Sandbox(policy="best_effort")
        try:
            await runner.run(SandboxCall("probe", nothing, {}, ToolContext("", ""), sandbox, lambda: asyncio.sleep(0)))
        finally:
            await runner.aclose()
        if runner.held is None:
            raise SystemExit("the sandbox tells nothing of its walls")
        return runner.held

    try:
        print(json.dumps(asdict(asyncio.run(call()))))
    except OpspawnError as error:
        raise SystemExit(str(error)) from error


def _finding(good: bool, what: str, remedy: str) -> Finding:
    return Finding("ok" if good else "warning", what, None if good else remedy)
