"""Long-term memory in durable runs: what is looked up is recorded, and what is kept is kept once, through any crash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from opspawn import Agent, App, Recollection, RunContext
from opspawn.config import Loaded
from opspawn.config.settings import Settings
from opspawn.contracts.filters import Eq
from opspawn.contracts.memory import MemoryItem, Selection
from opspawn.contracts.model import ModelRequest, ToolCall
from opspawn.host import Host
from opspawn.memories.sqlite import open_memory
from opspawn.ops.run.executor import WorkerOptions
from opspawn.testing import LoopPlanner, ScriptedModel, crash_everywhere

EVERYTHING = Selection((), below=True)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def opened(app: App, folder: Path) -> Any:
    options = WorkerOptions(poll_s=0.05, drain_s=5.0)
    loaded = Loaded(Settings(data=str(folder / "data")), folder=folder)
    return Host.open(app, loaded=loaded, options=options, sections={"sqlite": {"path": ":memory:"}})


async def test_the_configured_memory_serves_agents_and_functions_of_an_app(folder: Path) -> None:
    async def tell(ctx: RunContext) -> Any:
        item = await ctx.remember("Ada likes tea.", namespace=("user:ada",), metadata={"kind": "taste"}, subject="Ada")
        again = await ctx.recall("tea", namespace=("user:ada",), filter=Eq("kind", "taste"))
        count = await ctx.forget(subject="Bob", namespace=("user:ada",))
        return [item.id, again[0].item.id, again[0].why.words, count]

    model = ScriptedModel(["Tea."])
    chief = Agent("chief", model=model, planner=LoopPlanner(), memory=Recollection(namespace=("user:{input.user}",)))
    async with opened(App(agents=[chief], functions={"tell": tell}), folder) as host:
        told = await host.wait((await host.submit("function/tell")).id, 20)
        await host.wait((await host.submit("agent/chief", {"user": "ada", "ask": "Which tea?"})).id, 20)

    assert told.result[0] == told.result[1]
    assert told.result[2:] == [["tea"], 0]
    assert "Ada likes tea." in model.requests[0].messages[0].content
    assert (folder / "data" / "memory.db").exists()


async def test_a_session_that_somebody_named_has_a_memory_of_its_own(folder: Path) -> None:
    def say(request: ModelRequest) -> Any:
        return "Done." if request.messages[-1].role == "tool" else ToolCall("1", "remember", {"text": "One."})

    chief = Agent("chief", model=ScriptedModel(say), planner=LoopPlanner(), memory=True)
    async with opened(App(agents=[chief]), folder) as host:
        for session in ("ada", None):
            await host.wait((await host.submit("agent/chief", "Hi.", session=session)).id, 20)

    memory = await open_memory(str(folder / "data" / "memory.db"))
    stats = await memory.stats(EVERYTHING)
    await memory.aclose()
    assert {space for space, _ in stats.namespaces} == {("agent:chief",), ("agent:chief", "session:ada")}


async def test_a_run_with_memory_ends_alike_wherever_it_crashes_and_keeps_nothing_twice(folder: Path) -> None:
    """Looking up, a tool that keeps, a call that keeps, facts after the run: each fact is there once, in every run."""
    memory = await open_memory(":memory:")  # which outlives the workers that are killed
    await memory.add([MemoryItem("Ada was here before.", (f"run:{n}",)) for n in range(1, 100)])
    begun = 0

    def begin() -> App:
        nonlocal begun
        begun += 1

        def say(request: ModelRequest) -> Any:
            words = request.messages[0].content
            if words.startswith("You read what a user said"):
                return '[{"text": "Ada lives in Bern."}]'
            if request.messages[-1].role == "tool":
                return f"Done: {words[-200:]}"
            return ToolCall("1", "remember", {"text": "Ada likes tea."})

        settings = Recollection(namespace=(f"run:{begun}",), memory=memory, extract=True)
        return App(agents=[Agent("chief", model=ScriptedModel(say), planner=_Noting(), memory=settings)])

    async def scenario(host: Any) -> Any:
        task = await host.submit("agent/chief", "Ada here, from Bern.")
        return (await host.wait(task.id, 60)).result

    runs = await crash_everywhere(begin, scenario, lease_s=1.0)

    assert len(runs) > 12
    assert "Ada was here before." in runs[0].answer
    for n in range(1, begun + 1):
        texts = [item.text for item in (await memory.items(Selection((f"run:{n}",)))).items]
        assert sorted(texts) == ["Ada likes tea.", "Ada lives in Bern.", "Ada said hello.", "Ada was here before."]
    await memory.aclose()


class _Noting(LoopPlanner):
    """Keeps something itself before it begins."""

    async def run(self, context: Any) -> Any:
        await context.remember("Ada said hello.")
        return await super().run(context)
