"""Follows a run in the terminal to where it settles: shows what happens, and has people asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

import click

from opspawn.agentkit.run_event_json import run_event_to_json
from opspawn.cli.keyboard import somebody_types
from opspawn.cli.narrate import memory_words
from opspawn.cli.output import say
from opspawn.cli.people import People, how_to_answer
from opspawn.cli.screen import Screen
from opspawn.contracts.run_events import (
    ApprovalAsked,
    ApprovalDecided,
    MemoryUnavailable,
    QuestionAnswered,
    QuestionAsked,
    RunEvent,
    RunHalted,
)
from opspawn.contracts.store import EventQuery, Task
from opspawn.host import Host
from opspawn.ops.engine.reading import SETTLED

#: Makes the task that is followed.
Submit = Callable[[], Awaitable[Task]]


class Show(Protocol):
    """Shows events as they come."""

    def show(self, event: RunEvent) -> None: ...


class Lines:
    """Shows each event as one line of JSON on stdout."""

    def show(self, event: RunEvent) -> None:
        """Print the event."""
        click.echo(json.dumps(run_event_to_json(event), ensure_ascii=False))


class Warnings:
    """Shows only what a run goes on without, on stderr."""

    def show(self, event: RunEvent) -> None:
        """Say it, if the event is about that."""
        if isinstance(event, MemoryUnavailable):
            say(f"Warning: {memory_words(event)}")


class Follower:
    """Follows one run. `show` is told what happens; with a `screen`, people are asked there what the run asks."""

    def __init__(self, host: Host, task: str, show: Show, screen: Screen | None = None) -> None:
        self._host = host
        self._task = task
        self._show = show
        self._screen = screen
        self._people = People(host, screen) if screen is not None and somebody_types() else None
        self._begun = asyncio.Event()
        self._stop = asyncio.Event()

    def stop(self, words: str) -> None:
        """Return soon, with the task as it stands; say the words, once."""
        if not self._stop.is_set():
            if self._screen is None:
                say(words)
            else:
                self._screen.answered(typed=False)
                self._screen.line((words, ""))
        self._stop.set()

    async def follow(self, submit: Submit | None = None) -> Task:
        """Submit the task, and show what happens until it has settled, or `stop`.

        Without `submit` it is one that goes on: only what happens from now on is shown.
        """
        begin = after = None
        if submit is None:
            after = await self._now()
            self._begun.set()
        else:
            begin = partial(self._begin, submit)
        asking = asyncio.ensure_future(self._ask(again=submit is None))
        watching = asyncio.ensure_future(self._watch(after, begin))
        stopping = asyncio.ensure_future(self._stopped())
        try:
            await asyncio.wait({watching, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                watching.result()
            if self._stop.is_set():
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
                await self._host.working()
            return await self._host.task(self._task)
        finally:
            for one in (asking, watching, stopping):
                one.cancel()
            await asyncio.gather(asking, watching, stopping, return_exceptions=True)
            if self._screen is not None:
                self._screen.end_line()

    async def _now(self) -> str:
        task = await self._host.task(self._task)
        newest = await self._host.events(EventQuery(root=task.root, newest=True, limit=1))
        return str(newest[-1].position)

    async def _begin(self, submit: Submit) -> Task:
        try:
            return await submit()
        finally:
            self._begun.set()

    async def _stopped(self) -> None:
        await self._begun.wait()
        await self._stop.wait()

    async def _watch(self, after: str | None, begin: Submit | None) -> None:
        if after is not None and (await self._host.task(self._task)).state in SETTLED:
            return
        async for event in self._host.stream(self._task, after=after, begin=begin):
            self._show.show(event)
            if isinstance(event, ApprovalAsked | QuestionAsked):
                await self._asked(event)
            elif isinstance(event, ApprovalDecided | QuestionAnswered) and self._people is not None:
                self._people.over(event.question)
            elif isinstance(event, RunHalted) and event.run == self._task:
                return

    async def _asked(self, event: ApprovalAsked | QuestionAsked) -> None:
        if self._people is not None:
            self._people.ask(event.question)
        elif self._screen is not None:
            self._screen.line(("? ", "yellow"), (event.text, ""))
            self._screen.line((how_to_answer(await self._host.question(event.question)), "dim"))

    async def _ask(self, again: bool) -> None:
        if self._people is None:
            return
        if again:
            await self._people.ask_what_is_open((await self._host.task(self._task)).root)
        await self._people.serve()
