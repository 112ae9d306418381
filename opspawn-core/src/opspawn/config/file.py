"""Reads `opspawn.toml`: TOML, with `${VAR}` in strings replaced by environment variables."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from opspawn.config.loaded import Text
from opspawn.errors import ConfigError

FILE = "opspawn.toml"

_VARIABLE = re.compile(r"\$(\$\{|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(:-(?P<default>[^}]*))?\})")
_PLACE = re.compile(r" \((?:at line (?P<line>\d+), column \d+|at end of document)\)$")

Key = tuple[str, ...]


def read_file(file: Path, name: str, environ: Mapping[str, str]) -> Iterator[tuple[Key, Any]]:
    """Yield every value of the file with its path; an empty table is a value of its own.

    `${VAR}` is replaced, `${VAR:-default}` too if VAR is unset or empty, and `$${` stands for `${`.

    Raises: ConfigError: the file cannot be read, is not TOML (with the line), or a variable is not set.
    """
    for key, value in _flat(_parse(file, name)):
        yield key, _expand(value, ".".join(key), name, environ)


def _parse(file: Path, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError(
            f"{name} cannot be read: {error.strerror}.", remedy="Make it readable, or name another file."
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name} is not UTF-8 text (byte {error.start}).", remedy="Save it as UTF-8.") from error
    except tomllib.TOMLDecodeError as error:
        place = _PLACE.search(str(error))
        line = f":{place['line']}" if place and place["line"] else ", at the end" if place else ""
        raise ConfigError(
            f"{name}{line}: {_PLACE.sub('', str(error))}.",
            remedy='Correct the TOML there; texts need quotes: key = "value".',
        ) from error


def _flat(table: Mapping[str, Any], path: Key = ()) -> Iterator[tuple[Key, Any]]:
    for key, value in table.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, (*path, key))
        else:
            yield (*path, key), value


def _expand(value: Any, key: str, name: str, environ: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_expand(item, key, name, environ) for item in value]
    if isinstance(value, dict):
        return {inner: _expand(item, f"{key}.{inner}", name, environ) for inner, item in value.items()}
    if not isinstance(value, str) or "${" not in value:
        return value

    def replaced(match: re.Match[str]) -> str:
        variable = match["name"]
        if variable is None:
            return "${"
        found = environ.get(variable)
        if match["default"] is not None:
            return found or match["default"]
        if found is None:
            raise ConfigError(
                f"{name}: {key} uses ${{{variable}}}, and the environment variable {variable} is not set.",
                remedy=f"Set it, or write ${{{variable}:-DEFAULT}}.",
            )
        return found

    return Text(_VARIABLE.sub(replaced, value))
