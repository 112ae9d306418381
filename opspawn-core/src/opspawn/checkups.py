"""What a doctor looks at, part by part. Reads, and never mends."""

from __future__ import annotations

import asyncio
import platform
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

from opspawn.config import Loaded
from opspawn.contracts.store import Batch, Finding, Query, Store, TaskState
from opspawn.contracts.transport import DeadQuery
from opspawn.contracts.waker import Waker
from opspawn.errors import ConfigError, StoreError
from opspawn.ops.presence import workers
from opspawn.ops.schedules.firing import LATE_S
from opspawn.ops.schedules.records import all_kept
from opspawn.plugins import Plugins

Part = tuple[str, Finding]

#: How far the clock of the store may be from ours, in seconds.
_SKEW_S = 2.0
_LITTLE_SPACE = 1 << 30
_MANY = 200


async def examine_process(loaded: Loaded, plugins: Plugins) -> AsyncIterator[Part]:
    """What is to be said of this machine, the configuration and the plugins, one finding after another."""
    for part in (*_python(), *_configuration(loaded, plugins), *_plugins(plugins), *_disk(loaded)):
        yield part
    from opspawn.agentkit.sandbox.report import sandbox_report

    for finding in await asyncio.to_thread(sandbox_report):
        yield "sandbox", finding


async def examine_store(store: Store) -> AsyncIterator[Part]:
    """What is to be said of a store, its workers, and of what waits for people."""
    for finding in await store.check():
        yield "store", finding
    yield "clock", await _clock(store)
    async for part in _workers(store):
        yield part
    async for part in _waiting(store):
        yield part
    async for part in _schedules(store):
        yield part


async def examine_waker(waker: Waker) -> AsyncIterator[Part]:
    """What is to be said of a waker: of one that says nothing of itself, nothing."""
    check: Callable[[], Awaitable[Sequence[Finding]]] | None = getattr(waker, "check", None)
    for finding in await check() if check is not None else ():
        yield "waker", finding


def _python() -> Iterator[Part]:
    yield "python", Finding("ok", f"Python {platform.python_version()} on {platform.system()} {platform.release()}.")
    yield "packages", Finding("ok", f"opspawn-core {version('opspawn-core')}, pydantic {version('pydantic')}.")


def _configuration(loaded: Loaded, plugins: Plugins) -> Iterator[Part]:
    where = f"from {loaded.file}" if loaded.file else "by default; there is no opspawn.toml here"
    settings = loaded.settings
    app = f"app {settings.app}" if settings.app else "no app is named"
    words = f"Configured {where}: store {settings.store}, waker {settings.waker}, {app}."
    yield "configuration", Finding("ok", words)
    try:
        plugins.check(loaded.sections)
    except ConfigError as error:
        yield "configuration", Finding("error", error.message, error.remedy)
    yield from _rates(loaded, plugins)


def _rates(loaded: Loaded, plugins: Plugins) -> Iterator[Part]:
    known = {record.name for record in plugins.records("model")}
    for name in loaded.settings.limits:
        provider, colon, _ = name.partition(":")
        if colon and provider not in known:
            words = f'[limits."{name}"] limits no model: no provider {provider!r} is installed.'
            remedy = f"Name one of {', '.join(sorted(known))}, or ignore this if 'ctx.take' names it."
            yield "configuration", Finding("warning", words, remedy)


def _plugins(plugins: Plugins) -> Iterator[Part]:
    for status in plugins.report():
        words = f"{status.name} of {status.distribution} {status.version} is {status.status}"
        if status.status in ("failed", "clash"):
            yield "plugins", Finding("error", f"{words}: {status.error}", "Mend, reinstall, or block it.")
        else:
            yield "plugins", Finding("ok", f"{words}.")


def _disk(loaded: Loaded) -> Iterator[Part]:
    folder = Path(loaded.settings.data).absolute()
    while not folder.is_dir():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    words = f"{free / (1 << 30):.1f} GiB are free at {folder}."
    if free < _LITTLE_SPACE:
        remedy = "Free space; as long as some is left, 'opspawn store prune' deletes what is old."
        yield "disk", Finding("warning", words, remedy)
    else:
        yield "disk", Finding("ok", words)


async def _clock(store: Store) -> Finding:
    before = datetime.now(UTC)
    try:
        told = (await store.commit(Batch([]))).time
    except StoreError as error:
        return Finding("error", f"The store takes no commit: {error.message}", error.remedy)
    middle = before + (datetime.now(UTC) - before) / 2
    skew = (told - middle).total_seconds()
    words = f"The clock of the store is {abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} this machine's."
    if abs(skew) > _SKEW_S:
        return Finding("warning", words, "Set the clocks by NTP; only the store's counts, but people compare them.")
    return Finding("ok", words)


async def _workers(store: Store) -> AsyncIterator[Part]:
    now = datetime.now(UTC)
    found = await workers(store)
    alive = [worker for worker in found if worker.alive(now)]
    if not alive:
        yield "workers", Finding("warning", "No worker is there.", "Start one: opspawn serve, or opspawn worker.")
    else:
        busy, slots = sum(worker.running for worker in alive), sum(worker.slots for worker in alive)
        yield "workers", Finding("ok", f"Workers at work: {len(alive)}, with {busy} of {slots} slots taken.")
    if len(versions := {worker.version for worker in alive}) > 1:
        words = f"Workers of several versions are at work: {', '.join(sorted(versions))}."
        yield "workers", Finding("warning", words, "Bring all to one version.")
    for worker in found:
        if worker not in alive:
            since = f"{worker.seen:%Y-%m-%d %H:%M} UTC"
            words = f"Worker {worker.id} on {worker.host}:{worker.pid} was not heard of since {since}."
            yield "workers", Finding("warning", words, "If it was killed, its tasks go on elsewhere by themselves.")


async def _waiting(store: Store) -> AsyncIterator[Part]:
    for state, remedy in (
        (TaskState.IN_DOUBT, "See 'opspawn tasks list --state in_doubt', then 'opspawn tasks show ID'."),
        (TaskState.PAUSED, "See 'opspawn tasks list --state paused'."),
    ):
        page = await store.find_tasks(Query(where={"state": str(state)}, limit=_MANY))
        if page.items:
            yield "waiting", Finding("warning", f"Tasks that are {state}: {_count(len(page.items))}.", remedy)
    questions = (await store.find("question", Query(where={"state": "open"}, limit=_MANY))).items
    if questions:
        words = f"Questions that wait for an answer: {_count(len(questions))}."
        yield "waiting", Finding("warning", words, "See 'opspawn questions list'.")
    dead = await _dead(store)
    if dead:
        words = f"Tasks that have failed for good, and were not retried: {_count(dead)}."
        yield "waiting", Finding("warning", words, "See 'opspawn tasks dead'.")
    if not questions and not dead:
        yield "waiting", Finding("ok", "No question is open, and nothing is dead.")


async def _schedules(store: Store) -> AsyncIterator[Part]:
    found = await all_kept(store)
    now = (await store.commit(Batch([]))).time if found else None
    active = [kept.status for kept in found if kept.status.state == "active"]
    if found:
        yield "schedules", Finding("ok", f"Schedules: {len(found)}, of which {len(active)} are active.")
    for one in active:
        assert now is not None
        if one.next is not None and now - one.next > timedelta(seconds=LATE_S):
            words = f"The schedule {one.schedule.name!r} was due at {one.next:%Y-%m-%d %H:%M:%S} UTC."
            remedy = f"Start a worker whose app has {one.schedule.run} and which serves {one.schedule.queue!r}."
            yield "schedules", Finding("warning", words, remedy)
        if one.error is not None:
            words = f"The schedule {one.schedule.name!r} could not be served: {one.error.get('message')}"
            yield "schedules", Finding("warning", words, "Mend it with 'opspawn schedules add', or remove it.")


async def _dead(store: Store) -> int:
    from opspawn.ops.engine.engine import Engine
    from opspawn.wakers.local import LocalWaker

    engine = Engine(store, LocalWaker(), lambda handler, input: input)
    return len((await engine.dead(DeadQuery(limit=_MANY))).items)


def _count(number: int) -> str:
    return f"{number}" if number < _MANY else f"{_MANY} or more"
