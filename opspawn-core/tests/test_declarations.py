"""Agents without Python: tables of opspawn.toml and files, checked with one line that names file and key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from opspawn import Agent, App
from opspawn.config import load_settings
from opspawn.config.carrying import loaded_from_json, loaded_to_json
from opspawn.declarations import agents_of
from opspawn.errors import ConfigError, OpspawnError

TOOLS = '''
def look(word: str) -> str:
    """Look a word up."""
    return word
'''


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "declared_tools.py").write_text(TOOLS)
    return tmp_path


def from_toml(text: str) -> App:
    Path("opspawn.toml").write_text(text)
    loaded = loaded_from_json(loaded_to_json(load_settings(environ={})))
    return App(agents=[Agent("known")]).with_agents(agents_of(loaded))


def from_file(text: str, name: str = "helper.yaml") -> App:
    Path("agents").mkdir(exist_ok=True)
    (Path("agents") / name).write_text(text)
    return App(agents=[Path.cwd() / "agents" / name])


def test_tables_declare_agents_with_all_that_belongs_to_them(folder: Path) -> None:
    (folder / "prompt.txt").write_text("Be brief.\n")

    app = from_toml(
        """
        [agents]
        allow_private = true

        [agents.helper]
        model = ["openai:a", "openai:b"]
        planner = "react"
        tools = ["declared_tools:look", "plugin_tool"]
        agents = ["finder", "known"]
        handoffs = ["billing"]
        instructions_file = "prompt.txt"
        max_steps = 5
        settings = { temperature = 0.5 }

        [agents.finder]
        [agents.billing.output]
        type = "object"
        properties.total = { type = "integer" }
        required = ["total"]
        """,
    )

    helper = app.agents["helper"]
    assert sorted(app.agents) == ["billing", "finder", "helper", "known"]
    assert helper.tool_names == ("look", "plugin_tool", "finder", "known")
    assert [agent.name for agent in helper.subagents] == ["finder", "known", "billing"]
    assert (helper.model, helper.instructions, helper.max_steps) == ("openai:a, openai:b", "Be brief.", 5)
    assert helper.settings == {"temperature": 0.5}
    assert not app.agents["billing"].about.form.is_text


def test_files_declare_agents_by_pattern_which_may_name_one_another(folder: Path) -> None:
    (folder / "agents").mkdir()
    (folder / "agents" / "finder.yml").write_text("instructions: Find.\n")
    (folder / "agents" / "a.yaml").write_text("name: chief\nagents: [finder]\n")

    app = from_file("{}", "other.json")
    (folder / "made.py").write_text('from opspawn import App\napp = App(agents=["agents/*.y*ml"])\n')
    from opspawn.app import load_app

    made = load_app("made.py", folder)

    assert list(app.agents) == ["other"]
    assert sorted(made.agents) == ["chief", "finder"]
    assert made.agents["chief"].subagents == (made.agents["finder"],)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("max_steps = 0", "opspawn.toml: agents.helper.max_steps must be at least 1, not 0."),
        ("modell = 'x'", "opspawn.toml: there is no setting 'agents.helper.modell'. Did you mean"),
        ("agents = ['x']", "opspawn.toml: agents.helper.agents names the agent 'x', which there is not."),
        ("handoffs = ['helper']", "opspawn.toml: agents.helper.agents stands on itself: helper -> helper."),
        ("tools = ['declared_tools:no']", "opspawn.toml: agents.helper.tools names 'declared_tools:no', and"),
        ("tools = ['nowhere:no']", "there is no module 'nowhere'."),
        ("instructions_file = 'no.txt'", "instructions_file names 'no.txt', which cannot be read: No such file"),
        ("instructions = 'a'\ninstructions_file = 'b'", "agents.helper.instructions_file stands beside instructions."),
        ("output.type = 'thing'", "opspawn.toml: The agent 'helper' has as its output a schema that cannot be used"),
        ("output_mode = 'loud'", "agents.helper.output_mode must be"),
        ("budget.token = 5", "no setting 'agents.helper.budget.token'. Did you mean 'agents.helper.budget.tokens'?"),
        ("memory.recal = 5", "no setting 'agents.helper.memory.recal'. Did you mean 'agents.helper.memory.recall'?"),
        ("memory = 'yes'", "agents.helper.memory must be true or false or a table"),
    ],
)
def test_a_wrong_table_is_told_in_one_line_with_file_and_key(table: str, words: str) -> None:
    with pytest.raises(ConfigError) as info:
        from_toml(f"[agents.helper]\n{table}\n")

    assert words in str(info.value)
    assert "\n" not in str(info.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model: x:y\nmax_steps: many\n", "agents/helper.yaml:2: max_steps must be a whole number"),
        ("- 1\n", "agents/helper.yaml holds no agent."),
        ("", "agents/helper.yaml is empty. Write its keys: model, planner, tools"),
        ("model: a\nmodel: b\n", "agents/helper.yaml"),
        ("name: a b\n", "'a b' is not an agent's name"),
    ],
)
def test_a_wrong_file_is_told_in_one_line_with_its_name(text: str, words: str) -> None:
    with pytest.raises(OpspawnError) as info:
        from_file(text)

    assert words in str(info.value)
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("wrong", ["agents/*.yaml", "no.json"])
def test_files_that_are_not_there_are_named(wrong: str) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        App(agents=[wrong])


def test_an_agent_that_the_app_has_already_is_not_declared_again() -> None:
    with pytest.raises(ConfigError, match=r"opspawn.toml declares the agent 'known', and the app has another"):
        from_toml("[agents.known]\nmax_steps = 2\n")


def test_the_settings_beside_the_tables_are_checked_as_before() -> None:
    with pytest.raises(ConfigError, match=r"there is no setting 'agents.allow_privat'"):
        from_toml("[agents]\nallow_privat = true\n[agents.helper]\n")


def test_the_schema_of_the_configuration_knows_declared_agents() -> None:
    from opspawn.cli.config import settings_schema
    from opspawn.plugins import Plugins

    schema: dict[str, Any] = settings_schema(Plugins.load())

    assert "instructions_file" in schema["$defs"]["AgentSettings"]["additionalProperties"]["properties"]
