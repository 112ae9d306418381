"""Memory from end to end: kept by one process, found by another, shown to an agent, and forgotten."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from opspawn import Agent, App, Recollection
from opspawn.config import Loaded
from opspawn.config.settings import Settings
from opspawn.contracts.memory import MemoryQuery, Selection, every_item
from opspawn.host import Host
from opspawn.testing import LoopPlanner, ScriptedModel
from opspawn.testing.memory_promises.forgetting import traces

ADA = ("user:ada",)
FACTS = ("Ada's API token expires every 90 days.", "She is allergic to peanuts.", "The office in Bern has two doors.")
TOML = 'memory = "lancedb"\nembedder = "local:use-multilingual"\ndata = "data"\n'


@pytest.mark.timeout(180)
async def test_three_facts_go_from_process_to_process_into_a_prompt_and_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The right one first, with its source; after `forget` it is nowhere: not in a search, an export, or a file."""
    monkeypatch.chdir(tmp_path)
    _write_files(tmp_path)
    _in_another_process("memory", "import", "facts.jsonl")

    model = ScriptedModel(["Every 90 days."])
    helper = Agent("helper", model=model, planner=LoopPlanner(), memory=Recollection(namespace=ADA, tools=()))
    settings = Settings(memory="lancedb", embedder="local:use-multilingual", data="data")
    loaded = Loaded(settings, folder=tmp_path)
    async with Host.open(App(agents=[helper]), loaded=loaded, sections={"sqlite": {"path": ":memory:"}}) as host:
        memory = await host.memory()
        hits = await memory.search(MemoryQuery("When does my API token expire?", Selection(ADA)))
        task = await host.submit("agent/helper", "When does my API token expire?")
        done = await host.wait(task.id, 60)
        [shown] = [one.content for one in model.requests[0].messages if "<memories>" in one.content]
        assert (done.result, hits[0].item.text) == ("Every 90 days.", FACTS[0])
        assert f"[1] {FACTS[0]} (handbook" in shown

        assert await memory.forget(Selection(ADA, ids=(hits[0].item.id,))) == 1
        assert FACTS[0] not in [hit.item.text for hit in await memory.search(MemoryQuery(FACTS[0], Selection(ADA)))]
        assert sorted([item.text async for item in every_item(memory, Selection(ADA))]) == sorted(FACTS[1:])
        assert traces(tmp_path / "data" / "memory.lance", "API token") == []


def _write_files(folder: Path) -> None:
    (folder / "opspawn.toml").write_text(TOML)
    lines = [json.dumps({"text": text, "namespace": ADA, "provenance": {"source": "handbook"}}) for text in FACTS]
    (folder / "facts.jsonl").write_text("\n".join(lines))


def _in_another_process(*args: str) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("opspawn")), *args], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
