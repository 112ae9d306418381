"""The original sequence format, `tasks: [{taskId, agentCapability, parameters, nextTaskId}]`, as a definition of now.

The original never read `nextTaskId` and `agentCapability`; here they mean what they say: the order, and who does it.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from opspawn.agentkit.values import Path, did_you_mean
from opspawn.ops.workflows.faults import Faults

_TOP = {"id", "name", "description", "version", "tasks"}
_TASK = {"taskId", "name", "agentCapability", "parameters", "nextTaskId"}


def is_sequence(data: dict[str, Any]) -> bool:
    """Whether this is the original format."""
    return "tasks" in data and "steps" not in data and "opspawn" not in data


def convert(
    data: dict[str, Any], faults: Faults, tools: Collection[str] = ()
) -> tuple[dict[str, Any], dict[Path, Path]]:
    """Return the definition, and where each of its steps stood in the original.

    A capability becomes a tool if `tools` has one of its name, and an agent if not. Faults are added to `faults`.
    """
    _unknown(data, _TOP, (), faults)
    title = data.get("id") or data.get("name")
    definition: dict[str, Any] = {"opspawn": "1", "name": _slug(title)}
    if not definition["name"]:
        faults.add(("name",), "is missing. Give the workflow an 'id' or a 'name' with letters or digits in it.")
    if "version" in data:
        definition["version"] = str(data["version"])
    if data.get("description") is not None:
        definition["description"] = data["description"]
    tasks = data["tasks"]
    if not isinstance(tasks, list) or not tasks:
        faults.add(("tasks",), "must be a list with at least one task.")
        return definition, {}
    ids = _ids(tasks, faults)
    steps: dict[str, Any] = {}
    places: dict[Path, Path] = {}
    for index, step in ids.items():
        steps[step] = _step(tasks[index], ("tasks", index), faults, tools)
        places[("steps", step)] = ("tasks", index)
    for index, step in ids.items():
        _follow(tasks[index], step, index, ids, steps, faults)
    definition["steps"] = steps
    return definition, places


def _ids(tasks: list[Any], faults: Faults) -> dict[int, str]:
    ids: dict[int, str] = {}
    for index, task in enumerate(tasks):
        at: Path = ("tasks", index)
        step = _slug(task.get("taskId")) if isinstance(task, dict) else ""
        if not isinstance(task, dict):
            faults.add(at, "must be a mapping with taskId and agentCapability.")
        elif not step:
            faults.add((*at, "taskId"), "is missing. Give the task an id of letters, digits, - or _.")
        elif step in ids.values():
            faults.add((*at, "taskId"), f"is {task['taskId']!r}, which another task has already. Choose another.")
        else:
            ids[index] = step
    return ids


def _step(task: dict[str, Any], at: Path, faults: Faults, tools: Collection[str]) -> dict[str, Any]:
    _unknown(task, _TASK, at, faults)
    capability = task.get("agentCapability")
    if not isinstance(capability, str) or not capability:
        faults.add((*at, "agentCapability"), "is missing. Name the agent or tool that does the task.")
        capability = "unknown"
    step: dict[str, Any] = {"uses": f"{'tool' if capability in tools else 'agent'}/{capability}"}
    parameters = task.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        faults.add((*at, "parameters"), "must be a mapping of names to values.")
    elif parameters:
        step["with"] = parameters
    return step


def _follow(
    task: dict[str, Any], step: str, index: int, ids: dict[int, str], steps: dict[str, Any], faults: Faults
) -> None:
    following = task.get("nextTaskId")
    if following is None:
        return
    target = _slug(following)
    if target not in steps:
        faults.add(
            ("tasks", index, "nextTaskId"),
            f"names {following!r}, and there is no such task. {did_you_mean(str(following), ids.values())}",
        )
    elif step not in steps[target].setdefault("needs", []):
        steps[target]["needs"].append(step)


def _unknown(data: dict[str, Any], known: set[str], at: Path, faults: Faults) -> None:
    for key in data:
        if key not in known:
            faults.add((*at, key), f"{key!r} is not known in the sequence format. {did_you_mean(str(key), known)}")


def _slug(value: Any) -> str:
    if not isinstance(value, (str, int)):
        return ""
    return re.sub(r"[^a-z0-9_-]+", "_", str(value).lower()).strip("_-")[:64]
