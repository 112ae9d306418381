"""A memory that cannot be used is noticed: at the start, in the terminal of a run, and by the doctor."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from opspawn.agentkit.memories import Memories
from opspawn.cli import main
from opspawn.contracts.memory import MemoryItem
from opspawn.contracts.plugins import EmbedderPlugin
from opspawn.errors import ModelError
from opspawn.memories.plugin import opspawn_memories
from opspawn.memory_checkup import examine_memory
from opspawn.plugins import Plugins
from opspawn.plugins.status import Found
from opspawn.testing import HashingEmbedder

APP = """
from opspawn import Agent, App
from opspawn.testing import LoopPlanner, ScriptedModel

helper = Agent("helper", model=ScriptedModel(lambda request: "I do not know."), planner=LoopPlanner(), memory=True)
app = App(agents=[helper])
"""
DAMAGED = "Without memory (recall): The memory '.opspawn/memory.db' cannot be used: file is not a database."


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def invoke(*args: str) -> Result:
    return CliRunner().invoke(main, [*args], prog_name="opspawn")


def configure(folder: Path, text: str) -> None:
    (folder / "opspawn.toml").write_text(text)


def damage(folder: Path) -> None:
    (folder / ".opspawn").mkdir()
    (folder / ".opspawn" / "memory.db").write_text("no database " * 50)


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_run_that_goes_on_without_its_memory_says_so_in_one_line(folder: Path, form: tuple[str, ...]) -> None:
    damage(folder)
    result = invoke("run", "app.py", "helper", "How do I take my tea?", *form)
    assert result.exit_code == 0
    assert "I do not know." in result.stdout
    assert DAMAGED in result.stderr.replace(str(folder) + "/", "")
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_run_with_its_memory_says_nothing_of_it(folder: Path, form: tuple[str, ...]) -> None:
    assert invoke("run", "app.py", "helper", "How do I take my tea?", *form).stderr == ""


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ('memory = "nosuch"', "There is no memory 'nosuch'"),
        ('embedder = "nosuch:x"', "There is no embedder 'nosuch'"),
        ('embedder = "openai"', "names no model"),
    ],
)
def test_a_memory_that_is_not_installed_is_told_at_the_start(folder: Path, setting: str, words: str) -> None:
    configure(folder, setting)
    for command in (("run", "app.py", "helper", "Hi."), ("serve", "app.py", "--port", "0"), ("worker", "app.py")):
        result = invoke(*command)
        assert (result.exit_code, words in result.stderr) == (2, True), result.output
        assert len(result.stderr.strip().splitlines()) == 1


def test_the_doctor_tells_of_a_memory_that_is_not_installed(folder: Path) -> None:
    configure(folder, 'memory = "nosuch"')
    looked = invoke("doctor", "--json")
    assert looked.exit_code == 1
    [error] = [one for one in json.loads(looked.stdout) if one["level"] == "error"]
    assert error["part"] == "memory"
    assert "There is no memory 'nosuch'" in error["what"]
    assert error["remedy"]


class Away(HashingEmbedder):
    """An embedder whose server is away."""

    async def embed(self, texts: Any) -> Any:
        raise ModelError("The server cannot be reached.", remedy="Start it.")


def memories(folder: Path, embedder: HashingEmbedder | None) -> Memories:
    records: list[Any] = [("memory", one) for one in opspawn_memories()]
    records.append(("embedder", EmbedderPlugin("given", lambda section, model: embedder)))  # type: ignore[arg-type, return-value]
    plugins = Plugins([Found(EntryPoint("given", "given", "opspawn"), "given", "1", records=records)])
    name = None if embedder is None else "given:model"
    return Memories(plugins, {}, memory="sqlite", embedder=name, data=str(folder))


async def looked_at(folder: Path, embedder: HashingEmbedder | None, *, embed: bool = False) -> list[tuple[str, str]]:
    looked = memories(folder, embedder)
    found = [finding async for _, finding in examine_memory(looked, embed=embed)]
    await looked.aclose()
    return [(finding.level, finding.what) for finding in found]


async def test_the_doctor_says_what_is_without_vectors_or_has_those_of_others(folder: Path) -> None:
    first = HashingEmbedder(model="given:model")
    for text, embedder in (("One.", None), ("Two.", first)):
        kept = memories(folder, embedder)
        await (await kept.get()).add([MemoryItem(text, ("a",))])
        await kept.aclose()

    asked = len(first.asked)
    told = await looked_at(folder, first)
    assert [level for level, _ in told] == ["ok", "warning"]
    assert "1 have no vector" in told[1][1]
    assert len(first.asked) == asked, "an embedder is asked for nothing unless that is wanted"
    other = await looked_at(folder, HashingEmbedder(model="given:other"))
    assert other[1][0] == "error"
    assert "not those of given:other" in other[1][1]
    assert (await looked_at(folder, None)) == [
        ("ok", "Memory sqlite has 2 items, and vectors of given:model that are not used.")
    ]


async def test_the_doctor_asks_the_embedder_if_it_is_to(folder: Path) -> None:
    [first, *_] = await looked_at(folder, HashingEmbedder(model="given:model"), embed=True)
    assert first == ("ok", "Embedder given:model makes vectors of 128 numbers.")
    [first, *_] = await looked_at(folder, Away(model="given:model"), embed=True)
    assert first == ("error", "The server cannot be reached.")


async def test_the_doctor_tells_of_a_damaged_memory_and_makes_none_where_there_is_none(folder: Path) -> None:
    data = folder / ".opspawn"
    [(level, words)] = await looked_at(data, None)
    assert (level, words.split(" in ")[0]) == ("ok", "Memory sqlite: nothing is remembered")
    assert not data.exists()
    damage(folder)
    [(level, words)] = await looked_at(data, None)
    assert (level, "file is not a database" in words) == ("error", True)
