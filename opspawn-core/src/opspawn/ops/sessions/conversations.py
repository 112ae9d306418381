"""What was said in a session before a run: read from the journals of its earlier tasks.

A conversation is made of the tasks of one agent that somebody from outside started in one session, and that have
succeeded. Which these are is recorded when a run first asks, so that a replay goes on from the same conversation,
whatever has ended meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from opspawn.agentkit.codec import response_from_json, result_from_json
from opspawn.agentkit.content import user_message
from opspawn.agentkit.context import Context
from opspawn.agentkit.plain import as_text
from opspawn.contracts.events import Event
from opspawn.contracts.model import Message, ModelResponse
from opspawn.contracts.store import Query, Store, Task, TaskState
from opspawn.contracts.tool import ToolResult

#: How many earlier tasks a conversation goes back, at most.
MAX_TASKS = 50


async def earlier(store: Store, context: Context, agent: str) -> Sequence[Message]:
    """The conversation so far; empty for a run that opened its session, and for a child of another task.

    Raises: StoreError.
    """
    if context.task is None or context.session in (None, f"s-{context.task.removeprefix('t-')}"):
        return ()
    own = await store.get_task(context.task)
    if own is None or own.parent is not None:
        return ()

    async def before() -> list[str]:
        return await _before(store, own, agent)

    ids: list[str] = await context.step("earlier tasks", before)
    tasks, journals = await asyncio.gather(
        asyncio.gather(*(store.get_task(id) for id in ids)), asyncio.gather(*(store.journal(id) for id in ids))
    )
    pairs = zip(tasks, journals, strict=True)
    return [message for task, events in pairs if task is not None for message in said_in(task, events)]


async def _before(store: Store, own: Task, agent: str) -> list[str]:
    where = {"session": str(own.session), "handler": f"agent/{agent}", "state": str(TaskState.SUCCEEDED)}
    page = await store.find_tasks(Query(where=where, limit=200))
    found = [task for task in page.items if task.parent is None and task.id not in (own.id, own.retry_of)]
    return [task.id for task in reversed(found[:MAX_TASKS])]


def said_in(task: Task, events: Sequence[Event]) -> list[Message]:
    """The conversation of a task that has ended: its input, the calls with their results, its answer."""
    held = _held(events)
    given = held.get("", Message("user", as_text(task.input))) if "" in held else user_message(task.input)
    return [given, *_calls(events, held), Message("assistant", as_text(task.result))]


def _held(events: Sequence[Event]) -> dict[str, Message]:
    """What guardrails put in the place of the input ("") and of results (by the key of the call)."""
    found: dict[str, Message] = {}
    for event in events:
        data: dict[str, Any] = event.data
        if data.get("kind") != "guard" or event.type not in ("step.done", "step.failed"):
            continue
        key, sign, _ = data["key"].rpartition("/guard/")
        if data["key"].startswith("guard/input/"):
            key = ""
        elif not sign:
            continue
        if event.type == "step.failed":
            found[key] = Message("user", str(data["error"]["message"]), is_error=True)
        elif "value" in (data.get("result") or {}):
            found[key] = Message("user", as_text(data["result"]["value"]))
    return found


def _calls(events: Sequence[Event], held: Mapping[str, Message]) -> Iterator[Message]:
    """Each answer that called tools, with the results; answers whose calls were not all carried out are left out."""
    responses: list[ModelResponse] = []
    results: dict[str, ToolResult] = {}
    for event in events:
        data: dict[str, Any] = event.data
        if event.type != "step.done" or data.get("result") is None:
            continue
        if data.get("kind") == "think":
            responses.append(response_from_json(data["result"]))
        elif data.get("kind") == "act":
            result = result_from_json(data["result"])
            if (instead := held.get(data["key"])) is not None:
                said, wrong = instead.content, instead.is_error
                result = replace(result, content=said, value=None, parts=(), is_error=wrong)
            results[result.call_id] = result
    for response in responses:
        if response.tool_calls and all(call.id in results for call in response.tool_calls):
            yield response.message()
            yield from (results[call.id].message() for call in response.tool_calls)
