"""From text, file or dict to a `Workflow`: read strictly, check everything, report every fault with its line."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from opspawn.agentkit.values import Path
from opspawn.errors import InvalidInput
from opspawn.ops.workflows import sequence
from opspawn.ops.workflows.build import build
from opspawn.ops.workflows.expressions import compact
from opspawn.ops.workflows.faults import Faults
from opspawn.ops.workflows.messages import message
from opspawn.ops.workflows.reading import MAX_BYTES, MAX_DEPTH, MAX_NODES, read_text
from opspawn.ops.workflows.template import Template
from opspawn.ops.workflows.workflow import Workflow


def load_workflow(
    definition: str | FilePath | Mapping[str, Any], *, source: str | None = None, tools: Collection[str] = ()
) -> Workflow:
    """Return a checked workflow.

    Args:
        definition: the text of a definition (YAML or JSON), the path of a file, or the data itself.
        source: what faults call it, e.g. "triage.yaml"; a path is its own source.
        tools: names of known tools, for the original sequence format only: a capability of such a name is a tool.

    Raises:
        InvalidInput: `faults` has a line per fault, "FILE:LINE: KEY.PATH: what is wrong and what to do".
        ConfigError: a package of the extra `workflows` is needed and not installed.
    """
    lines: dict[Path, int] = {}
    data: Any
    if isinstance(definition, FilePath):
        source = source or str(definition)
        data, lines = read_text(_file_text(definition, source), source)
    elif isinstance(definition, str):
        source = source or "workflow"
        data, lines = read_text(definition, source)
    else:
        source = source or "workflow"
        data = _bounded(dict(definition), source)
    faults = Faults(source, lines)
    if not isinstance(data, dict):
        faults.add((), 'must be a mapping that begins with: opspawn: "1"')
    elif sequence.is_sequence(data):
        data, places = sequence.convert(data, faults, tools)
        faults.raise_if_any()
        faults = Faults(source, _moved(lines, places))
    faults.raise_if_any()
    template = _validate(data, faults)
    if template is None:
        faults.raise_if_any()
    assert template is not None
    workflow = build(template, faults)
    faults.raise_if_any()
    assert workflow is not None
    return workflow


def _file_text(path: FilePath, source: str) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InvalidInput(f"{source} cannot be read: {error.strerror or error}.") from None
    if len(content) > MAX_BYTES:
        raise InvalidInput(f"{source} is too large; a workflow may have {MAX_BYTES:,} bytes.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{source} is not UTF-8 (byte {error.start}).", remedy="Save it as UTF-8.") from None


def _bounded(data: dict[str, Any], source: str) -> dict[str, Any]:
    """The same limits for data that comes without text, level by level, so that depth cannot exhaust the stack."""
    level: list[Any] = [data]
    nodes = depth = 0
    while level:
        nodes += len(level)
        depth += 1
        if nodes > MAX_NODES:
            raise InvalidInput(f"{source}: A workflow may have {MAX_NODES:,} values; this one has more.")
        if depth > MAX_DEPTH + 1:
            raise InvalidInput(f"{source}: This is nested deeper than {MAX_DEPTH} levels.")
        children = (
            item.values() if isinstance(item, dict) else item for item in level if isinstance(item, (dict, list))
        )
        level = [child for group in children for child in group]
    try:
        size = len(compact(data).encode("utf-8", "surrogatepass"))
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{source}: This is not JSON data: {error}.") from None
    if size > MAX_BYTES:
        raise InvalidInput(f"{source} has {size:,} bytes; a workflow may have {MAX_BYTES:,}.")
    return data


def _moved(lines: Mapping[Path, int], places: Mapping[Path, Path]) -> dict[Path, int]:
    """Lines for the steps that were converted from tasks."""
    names = {"agentCapability": "uses", "parameters": "with", "nextTaskId": "needs"}
    moved = dict(lines)
    for new, old in places.items():
        for path, line in lines.items():
            if path[: len(old)] == old:
                rest = path[len(old) :]
                moved[(*new, *(names.get(str(part), part) if at == 0 else part for at, part in enumerate(rest)))] = line
    return moved


def _validate(data: dict[str, Any], faults: Faults) -> Template | None:
    """The template; or, after faults, what is left without the faulty places, so that the rest can be checked too."""
    try:
        return Template.model_validate(data)
    except ValidationError as error:
        found = error.errors(include_url=False)
    paths = [tuple(part for part in fault["loc"] if part != "[key]") for fault in found]
    for path, fault in zip(paths, found, strict=True):
        faults.add(path, message(path, fault))
    rest = json.loads(compact(data))
    for path in paths:
        if not _without(rest, path):
            return None
    try:
        return Template.model_validate(rest)
    except ValidationError:
        return None


def _without(data: dict[str, Any], path: Path) -> bool:
    """Remove what is at a path, or put something harmless there; False if that would bring faults of its own."""
    neutral: dict[Any, Any] = {"opspawn": "1", "name": "unknown"}
    match path:
        case ("inputs", name, *_):
            data["inputs"][name] = {}
        case ("steps", id, "uses", *_):
            data["steps"][id]["uses"] = "agent/unknown"
        case ("steps", _, "needs", *_) | ("steps",) | ("inputs",):
            return False
        case ("steps", id):
            data["steps"][id] = {"uses": "agent/unknown"}
        case ("steps", id, key, *_) if isinstance(data["steps"][id], dict):
            data["steps"][id].pop(key, None)
        case (key, *_) if key in neutral:
            data[str(key)] = neutral[key]
        case (key, *_):
            data.pop(str(key), None)
    return True
