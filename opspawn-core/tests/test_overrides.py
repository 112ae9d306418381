"""What one durable run does differently travels with its task: over restarts, retries and to any worker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from opspawn import Agent, App
from opspawn.cli.overrides import overrides_of
from opspawn.config import Loaded
from opspawn.config.settings import Settings, WorkerSettings
from opspawn.contracts.model import ModelRequest
from opspawn.errors import InvalidInput
from opspawn.host import Host
from opspawn.testing import LoopPlanner, ScriptedModel, crash_everywhere, virtual_time


def says(request: ModelRequest) -> Any:
    return f"heat {request.settings.get('heat')}, words {request.settings.get('words')}"


def app() -> App:
    agent = Agent("helper", model=ScriptedModel(says), planner=LoopPlanner(), settings={"heat": 1, "words": 9})
    return App(agents=[agent], functions={"work": lambda ctx: None})


@asynccontextmanager
async def opened(folder: Path, *, worker: bool = True) -> AsyncIterator[Host]:
    settings = Settings(worker=WorkerSettings(poll_s=0.05), data=str(folder))
    async with Host.open(app(), loaded=Loaded(settings, folder=folder), worker=worker) as host:
        yield host


async def test_settings_of_one_run_are_added_and_other_runs_have_the_agents_own(tmp_path: Path) -> None:
    async with opened(tmp_path) as host:
        one = await host.submit("agent/helper", "Well?", overrides={"settings": {"heat": 2}})
        other = await host.submit("agent/helper", "Well?")

        assert (await host.wait(one.id, 10)).result == "heat 2, words 9"
        assert (await host.wait(other.id, 10)).result == "heat 1, words 9"


async def test_they_are_kept_until_another_process_runs_the_task(tmp_path: Path) -> None:
    async with opened(tmp_path, worker=False) as host:
        task = await host.submit("agent/helper", "Well?", overrides={"settings": {"heat": 3}})
    async with opened(tmp_path) as host:
        assert (await host.wait(task.id, 10)).result == "heat 3, words 9"


@virtual_time
async def test_killed_at_any_write_a_run_keeps_them() -> None:
    async def scenario(host: Host) -> Any:
        task = await host.submit("agent/helper", "Well?", overrides={"settings": {"heat": 4}})
        return (await host.wait(task.id, 1e6)).result

    runs = await crash_everywhere(app(), scenario)

    assert {run.answer for run in runs} == {"heat 4, words 9"}


@pytest.mark.parametrize(
    ("handler", "overrides", "words"),
    [
        ("agent/helper", {"modle": "x:y"}, "'overrides.modle'. Did you mean 'overrides.model'?"),
        ("agent/helper", {"max_steps": 0}, "overrides.max_steps"),
        ("agent/helper", {"planner": "raect"}, "raect"),
        ("agent/helper", {"model": "nobody:x"}, "nobody"),
        ("agent/helper", {"planner_settings": {"finish": True}}, "a planner that is an object already"),
        ("function/work", {"max_steps": 3}, "'function/work' takes no overrides."),
    ],
)
async def test_what_no_run_could_do_is_refused_before_it_is_accepted(
    tmp_path: Path, handler: str, overrides: dict[str, Any], words: str
) -> None:
    async with opened(tmp_path) as host:
        with pytest.raises(InvalidInput) as caught:
            await host.submit(handler, "Well?", overrides=overrides)

    assert words in str(caught.value)


def test_on_the_command_line_a_value_is_json_or_text() -> None:
    words = ["model=openai:gpt-5", "max_steps=3", "planner_settings.finish=true", "settings.stop=a=b"]

    assert overrides_of(words) == {
        "model": "openai:gpt-5",
        "max_steps": 3,
        "planner_settings": {"finish": True},
        "settings": {"stop": "a=b"},
    }
    assert overrides_of([]) is None


@pytest.mark.parametrize(
    ("words", "fault"),
    [(["model"], "sets nothing"), (["settings.=1"], "sets nothing"), (["model=a", "model=b"], "gives model twice")],
)
def test_what_sets_nothing_or_twice_is_refused(words: list[str], fault: str) -> None:
    with pytest.raises(InvalidInput, match=fault):
        overrides_of(words)
