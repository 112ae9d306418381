"""Evaluations in files: Python that makes one, or YAML and JSON that list agent, scorers and cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from opspawn.app import App, import_target
from opspawn.errors import InvalidInput, NotFound
from opspawn.testing.evals import scorers
from opspawn.testing.evals.cases import Case, Evaluation, Scorer

_SUFFIXES = (".yaml", ".yml", ".json")


def _contains(needles: str | Sequence[str] = (), **more: Any) -> Scorer:
    return scorers.contains(*([needles] if isinstance(needles, str) else needles), **more)


_SCORERS: dict[str, Callable[..., Scorer]] = {
    "exact": scorers.exact,
    "contains": _contains,
    "regex": scorers.regex,
    "json_subset": scorers.json_subset,
    "judge": scorers.judge,
}
_KEYS = {"agent", "name", "scorers", "cases"}
_OF_CASE = {"name", "input", "expected", "labels"}


def load_evaluation(target: str, folder: Path, app: Callable[[], App]) -> Evaluation:
    """The evaluation that `target` names: "file.yaml", "file.json", "module:attribute" or "file.py:attribute".

    Args:
        folder: where files and modules are looked for.
        app: gives the app of whose agents a YAML or JSON file names one.

    Raises: AppError, InvalidInput, NotFound, ConfigError: one line with the file and the remedy.
    """
    if target.endswith(_SUFFIXES):
        return _from_file(folder / target, target, app)
    name, _, attribute = target.partition(":")
    return _from_module(import_target(name, folder), attribute, target)


def _from_module(module: ModuleType, attribute: str, target: str) -> Evaluation:
    found = {name: value for name, value in vars(module).items() if isinstance(value, Evaluation)}
    if attribute:
        if attribute not in found:
            raise InvalidInput(f"{target} is no Evaluation.", remedy=f"There are: {', '.join(found) or 'none'}.")
        return found[attribute]
    if len(found) != 1:
        remedy = f"Write {target}:NAME." if found else "Make one: evaluation = Evaluation(cases=…, scorers=…, agent=…)."
        raise InvalidInput(f"{target} holds {len(found) or 'no'} evaluations.", remedy=remedy)
    return next(iter(found.values()))


def _from_file(path: Path, where: str, app: Callable[[], App]) -> Evaluation:
    from opspawn.ops.workflows.reading import read_text

    try:
        data, _ = read_text(path.read_text("utf-8"), where)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InvalidInput(f"{where} cannot be read: {reason}.") from error
    told = _object(data, where, _KEYS)
    agents = app().agents
    named = told.get("agent") or (next(iter(agents)) if len(agents) == 1 else None)
    if named is None:
        raise InvalidInput(f"{where} names no agent.", remedy=f"Write agent: one of {', '.join(sorted(agents))}.")
    if named not in agents:
        raise NotFound("agent", str(named), known=list(agents))
    cases = [_case(one, n, where) for n, one in enumerate(_list(told, "cases", where), start=1)]
    made = [_scorer(one, where) for one in _list(told, "scorers", where)]
    return Evaluation(cases, made, agents[named], name=str(told.get("name") or path.stem))


def _case(data: Any, number: int, where: str) -> Case:
    told = _object(data, f"{where}: case {number}", _OF_CASE)
    if "input" not in told:
        raise InvalidInput(f"{where}: case {number} has no input.")
    labels = told.get("labels") or []
    if not isinstance(labels, list):
        raise InvalidInput(f"{where}: case {number} has labels that are no list.")
    name = str(told.get("name") or f"case {number}")
    return Case(name, told["input"], told.get("expected"), [str(label) for label in labels])


def _scorer(data: Any, where: str) -> Scorer:
    """One scorer: its name, or a name with its options, e.g. `judge: {rubric: …}`."""
    name: Any = data
    options: Any = {}
    if isinstance(data, Mapping) and len(data) == 1:
        [(name, options)] = data.items()
    if name not in _SCORERS:
        raise InvalidInput(f"{where}: there is no scorer {name!r}.", remedy=f"There are: {', '.join(_SCORERS)}.")
    if not isinstance(options, Mapping):
        options = {{"contains": "needles", "regex": "pattern", "judge": "rubric"}.get(name, "value"): options}
    try:
        return _SCORERS[name](**options)
    except TypeError as error:
        raise InvalidInput(f"{where}: the scorer {name!r} is not given what it takes: {error}.") from error


def _object(data: Any, where: str, keys: set[str]) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise InvalidInput(f"{where} is no object.", remedy=f"Write its keys: {', '.join(sorted(keys))}.")
    if unknown := sorted(set(data) - keys):
        raise InvalidInput(f"{where} has the key {unknown[0]!r}.", remedy=f"There are: {', '.join(sorted(keys))}.")
    return data


def _list(data: Mapping[str, Any], key: str, where: str) -> list[Any]:
    found = data.get(key)
    if not isinstance(found, list) or not found:
        raise InvalidInput(f"{where} has no {key}.", remedy=f"Write a list under {key}.")
    return found
