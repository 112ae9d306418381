"""Reads the settings among the environment variables: `OPSPAWN_STORE`, `OPSPAWN_PLUGINS__REST__PORT`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from opspawn.config.loaded import Text
from opspawn.config.settings import PluginSettings, Settings
from opspawn.errors import ConfigError

PREFIX = "OPSPAWN_"

#: Variables of Opspawn that are no settings.
OTHERS = frozenset({"OPSPAWN_CONFIG", "OPSPAWN_DEBUG"})

# Kubernetes gives every container such variables for each service; those of one named "opspawn" are no mistake.
_SERVICE = re.compile(
    r"OPSPAWN_([A-Z0-9]+_)*(SERVICE_(HOST|PORT)(_[A-Z0-9_]+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)


def read_environment(environ: Mapping[str, str]) -> Iterator[tuple[tuple[str, ...], Any, str]]:
    """Yield path, value and variable of each setting, in the order of the names. An empty variable counts as unset.

    The path ("plugins", "block", "+") means: add to that list.

    Raises: ConfigError: a variable with our prefix is no setting, or names a whole table.
    """
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or variable in OTHERS or not environ[variable]:
            continue
        path = tuple(variable.removeprefix(PREFIX).lower().split("__"))
        if variable == "OPSPAWN_PLUGINS":
            yield from ((key, value, variable) for key, value in _shorthand(environ[variable]))
        elif _is_setting(path, variable):
            yield path, Text(environ[variable]), variable


def variable_of(key: str) -> str:
    """The variable that sets a dotted key."""
    return PREFIX + key.replace(".", "__").replace("-", "_").upper()


def _shorthand(text: str) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """`OPSPAWN_PLUGINS`: "a,b" allows only these, "-a" blocks, "none" leaves the built-ins alone."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    blocked = [name[1:].strip() for name in names if name.startswith("-")]
    allowed = [name for name in names if not name.startswith("-")]
    if "none" in allowed and allowed != ["none"]:
        raise ConfigError(
            "OPSPAWN_PLUGINS: 'none' stands beside other names.", remedy="Write none alone, or the names alone."
        )
    if "" in blocked:
        raise ConfigError("OPSPAWN_PLUGINS: a '-' without a name.", remedy="Write -NAME to block a plugin.")
    if allowed:
        yield ("plugins", "allow"), [] if allowed == ["none"] else allowed
    if blocked:
        yield ("plugins", "block", "+"), blocked


def _is_setting(path: tuple[str, ...], variable: str) -> bool:
    known = _known(Settings)
    if path in known or _is_plugin_setting(path):
        return True
    if _SERVICE.fullmatch(variable):
        return False
    if any(key[: len(path)] == path for key in known):
        example = next(key for key in known if key[: len(path)] == path)
        raise ConfigError(
            f"{variable} names a table.", remedy=f"Set its keys one by one, e.g. {variable_of('.'.join(example))}."
        )
    if path[0] == "plugins":
        raise ConfigError(f"{variable} names no key of a plugin.", remedy="Write OPSPAWN_PLUGINS__NAME__KEY.")
    variables = [variable_of(".".join(key)) for key in known]
    near = difflib.get_close_matches(variable, variables, n=1)
    remedy = f"Did you mean {near[0]}?" if near else f"Unset it; the settings are {', '.join(variables)}."
    raise ConfigError(f"{variable}: there is no such setting.", remedy=remedy)


def _is_plugin_setting(path: tuple[str, ...]) -> bool:
    return len(path) > 2 and path[0] == "plugins" and all(path) and path[1] not in PluginSettings.model_fields


def _known(model: type[BaseModel], path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        nested = isinstance(inner, type) and issubclass(inner, BaseModel)
        found += _known(inner, (*path, name)) if nested else [(*path, name)]  # type: ignore[arg-type]
    return found
