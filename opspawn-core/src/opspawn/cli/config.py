"""`opspawn config`: the settings in force, where each came from, and the schema of opspawn.toml."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import click

from opspawn.agentkit.declared import DeclaredAgent
from opspawn.cli.output import configuration, installed, json_option, print_json
from opspawn.config.loaded import DEFAULT, Loaded
from opspawn.config.secrets import masked
from opspawn.config.settings import Settings
from opspawn.plugins import Plugins


@click.group()
def config() -> None:
    """Show the configuration and where it comes from."""


@config.command("show")
@click.option("--sources", is_flag=True, help="Say where each value comes from.")
@json_option
def show(sources: bool, as_json: bool) -> None:
    """Show the settings in force, as opspawn.toml would hold them. Secrets appear as ***.

    Sections of plugins are checked, and shown as far as they are set.
    """
    loaded = configuration()
    installed(loaded).check(loaded.sections)
    values = shown_values(loaded)
    if as_json:
        answer: dict[str, Any] = {"file": str(loaded.file) if loaded.file else None, "settings": values}
        print_json({**answer, "sources": dict(loaded.sources)} if sources else answer)
        return
    lines = [(key, _line(key, value)) for key, value in _leaves(values)]
    width = min(max(len(line) for _, line in lines), 60)
    for key, line in lines:
        click.echo(f"{line:<{width}}  # {_source(loaded, key)}" if sources else line)


@config.command("schema")
@click.option("--agent", is_flag=True, help="That of a file that declares one agent, in YAML or JSON, instead.")
def schema(agent: bool) -> None:
    """Print the JSON Schema of opspawn.toml, with the sections of the plugins that are installed and allowed."""
    print_json(agent_schema() if agent else settings_schema(installed(configuration())))


def shown_values(loaded: Loaded) -> dict[str, Any]:
    """The settings and the sections as JSON values, secrets masked."""
    values = loaded.settings.model_dump(mode="json")
    values["plugins"] |= {name: dict(section) for name, section in loaded.sections.items()}
    values["agents"] |= {name: dict(section) for name, section in loaded.agents.items()}
    shown: dict[str, Any] = masked(values)
    return shown


def settings_schema(plugins: Plugins) -> dict[str, Any]:
    """JSON Schema 2020-12 of opspawn.toml; `plugins.NAME` is the section of an installed plugin."""
    result = Settings.model_json_schema()
    definitions = result.setdefault("$defs", {})
    table = definitions["PluginSettings"]
    for record in plugins.records():
        own = record.config.model_json_schema(ref_template=f"#/$defs/{record.name}.{{model}}")
        definitions |= {f"{record.name}.{name}": inner for name, inner in own.pop("$defs", {}).items()}
        before = table["properties"].get(record.name, {"properties": {}})
        own["properties"] = before["properties"] | own.get("properties", {})
        table["properties"][record.name] = own
    definitions["AgentSettings"]["additionalProperties"] = DeclaredAgent.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **result, "title": "opspawn.toml"}


def agent_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of a file that declares an agent."""
    result = DeclaredAgent.model_json_schema()
    words = "What the agent is called; unset, as its file."
    result["properties"] = {"name": {"type": "string", "description": words}, **result["properties"]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **result, "title": "An agent of Opspawn"}


def toml_value(value: Any) -> str:
    """A JSON value as TOML writes it."""
    if isinstance(value, Mapping):
        return (
            "{ " + ", ".join(f"{_key(key)} = {toml_value(inner)}" for key, inner in value.items()) + " }"
            if value
            else "{}"
        )
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    return json.dumps(str(value), ensure_ascii=False)


def _line(key: str, value: Any) -> str:
    return f"# {key} is not set" if value is None else f"{key} = {toml_value(value)}"


def _leaves(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        dotted = f"{prefix}{_key(key)}"
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{dotted}.")
        else:
            yield dotted, value


def _key(key: str) -> str:
    return key if key.replace("-", "").replace("_", "").isalnum() and key.isascii() else json.dumps(key)


def _source(loaded: Loaded, key: str) -> str:
    return loaded.sources.get(key.replace('"', ""), DEFAULT)
