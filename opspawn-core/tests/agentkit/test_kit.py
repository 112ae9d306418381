"""A kit resolves names to plugins, opens each once, and says what is missing."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from opspawn.agentkit import Agent, Kit, tool
from opspawn.agentkit.replay import opspawn_models
from opspawn.contracts.model import ModelProvider
from opspawn.contracts.planner import PlannerResult
from opspawn.contracts.plugins import ModelPlugin, PlannerPlugin, PluginConfig, PluginRecord, ToolPlugin
from opspawn.contracts.run import AgentContext
from opspawn.errors import ConfigError, PluginError
from opspawn.plugins import Plugins
from opspawn.plugins.kinds import kind_of
from opspawn.plugins.status import Found
from opspawn.testing import ScriptedModel


def kit(*records: PluginRecord, **options: Any) -> Kit:
    """A kit of these records alone, as if one installed distribution gave them."""
    entry = EntryPoint("given", "given", "opspawn")
    named = [(kind_of(type(record)), record) for record in records]
    return Kit(Plugins([Found(entry, "given", "1", records=named)]), **options)


class OneThought:
    async def run(self, context: AgentContext) -> PlannerResult:
        return PlannerResult((await context.think([])).text)


@tool(effect="read")
async def web(url: str) -> str:
    """Fetch a page."""
    return url


def opening(provider: ModelProvider, opened: list[Any]) -> Callable[[Any], ModelProvider]:
    def open(section: Any) -> ModelProvider:
        opened.append(section)
        return provider

    return open


async def test_names_are_resolved_and_each_thing_is_opened_once():
    opened: list[Any] = []
    model = ScriptedModel(["one", "two"])
    agent = Agent("helper", model="echo:m-1", planner="think", tools=["web"], settings={"seed": 7})
    own = kit(
        ModelPlugin("echo", opening(model, opened)),
        PlannerPlugin("think", lambda _: OneThought()),
        ToolPlugin("web", lambda _: web),
    )

    outputs = [(await agent.run("x", kit=own)).output for _ in range(2)]

    assert outputs == ["one", "two"]
    assert len(opened) == 1
    assert model.requests[0].model == "m-1"
    assert model.requests[0].settings == {"seed": 7}
    assert [spec.name for spec in model.requests[0].tools] == ["web"]


def test_the_name_of_a_model_may_hold_colons():
    assert kit(ModelPlugin("echo", lambda _: ScriptedModel([]))).model("echo:llama3:8b").name == "llama3:8b"


def test_an_agent_without_a_model_gets_the_configured_one():
    own = kit(ModelPlugin("echo", lambda _: ScriptedModel([])), model="echo:m-2")

    assert own.model(None).name == "m-2"
    assert own.model("echo:m-1").name == "m-1"


async def test_without_any_model_the_error_names_the_agent_and_the_remedies():
    agent = Agent("helper", planner=OneThought())

    with pytest.raises(ConfigError) as caught:
        await agent.run("x", kit=kit())

    assert str(caught.value) == (
        "No model is set for the agent 'helper'. "
        'Give it model="openai:gpt-5", or set OPSPAWN_MODEL, or model in opspawn.toml.'
    )


@pytest.mark.parametrize("spec", ["gpt-5", ":gpt-5", "openai:"])
def test_a_model_without_its_provider_is_refused_with_an_example(spec: str):
    with pytest.raises(ConfigError, match=r"names no provider\. Write PROVIDER:MODEL, e\.g\. openai:"):
        kit().model(spec)


async def test_what_is_not_installed_is_told_before_the_run():
    with pytest.raises(PluginError, match="There is no model 'echo'"):
        Agent("helper", model="echo:m-1", planner=OneThought()).handler(kit())
    with pytest.raises(
        PluginError, match=r"The planner 'react' is not installed\. Run: pip install opspawn-planner-react"
    ):
        Agent("helper", model=ScriptedModel([])).handler(kit())
    with pytest.raises(PluginError, match="There is no tool 'web'"):
        Agent("helper", model=ScriptedModel([]), planner=OneThought(), tools=["web"]).handler(kit())


def test_a_plugin_that_fails_to_open_is_named():
    def fail(_: Any) -> ModelProvider:
        raise OSError("no such device")

    with pytest.raises(PluginError, match="The plugin 'echo' cannot be opened: OSError: no such device"):
        kit(ModelPlugin("echo", fail)).model("echo:m-1")


def test_a_tool_that_calls_itself_otherwise_is_refused():
    with pytest.raises(PluginError, match="The plugin of the tool 'net' opened one that is called 'web'"):
        kit(ToolPlugin("net", lambda _: web)).tool("net")


def test_a_plugin_gets_its_section():
    class Config(PluginConfig):
        speed: int = 1

    opened: list[Any] = []
    own = kit(ModelPlugin("echo", opening(ScriptedModel([]), opened), Config), sections={"echo": {"speed": 3}})

    own.model("echo:m-1")

    assert opened == [Config(speed=3)]


async def test_closing_closes_the_providers_once():
    model = ScriptedModel([])
    own = kit(ModelPlugin("echo", lambda _: model))
    own.model("echo:m-1")

    await own.aclose()
    await own.aclose()

    assert model.closed


def test_replay_finds_its_file_beside_opspawn_toml_and_tells_at_once_when_it_is_missing(tmp_path: Path):
    (tmp_path / "calls.jsonl").write_text('{"digest": "d", "response": {"text": "hi"}}\n', "utf-8")
    own = kit(*opspawn_models(), root=tmp_path)

    assert own.model("replay:calls.jsonl").name == "calls.jsonl"
    with pytest.raises(ConfigError, match=r"other\.jsonl' cannot be read"):
        own.model("replay:other.jsonl")


def test_a_root_in_the_section_goes_before_the_folder_of_opspawn_toml(tmp_path: Path):
    (tmp_path / "calls.jsonl").write_text('{"digest": "d", "response": {"text": "hi"}}\n', "utf-8")
    own = kit(*opspawn_models(), root=Path("/nowhere"), sections={"replay": {"root": str(tmp_path)}})

    assert own.model("replay:calls.jsonl").name == "calls.jsonl"


ECHO = """
from opspawn.contracts.model import ModelResponse
from opspawn.contracts.plugins import ModelPlugin, PluginConfig
from opspawn.hookspecs import hookimpl

class Config(PluginConfig):
    mark: str = ""

class Echo:
    def __init__(self, mark): self.mark, self.calls, self.closed = mark, 0, False
    async def complete(self, request, on_delta=None):
        self.calls += 1
        return ModelResponse(f"{request.model} {self.mark} {self.calls}")
    async def aclose(self): self.closed = True

opened = []

def open(section):
    opened.append(Echo(section.mark))
    return opened[-1]

@hookimpl
def opspawn_models():
    return [ModelPlugin("echo", open, Config)]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder, with a plugin installed that echoes which model was asked, and how often."""
    site = tmp_path / "site"
    info = site / "echo_for_tests-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "echo_for_tests.py").write_text(ECHO, "utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: echo-for-tests\nVersion: 1.0\n", "utf-8")
    (info / "entry_points.txt").write_text("[opspawn]\necho = echo_for_tests\n", "utf-8")
    monkeypatch.syspath_prepend(site)
    monkeypatch.delitem(sys.modules, "echo_for_tests", raising=False)
    monkeypatch.delenv("OPSPAWN_MODEL", raising=False)
    monkeypatch.delenv("OPSPAWN_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_agents_own_kit_is_loaded_once_per_event_loop_and_closed_with_it(folder: Path):
    (folder / "opspawn.toml").write_text('model = "echo:m-1"\n\n[plugins.echo]\nmark = "set"\n', "utf-8")
    agent = Agent("helper", planner=OneThought())

    async def twice() -> list[Any]:
        outputs = [(await agent.run("x")).output for _ in range(2)]
        assert not sys.modules["echo_for_tests"].opened[-1].closed
        return outputs

    outputs = [asyncio.run(twice()), asyncio.run(twice())]

    assert outputs == [["m-1 set 1", "m-1 set 2"], ["m-1 set 1", "m-1 set 2"]]
    assert [model.closed for model in sys.modules["echo_for_tests"].opened] == [True, True]


async def test_the_environment_chooses_another_model(folder: Path, monkeypatch: pytest.MonkeyPatch):
    (folder / "opspawn.toml").write_text('model = "echo:m-1"\n', "utf-8")
    monkeypatch.setenv("OPSPAWN_MODEL", "echo:m-2")

    assert Kit.load().model(None).name == "m-2"


async def test_where_everything_is_an_object_no_plugin_and_no_file_is_read(folder: Path):
    (folder / "opspawn.toml").write_text("this is no TOML", "utf-8")

    result = await Agent("helper", model=ScriptedModel(["Done."]), planner=OneThought()).run("x")

    assert result.output == "Done."
    assert "echo_for_tests" not in sys.modules
