"""The `mcpServers` JSON that other programs keep, as tables of opspawn.toml."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from opspawn.config.secrets import looks_secret, redact
from opspawn.errors import InvalidInput

_REFERENCE = re.compile(r"\$\{(?:env:)?([A-Za-z_][A-Za-z0-9_]*)\}")
_UNFIT = re.compile(r"[^A-Za-z0-9-]+")
_KNOWN = {"command", "args", "env", "cwd", "url", "serverUrl", "headers", "disabled", "type", "transport", "timeout"}


def read_servers(path: Path) -> dict[str, Any]:
    """The servers of a file, under "mcpServers" or "servers". Raises: InvalidInput: it has none, or is no JSON."""
    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}.") from error
    found = (data.get("mcpServers") or data.get("servers")) if isinstance(data, dict) else None
    if not isinstance(found, dict) or not all(isinstance(one, dict) for one in found.values()):
        raise InvalidInput(f"{path} has no mcpServers.", remedy='It should hold {"mcpServers": {"NAME": {...}}}.')
    return found


def to_toml(servers: Mapping[str, Mapping[str, Any]]) -> tuple[str, list[str]]:
    """Tables for opspawn.toml, and remarks on what could not be taken as it was.

    Values that look secret become references to environment variables: a configuration file is no place for them.
    """
    lines: list[str] = []
    remarks: list[str] = []
    for original, one in servers.items():
        name = _UNFIT.sub("-", original).strip("-")[:32] or "server"
        if name != original:
            remarks.append(f"{original!r} is called {name!r} here.")
        lines += [*_table(name, one, remarks), ""]
    return "\n".join(lines), remarks


def _table(name: str, one: Mapping[str, Any], remarks: list[str]) -> list[str]:
    key = f"plugins.mcp.servers.{name}"
    url = one.get("url") or one.get("serverUrl")
    lines = [f"[{key}]"]
    if url is None and not one.get("command"):
        remarks.append(f"{name} was left out: it has neither command nor url.")
        return []
    if url is not None:
        lines.append(f"url = {_text(str(url))}")
    else:
        lines.append(f"command = {_text(str(one['command']))}")
        if one.get("args"):
            lines.append(f"args = [{', '.join(_args(name, [str(arg) for arg in one['args']], remarks))}]")
        if one.get("cwd"):
            lines.append(f"cwd = {_text(str(one['cwd']))}")
    if one.get("disabled"):
        lines.append("enabled = false")
    if url is not None and str(url).startswith("http://"):
        lines.append("allow_private = true")
    for table in ("env", "headers"):
        if given := one.get(table):
            lines.append(
                f"{table} = {{ {', '.join(_pair(name, key, str(value), remarks) for key, value in given.items())} }}"
            )
    if one.get("type") == "sse" or one.get("transport") == "sse":
        remarks.append(f"{name}: it is an SSE server of the old kind; only streamable HTTP is spoken here.")
    remarks += [f"{name}: {other!r} was left out." for other in one if other not in _KNOWN]
    return lines


def _args(server: str, args: list[str], remarks: list[str]) -> Iterator[str]:
    """Arguments; those that look secret, or that follow the name of a secret, become references."""
    for number, arg in enumerate(args):
        before = args[number - 1] if number else ""
        named = before.startswith("-") and looks_secret(before.lstrip("-"))
        if (named or redact(arg) != arg) and not _REFERENCE.search(arg):
            variable = re.sub(r"[^A-Z0-9]+", "_", f"{server}_ARG_{number + 1}".upper())
            remarks.append(f"{server}: put argument {number + 1} into the environment variable {variable}.")
            yield f'"${{{variable}}}"'
        else:
            yield _text(arg)


def _pair(server: str, key: str, value: str, remarks: list[str]) -> str:
    name = key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key)
    if _REFERENCE.search(value):
        return f"{name} = {_text(value)}"
    if looks_secret(key) or redact(value) != value:
        variable = re.sub(r"[^A-Z0-9]+", "_", f"{server}_{key}".upper())
        remarks.append(f"{server}: put the value of {key} into the environment variable {variable}.")
        return f'{name} = "${{{variable}}}"'
    return f"{name} = {_text(value)}"


def _text(value: str) -> str:
    """A TOML text, in which references to variables stay such, and other "${" do not become any."""
    kept = _REFERENCE.sub(lambda found: f"\0{found[1]}\0", value).replace("${", "$${")
    kept = re.sub("\0([^\0]+)\0", r"${\1}", kept)
    return json.dumps(kept, ensure_ascii=False)
