"""Tasks that end the process which runs them: by a signal, an exit, a fault in native code, all the memory there is.

A worker that dies leaves nothing but leases that run out. So each claim looks back: `POISON_AT` claims in a row that
were lost, without a step that ended in between, make a task suspect. A suspect is run alone, in a process of its own,
which cannot take anybody with it. If that process ends well, all is well: the task was near others that are poison, or
somebody killed its workers. If it dies while this process lives, it died of the task, which is dead. If this process
dies, too, somebody ended both: that tells nothing about the task, which is tried again, after longer and longer rests,
so that a task that ends this process, too, cannot do it all the time.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from opspawn.contracts.events import NewEvent
from opspawn.contracts.store import Append, Lease, Operation, Task
from opspawn.ops.run.history import History
from opspawn.ops.run.journal import Journal

#: Claims lost in a row without progress, after which a task is run alone.
POISON_AT = 3
#: Tries alone that are cut off by the end of the worker beside them are repeated at once, so many of them; then after a
#: rest that doubles, in seconds.
CUT_OFF_AT_ONCE = 3
FIRST_REST_S, LONGEST_REST_S = 5.0, 300.0
#: Whoever ends a whole worker ends its processes one after the other: so long it may take, in seconds.
WHOLE_S = 0.5
#: How a process ends that somebody ended; or that asked the system for too much.
_FROM_OUTSIDE = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})
#: How many processes for single tasks a worker has at once.
AT_ONCE = 4
#: What the process of its own writes when it is about to run the task.
BEGAN = b"began\n"


class Cell:
    """A process of its own for one claimed task.

    Args:
        command: what to start. order: what it reads from its standard input, as one line of JSON; the pipe stays open
            as long as this process lives, and its end tells the other one to die.
    """

    def __init__(self, command: Sequence[str], order: Mapping[str, Any]) -> None:
        self._command = list(command)
        self._order = json.dumps(order).encode() + b"\n"
        self._process: asyncio.subprocess.Process | None = None
        self._wanted: signal.Signals | None = None
        #: Whether it was ended from here; whether it died as one does whom somebody ends.
        self.ended = self.killed = False

    async def run(self) -> str | None:
        """Run it; None if it ended in order, else how it died, as the end of a sentence."""
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                start_new_session=True,  # what it does to its process group, it does not do to ours
            )
        except OSError as error:
            return f"could not be started: {error.strerror or error}"
        if self._wanted is not None:  # it was asked for while it started
            self._send(self._wanted)
        try:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            with suppress(ConnectionError):
                self._process.stdin.write(self._order)
                await self._process.stdin.drain()
            began = await self._process.stdout.readline() == BEGAN
            while await self._process.stdout.read(65536):  # what its code prints there is nobody's
                pass
            code = await self._process.wait()
        finally:
            self._send(signal.SIGKILL)
            await asyncio.shield(self._process.wait())
        if code == 0:
            return None
        self.killed = -code in _FROM_OUTSIDE
        return _words(code) if began else f"could not be started (exit code {code}; see the log)"

    def stop(self) -> None:
        """Ask it to give the task back."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self.ended = True
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        self._wanted = number
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)


#: Makes the process for a lease; the number is what the store's time is ahead of the monotonic clock of this machine.
Isolate = Callable[[Lease, float], Cell]
#: Why a worker has none that was not given one.
NO_PROCESS = "This worker cannot start a process of its own for it."


class GivenBack(Exception):
    """The worker stops, and the task was not tried to its end."""


class Quarantine:
    """Runs suspects alone, a few at once. `isolate` makes their processes, or says in a sentence why none can be."""

    def __init__(self, worker: str, isolate: Isolate | str) -> None:
        self._worker = worker
        self._isolate = isolate
        self._places = asyncio.Semaphore(AT_ONCE)
        self._cells: dict[str, tuple[int, Cell]] = {}
        self._stopped = False

    async def run(self, lease: Lease, journal: Journal) -> str | None:
        """How the task died alone, as a sentence; None if it did not, and its process has ended the claim.

        Raises: GivenBack. Interrupted: the store refuses or fails.
        """
        if isinstance(self._isolate, str):
            return self._isolate
        async with self._places:
            if self._stopped:
                raise GivenBack
            await journal.commit(isolated(lease.task, self._worker, journal.history))
            cell = self._isolate(lease, journal.clock.time() - journal.clock.monotonic())
            self._cells[lease.task.id] = (lease.token, cell)
            try:
                how = await cell.run()
                if cell.killed and not cell.ended:  # are we next?
                    await asyncio.sleep(WHOLE_S)
            finally:
                del self._cells[lease.task.id]
        if how is not None and (self._stopped or cell.ended):
            raise GivenBack
        return None if how is None else f"In a process of its own it {how}."

    def stop(self) -> None:
        """Ask all to give their tasks back; begin none."""
        self._stopped = True
        for _, cell in self._cells.values():
            cell.stop()

    def kill(self) -> None:
        """End all at once."""
        self._stopped = True
        for _, cell in self._cells.values():
            cell.kill()

    def lost(self, task: str, token: int) -> None:
        """Somebody else has the task: end its process."""
        known = self._cells.get(task)
        if known is not None and known[0] == token:
            known[1].kill()


def suspect(history: History) -> bool:
    """Whether the code of a task may not run beside others."""
    return len(history.losses.lost) >= POISON_AT and not history.cancel_requested and not history.fell_back


def rest_s(history: History, now: float) -> float:
    """In how many seconds a suspect may be tried alone; `now` is the store's time, in epoch seconds."""
    losses = history.losses
    if losses.alone < CUT_OFF_AT_ONCE or losses.tried is None:
        return 0.0
    rest = min(LONGEST_REST_S, FIRST_REST_S * 2.0 ** min(10, losses.alone - CUT_OFF_AT_ONCE))
    return max(0.0, losses.tried.timestamp() + rest - now)


def isolated(task: Task, worker: str, history: History) -> list[Operation]:
    """The task is about to be run alone."""
    data = {"worker": worker, "lost": list(history.losses.lost)}
    event = NewEvent("task.isolated", data, level="warning", error_type="poison")
    return [Append(task.id, event, task.token)]


def verdict(task: Task, history: History, how: str) -> dict[str, Any]:
    """The error of a poison task; `how` says what came of the try alone."""
    workers = list(history.losses.lost)
    names = ", ".join(dict.fromkeys(workers))
    last = history.losses.last_step
    where = f"after step {last!r}" if last is not None else "before its first step"
    words = (
        f"The process that ran {task.handler} died {len(workers)} times in a row without finishing a step ({where}; "
        f"workers {names}). {how} Find out what it does there, e.g. with 'opspawn logs --task {task.id}', mend it, "
        f"then 'opspawn tasks retry {task.id}'."
    )
    return {"type": "poison", "class": "StepFailed", "message": words, "workers": workers}


def _words(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
