"""Handing work from event loops to threads, and the outcomes back."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable
from typing import Any

from opspawn.errors import OpspawnError, StoreError
from opspawn.stores.groups import Sort


class Job:
    """A piece of work for a thread: `run(subject, arguments)`; the subject is a transaction or a connection.

    `sort` says what it has in common with others, which the writer does together: see `groups`.
    """

    __slots__ = ("arguments", "error", "future", "loop", "result", "run", "sort")

    def __init__(self, run: Callable[[Any, Any], Any], arguments: Any, sort: Sort = "") -> None:
        self.run = run
        self.arguments = arguments
        self.sort = sort
        self.loop = loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = asyncio.Future(loop=loop)
        self.result: Any = None
        self.error: Exception | None = None


_TURNS = 2  # of the event loop: whoever is answered in one asks in the next, and a claim comes behind what is claimed
_BEGIN_TURNS = 2  # from the answer to a claim: its worker begins a run, and that its code


def _in_turns(turns: int, loop: asyncio.AbstractEventLoop, call: Callable[[Any], None], argument: Any) -> None:
    """Call this in so many turns of the event loop that runs now."""
    if turns:
        loop.call_soon(_in_turns, turns - 1, loop, call, argument)
    else:
        call(argument)


class Outbox:
    """Hands over together what a few turns of an event loop ask for: the thread wakes once, and works on all of it.

    Args:
        send: takes jobs, at most `most` of them, in the order in which they came. Called in the event loop.
    """

    def __init__(self, send: Callable[[list[Job]], None], most: int) -> None:
        self._send = send
        self._most = most
        self._waiting: dict[asyncio.AbstractEventLoop, list[Job]] = {}  # each touched in its own loop only

    def put(self, job: Job) -> None:
        """Send this job with the others, once the callbacks that are ready now, and what they call for, have run."""
        waiting = self._waiting.get(job.loop)
        if waiting is None:
            self._waiting[job.loop] = [job]
            _in_turns(_TURNS + 1, job.loop, self._flush, job.loop)
        else:
            waiting.append(job)

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        jobs = self._waiting.pop(loop)
        for start in range(0, len(jobs), self._most):
            self._send(jobs[start : start + self._most])


def deliver(jobs: Iterable[Job]) -> None:
    """Give each job's outcome to its future: one call into each event loop, however many jobs it has there.

    Claims hear first, and the others two turns later, so that the code of what is claimed begins before those who asked
    for it go on.
    """
    loops: dict[asyncio.AbstractEventLoop, tuple[list[Job], list[Job]]] = {}
    for job in jobs:
        settled = loops.get(job.loop)
        if settled is None:
            settled = loops[job.loop] = ([], [])
        settled[job.sort != "claim"].append(job)
    for loop, (claims, others) in loops.items():
        try:
            if claims:
                loop.call_soon_threadsafe(_settle_claims, loop, claims, others)
            else:
                loop.call_soon_threadsafe(_settle, others)
        except RuntimeError:
            continue  # the loop was closed: nobody waits there any more


def _settle_claims(loop: asyncio.AbstractEventLoop, claims: list[Job], others: list[Job]) -> None:
    _settle(claims)
    _in_turns(_BEGIN_TURNS, loop, _settle, others)


def _settle(jobs: list[Job]) -> None:
    for job in jobs:
        future = job.future
        if future.done():  # whoever asked was cancelled
            continue
        if job.error is None:
            future.set_result(job.result)
        else:
            future.set_exception(job.error)


def as_store_error(error: Exception) -> Exception:
    """What callers get to see: our own errors as they are, everything else as a `StoreError` that names the cause."""
    if isinstance(error, OpspawnError):
        return error
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    remedy = {
        sqlite3.SQLITE_FULL: "Free space on the disk.",
        sqlite3.SQLITE_BUSY: "Another program holds the lock; close it, or raise busy_timeout_s in [plugins.sqlite].",
        sqlite3.SQLITE_CORRUPT: "Restore the database from a backup.",
        sqlite3.SQLITE_IOERR: "Check the disk, its quota and the system's log; what was committed before is safe.",
        sqlite3.SQLITE_READONLY: "Check the permissions of the database and its folder.",
    }.get(code)
    store_error = StoreError(f"The database failed: {error}.", remedy=remedy)
    store_error.__cause__ = error
    return store_error
