"""`opspawn plugins`: what is installed, what became of it, what it gives."""

from __future__ import annotations

import difflib
from dataclasses import asdict
from typing import Any

import click

from opspawn.cli.output import configuration, installed, json_option, print_json
from opspawn.cli.tables import print_table
from opspawn.errors import NotFound
from opspawn.plugins import Plugins, PluginStatus


@click.group()
def plugins() -> None:
    """List the installed plugins and what they give."""


@plugins.command("list")
@json_option
def list_plugins(as_json: bool) -> None:
    """List every installed plugin: loaded, blocked, failed or clash."""
    statuses = installed(configuration()).report()
    if as_json:
        print_json([asdict(status) for status in statuses])
        return
    rows = [(item.name, item.status, _gives(item), item.distribution, item.version, item.error) for item in statuses]
    if not any(item.error for item in statuses):
        print_table(("name", "status", "gives", "distribution", "version"), [row[:5] for row in rows])
    else:
        print_table(("name", "status", "gives", "distribution", "version", "error"), rows)


@plugins.command("show")
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show one plugin: what it gives, its settings, and what is wrong with it.

    NAME is that of the plugin, of its distribution, or of something that it gives.
    """
    found = installed(configuration())
    matches = [item for item in found.report() if name in (item.name, item.distribution)]
    matches = matches or [item for item in found.report() if any(name in names for names in item.gives.values())]
    if not matches:
        raise _not_found(name, found)
    details = [_details(item, found) for item in matches]
    if as_json:
        print_json(details[0] if len(details) == 1 else details)
        return
    for number, detail in enumerate(details):
        if number:
            click.echo()
        _print_details(detail)


def _details(status: PluginStatus, found: Plugins) -> dict[str, Any]:
    records = []
    for kind, names in status.gives.items():
        for record in found.records(kind):
            if record.name in names:
                records.append({"kind": kind, "name": record.name, "help": record.help, "settings": _settings(record)})
    return {**asdict(status), "records": records}


def _settings(record: Any) -> list[dict[str, Any]]:
    schema = record.config.model_json_schema()
    required = schema.get("required", [])
    return [
        {
            "key": f"plugins.{record.name}.{key}",
            "type": type_of(field),
            "default": field.get("default"),
            "required": key in required,
            "description": field.get("description", ""),
        }
        for key, field in schema.get("properties", {}).items()
    ]


def type_of(schema: dict[str, Any]) -> str:
    """A JSON Schema of a setting in a few words: "integer", "string or null", "one of full, normal"."""
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    if "anyOf" in schema:
        return " or ".join(type_of(branch) for branch in schema["anyOf"] if branch.get("type") != "null")
    if schema.get("type") == "array":
        return f"list of {type_of(schema.get('items', {}))}"
    return str(schema.get("format") if schema.get("format") == "path" else schema.get("type", "any"))


def _print_details(detail: dict[str, Any]) -> None:
    click.echo(f"{detail['name']}: {detail['status']}")
    click.echo(f"  from {detail['distribution']} {detail['version']}, {detail['module']}")
    if detail["error"]:
        click.echo(f"  {detail['error']}")
    for record in detail["records"]:
        click.echo(f"  {record['kind']} {record['name']}{': ' + record['help'] if record['help'] else ''}")
        for setting in record["settings"]:
            default = "required" if setting["required"] else f"default {_toml(setting['default'])}"
            click.echo(f"    {setting['key']} ({setting['type']}, {default})")
            if setting["description"]:
                click.echo(f"      {setting['description']}")


def _toml(value: Any) -> str:
    from opspawn.cli.config import toml_value

    return "none" if value is None else toml_value(value)


def _gives(status: PluginStatus) -> str:
    return ", ".join(f"{kind} {name}" for kind, names in status.gives.items() for name in names)


def _not_found(name: str, found: Plugins) -> NotFound:
    known = sorted({item.name for item in found.report()})
    near = difflib.get_close_matches(name, known, n=1)
    return NotFound("plugin", name, known=known, remedy=f"Did you mean {near[0]!r}?" if near else None)
