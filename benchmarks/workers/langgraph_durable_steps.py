"""LangGraph: nodes in a row, checkpointed to SQLite, each checkpoint committed before the next node begins."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import Any, TypedDict

from _common import Settings, expect, expect_rows, measure_steps, report
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph

settings = Settings()


class State(TypedDict):
    last: dict[str, int]  # One small key, overwritten: every checkpoint keeps the result of its step, and no more.


def build(saver: AsyncSqliteSaver) -> Any:
    graph = StateGraph(State)
    names = [f"step-{number}" for number in range(settings.steps)]
    for number, name in enumerate(names):

        async def work(state: State, number: int = number) -> State:
            return {"last": {"number": number}}

        graph.add_node(name, work)
    for before, after in zip([START, *names], [*names, END], strict=True):
        graph.add_edge(before, after)
    return graph.compile(checkpointer=saver)


async def main() -> None:
    file = settings.folder / "langgraph.db"
    async with AsyncSqliteSaver.from_conn_string(str(file)) as saver:
        await saver.setup()
        await saver.conn.execute("PRAGMA synchronous=FULL")
        async with saver.conn.execute("PRAGMA synchronous") as cursor:
            expect(await cursor.fetchone() == (2,), "synchronous is not FULL")
        graph = build(saver)

        async def run(name: str) -> None:
            config = {"configurable": {"thread_id": name}, "recursion_limit": settings.steps + 5}
            state = await graph.ainvoke({"last": {"number": -1}}, config, durability="sync")
            expect(state["last"] == {"number": settings.steps - 1}, f"{name} ended with {state}")

        summary, figures = await measure_steps(settings, run)
    wanted = int(figures["runs"]) * settings.steps
    mode = expect_rows(file, "SELECT count(*) FROM checkpoints WHERE thread_id LIKE 'run-%'", wanted, "checkpoints")
    facts = {"SQLite": sqlite3.sqlite_version, "journal": mode, "synchronous": "FULL"}
    report(summary, figures, ("langgraph", "langgraph-checkpoint-sqlite", "aiosqlite"), facts)


asyncio.run(main())
