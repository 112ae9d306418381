"""The workers of a chaos run: real processes, which are replaced when they die."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

_ROOT = Path(__file__).parents[2]
_LOOK_EVERY_S = 0.05
#: How long a worker that was told to stop may take, in seconds, beyond its time to drain.
STOP_S = 30.0


@dataclass(slots=True)
class Member:
    """A worker process; `busy` while a fault has it in hand, so that no other one picks it."""

    pid: int
    began: float
    busy: bool = False


@dataclass(slots=True)
class Fleet:
    """`size` workers in a folder. `env` gives the variables of the next one.

    Attributes:
        ends: when each process that is gone was found dead, in epoch seconds, and its exit code, by its id.
        signals: how many of each signal were sent.
    """

    folder: Path
    size: int
    chance: random.Random
    env: Callable[[], dict[str, str]] = dict
    members: dict[int, Member] = field(default_factory=dict)
    ends: dict[int, tuple[float, int]] = field(default_factory=dict)
    signals: dict[str, int] = field(default_factory=dict)
    _nursery: asyncio.subprocess.Process | None = None
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _tending: asyncio.Task[None] | None = None
    _held: bool = False

    async def __aenter__(self) -> Fleet:
        own = {name: value for name, value in os.environ.items() if not name.startswith("OPSPAWN_")}
        self._nursery = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.chaos.nursery"),
            cwd=self.folder,
            env={**own, "PYTHONPATH": str(_ROOT)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 20,
            start_new_session=True,
        )
        self._tending = asyncio.create_task(self._tend())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._tending is not None:
            self._tending.cancel()
            await asyncio.gather(self._tending, return_exceptions=True)
        assert self._nursery is not None
        assert self._nursery.stdin is not None
        for member in self.members.values():
            self._send(member, signal.SIGCONT)
        self._nursery.stdin.close()
        await self._nursery.wait()

    # -- what faults do ------------------------------------------------------------------------------------------------

    def choose(self) -> Member | None:
        """A worker that no fault has in hand, if there is one."""
        free = [member for member in self.members.values() if not member.busy]
        return self.chance.choice(free) if free else None

    def send(self, member: Member, number: signal.Signals) -> None:
        """Send a signal, and count it."""
        self.signals[number.name] = self.signals.get(number.name, 0) + 1
        self._send(member, number)

    async def gone(self, member: Member, timeout_s: float = STOP_S) -> bool:
        """Wait for the end of a worker; False if it does not come."""
        deadline = time.monotonic() + timeout_s
        while member.pid in self.members:
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(_LOOK_EVERY_S)
        return True

    async def stop(self, drain_s: float) -> bool:
        """Stop all gracefully, for good; False if one does not end in time."""
        self._held = True
        async with self._turn:  # nobody is just being born
            members = list(self.members.values())
        for member in members:
            self._send(member, signal.SIGTERM)
        gone = [await self.gone(member, drain_s + STOP_S) for member in members]
        for member, ended in zip(members, gone, strict=True):
            if not ended:
                self._send(member, signal.SIGUSR1)  # it writes into the log where it hangs
                await self.gone(member, 1.0)
        return all(gone)

    # -- keeping their number ------------------------------------------------------------------------------------------

    async def _tend(self) -> None:
        while True:
            for pid, code in (await self._ask({})).items():
                self.members.pop(int(pid), None)
                self.ends[int(pid)] = (time.time(), code)
            while len(self.members) < self.size and not self._held:
                async with self._turn:
                    pid = await self._ask({"env": self.env()}, locked=True)
                    self.members[pid] = Member(pid, time.time())
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _ask(self, order: dict[str, Any], locked: bool = False) -> Any:
        if not locked:
            async with self._turn:
                return await self._ask(order, locked=True)
        assert self._nursery is not None
        assert self._nursery.stdin is not None
        assert self._nursery.stdout is not None
        self._nursery.stdin.write(json.dumps(order).encode() + b"\n")
        await self._nursery.stdin.drain()
        line = await self._nursery.stdout.readline()
        if not line:
            raise RuntimeError(f"The nursery of workers ended; see {self.folder}/workers.log.")
        return json.loads(line)

    def _send(self, member: Member, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(member.pid, number)
