"""Make recording.jsonl anew: run this app against our scripted server and keep every model call that its journals hold.

    python record.py

The server speaks the OpenAI protocol on a free port of the loopback interface and answers from script.py; the app, the
engine, the planner and the `openai:` plugin are the real ones. The same files give the same recording.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from script import ANSWERS, script

from opspawn.agentkit.replay import export_recording
from opspawn.app import App, load_app
from opspawn.config import load_settings
from opspawn.contracts.store import Query, Task, TaskState
from opspawn.host import Host
from opspawn.testing.openai_server import OpenAIServer

HERE = Path(__file__).resolve().parent
TIMEOUT_S = 120.0


async def record(app: App, data: Path) -> list[str]:
    """Run every question of the script and the workflow once, and return the lines of the recording.

    Args:
        data: an empty folder for the store of this one run.

    Raises:
        SystemExit: a run did not succeed; names it and its error.
    """
    async with OpenAIServer(script) as server:
        sections = {"openai": {"base_url": server.base_url, "api_key": "scripted"}}
        # Without the environment: whoever records may have set another store, model or list of plugins for other work.
        loaded = load_settings(HERE / "opspawn.toml", environ={})
        async with Host.open(app, loaded=loaded, data=data, model="openai:scripted", sections=sections) as host:
            lines: dict[str, None] = {}
            for handler, given in _runs():
                task = await host.submit(handler, given)
                _succeeded(await host.wait(task.id, TIMEOUT_S))
                family = (await host.tasks(Query({"root": task.id}, limit=200))).items
                for member in reversed(family):
                    lines.update(dict.fromkeys(export_recording(await host.journal(member.id))))
    return list(lines)


def _runs() -> Iterable[tuple[str, object]]:
    yield from (("agent/helper", question) for question in ANSWERS)
    yield "workflow/triage", {}


def _succeeded(task: Task) -> None:
    if task.state is not TaskState.SUCCEEDED:
        raise SystemExit(f"{task.handler} on {task.input!r} is {task.state.value}: {task.error}")


def main() -> None:
    """Write recording.jsonl in one go, and the report of the workflow as a side effect."""
    with tempfile.TemporaryDirectory() as data:
        lines = asyncio.run(record(load_app("app:app", HERE), Path(data)))
    target = HERE / "recording.jsonl"
    temporary = target.with_suffix(".tmp")
    temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
    os.replace(temporary, target)
    print(f"{target.name}: {len(lines)} model calls")


if __name__ == "__main__":
    main()
