"""`settings.md`: every setting of the core and of the plugins of this repository."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from _reference.text import cell, code, kind_of, table
from opspawn.config.environment import variable_of
from opspawn.config.settings import Settings
from opspawn.plugins import Plugins

#: The distributions whose sections the reference shows, besides the core's own.
OURS = (
    "opspawn-embedder-local",
    "opspawn-mcp",
    "opspawn-memory-lancedb",
    "opspawn-model-anthropic",
    "opspawn-model-openai",
    "opspawn-planner-plan",
    "opspawn-planner-react",
    "opspawn-store-redis",
)

_OPENING = """\
# Settings

Read from `opspawn.toml`, over it the environment (`OPSPAWN_…`), over that the options of the command line.
The file is the one that `--config` or `OPSPAWN_CONFIG` names, else `opspawn.toml` in the current folder,
which need not exist. `opspawn config show --sources` tells the values in force and where each came from;
`opspawn config schema` prints the JSON Schema.

* Types are strict in the file: a number is no text. A variable's text is read as its setting wants:
  `OPSPAWN_WORKER__SLOTS=8`, lists with commas or as JSON.
* In the file, `${VAR}` within a text is replaced by the environment variable, `${VAR:-default}` too if it is
  unset or empty; `$${` stands for `${`. A variable that is not set is an error.
* An unknown key, a wrong type, a section that belongs to no installed plugin: one line that names place, key
  and remedy, and exit code 2.
* In the names of variables a dot is `__` and a dash is `_`.

`OPSPAWN_CONFIG` names the file. `OPSPAWN_DEBUG=1` adds a traceback to the one-line errors of the command
line. `OPSPAWN_PLUGINS` is short for the two lists of `[plugins]`: `a,b` allows only these, `-a` blocks one,
`none` leaves the built-ins alone."""


def pages() -> dict[str, str]:
    """The page."""
    schema = Settings.model_json_schema()
    definitions = schema["$defs"]
    named = {
        key: value for key, value in schema["properties"].items() if "$ref" in value.get("additionalProperties", {})
    }
    top = {key: value for key, value in schema["properties"].items() if "$ref" not in value and key not in named}
    parts = [_OPENING, "## Top level", _rows("", top, definitions, ())]
    for key, value in schema["properties"].items():
        if "$ref" in value:
            inner = definitions[value["$ref"].rpartition("/")[2]]
            parts += [
                f"## [{key}]",
                value.get("description", ""),
                _rows(f"{key}.", inner["properties"], definitions, ()),
            ]
            parts += _tables(key, inner["properties"], definitions)
    for key, value in named.items():
        inner = definitions[value["additionalProperties"]["$ref"].rpartition("/")[2]]
        parts += [f"## [{key}.NAME]", value["description"], " ".join(inner["description"].split())]
        parts.append(_rows(f"{key}.NAME.", inner["properties"], definitions, (), variables=False))
    plugins = Plugins.load(allow=OURS, quiet=True)
    told: set[tuple[str, type]] = set()  # a store and a waker of one name may share their section
    for item in plugins.report():
        for kind, names in item.gives.items():
            for name in names:
                record = plugins.get(kind, name)
                if (name, record.config) in told:
                    continue
                told.add((name, record.config))
                parts += _section(plugins.get(kind, name), kind, item.distribution)
    return {"settings.md": "\n\n".join(parts)}


def _tables(key: str, properties: Mapping[str, Any], definitions: Mapping[str, Any]) -> Iterator[str]:
    """The tables of which a setting holds a list."""
    for name, field in properties.items():
        reference = field.get("items", {}).get("$ref")
        if reference is not None:
            title = reference.rpartition("/")[2]
            inner = definitions[title]
            yield f"### {title}"
            yield " ".join(inner["description"].split())
            required = inner.get("required", ())
            yield _rows(f"{key}.{name}.", inner["properties"], definitions, required, variables=False)


def _section(record: Any, kind: str, distribution: str) -> Iterator[str]:
    schema = record.config.model_json_schema()
    properties = schema.get("properties", {})
    if not properties:
        return
    yield f"## [plugins.{record.name}]"
    yield f"The {kind} `{record.name}` of `{distribution}`: {record.help.rstrip('.')}."
    definitions = schema.get("$defs", {})
    yield _rows(f"plugins.{record.name}.", properties, definitions, schema.get("required", ()))
    yield from _nested(f"plugins.{record.name}", properties, definitions)


def _nested(place: str, properties: Mapping[str, Any], definitions: Mapping[str, Any]) -> Iterator[str]:
    """The tables within a table, by name or as they are."""
    for key, field in properties.items():
        values = field.get("additionalProperties") if field.get("type") == "object" else None
        named = values.get("$ref") if isinstance(values, dict) else None
        either = next((one["$ref"] for one in field.get("anyOf", ()) if "$ref" in one), "")
        title = (named or field.get("$ref") or either).rpartition("/")[2]
        inner = definitions.get(title, {})
        if inner.get("type") != "object":
            continue
        within = f"{place}.{key}.NAME" if named else f"{place}.{key}"
        yield f"### {title}"
        yield f"`[{within}]`: {' '.join(inner['description'].split())}"
        yield _rows(f"{within}.", inner["properties"], definitions, inner.get("required", ()))
        yield from _tables(within, inner["properties"], definitions)
        yield from _nested(within, inner["properties"], definitions)


def _rows(
    prefix: str,
    properties: Mapping[str, Any],
    definitions: Mapping[str, Any],
    required: Any,
    *,
    variables: bool = True,
) -> str:
    rows = []
    for key, field in properties.items():
        default = (
            "required"
            if key in required
            else code(field["default"])
            if field.get("default") is not None and "$ref" not in field
            else "not set"
        )
        kind = cell(kind_of(field).replace(" or null", ""))
        kind = kind.replace("password", "text, secret")
        variable = f"`{variable_of(prefix + key)}`" if variables else "none"
        rows.append([f"`{prefix}{key}`", kind, default, variable, field.get("description", "")])
    return table(["Key", "Type", "Default", "Variable", "Meaning"], rows)
