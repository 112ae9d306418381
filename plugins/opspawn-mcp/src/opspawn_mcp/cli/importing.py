"""`opspawn mcp import`: servers from the JSON of other programs."""

from __future__ import annotations

import tomllib
from pathlib import Path

import click

from opspawn.cli.output import configuration, json_option, print_json, print_text, say
from opspawn.errors import ConfigError
from opspawn_mcp.imports import read_servers, to_toml


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--write", is_flag=True, help="Append the tables to opspawn.toml instead of printing them.")
@json_option
def import_servers(file: Path, write: bool, as_json: bool) -> None:
    """Read the servers in FILE, JSON with "mcpServers" as editors and chat programs keep it, as TOML.

    Secrets become references to environment variables, and are told by name.
    """
    text, remarks = to_toml(read_servers(file))
    if as_json:
        print_json({"servers": tomllib.loads(text)["plugins"]["mcp"]["servers"], "remarks": remarks})
    elif not write:
        print_text(text)
    if write:
        _append(text)
    for remark in remarks:
        say(remark)


def _append(text: str) -> None:
    """Raises: ConfigError: a server of that name is there already, or the file cannot be written."""
    loaded = configuration()
    path = loaded.file or loaded.folder / "opspawn.toml"
    there = path.read_text("utf-8") if path.is_file() else ""
    joined = f"{there.rstrip()}\n\n{text}" if there.strip() else text
    try:
        tomllib.loads(joined)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} and what is imported do not go together: {error}.") from error
    try:
        path.write_text(joined, "utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.") from error
    say(f"Written to {path}.")
