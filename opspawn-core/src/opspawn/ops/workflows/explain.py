"""Values that are missing or do not fit, told in the words of the workflow: the engine names no path and no remedy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opspawn.agentkit.values import Path, did_you_mean, dotted
from opspawn.errors import InvalidInput
from opspawn.ops.workflows.syntax import Node, static_path


class _Blocked(InvalidInput):
    """A path goes on where the data does not."""


def resolve(path: tuple[str | int, ...], roots: Mapping[str, Any], source: str) -> Any:
    """Follow a path through plain data. Raises: InvalidInput naming how far it goes."""
    value: Any = roots
    for position, key in enumerate(path):
        here = dotted(path[: position + 1])
        if isinstance(value, Mapping):
            if key not in value:
                where = dotted(path[:position])
                known = [str(name) for name in list(value)[:20]]
                remedy = f"{where} has no keys." if not known else did_you_mean(str(key), known)
                raise InvalidInput(f"There is no {here!r}, which {shown(source)} asks for.", remedy=remedy)
            value = value[key]
        elif isinstance(value, (list, tuple)) and isinstance(key, int):
            if not 0 <= key < len(value):
                raise InvalidInput(
                    f"There is no {here!r}, which {shown(source)} asks for: the list has {len(value)} items."
                )
            value = value[key]
        else:
            raise _Blocked(
                f"There is no {here!r}, which {shown(source)} asks for: {dotted(path[:position])} is {_kind(value)}."
            )
    return value


def shown(source: str) -> str:
    """An expression as messages quote it: in full if that is short."""
    return repr(source if len(source) <= 80 else source[:77] + "...")


def _failure(path: Path, roots: Mapping[str, Any], source: str) -> InvalidInput | None:
    try:
        resolve(path, roots, source)
    except InvalidInput as missing:
        return missing
    return None


def _missing(error: LookupError, paths: Sequence[Path], roots: Mapping[str, Any], source: str) -> InvalidInput:
    """The engine names the last key only: find the path that ends in nothing there. Others may be missing rightly."""
    key = str(error.args[0]).rpartition(" ")[2]
    for path in paths:
        fault = _failure(path, roots, source)
        if fault and key in map(str, path):
            return fault
    if isinstance(error, IndexError):
        return InvalidInput(f"{shown(source)} failed: {error}.", remedy="Ask first, with size(...).")
    return InvalidInput(f"{shown(source)} asks for {error}, which is not there.", remedy="Ask first, with has(...).")


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "an integer", float: "a number", str: "text", list: "a list", dict: "a mapping"}
    return names.get(type(value), type(value).__name__)


def explain(error: Exception, source: str, tree: Node, paths: Sequence[Path], roots: Mapping[str, Any]) -> InvalidInput:
    """What went wrong in the words of the workflow, with a remedy where one is plain."""
    if isinstance(error, LookupError):
        return _missing(error, paths, roots, source)
    if isinstance(error, TypeError):
        for node in tree.walk():
            remedy = _mend(node, source, roots)
            if remedy:
                return InvalidInput(f"The types in {shown(source)} do not fit.", remedy=remedy)
        for path in paths:
            fault = _failure(path, roots, source)
            if isinstance(fault, _Blocked):
                return fault
        return InvalidInput(
            f"The types in {shown(source)} do not fit.",
            remedy="Convert with int(x), double(x) or string(x); null has no fields.",
        )
    function = str(error).partition("Undefined variable or function: '")[2].partition("'")[0]
    if function:
        # Names were checked when the expression was compiled, so it is the types: string(true), size(3).
        return InvalidInput(f"In {shown(source)}, {function}() does not take a value of this type.")
    reason = str(error).partition(". Check ")[0].partition("\n")[0].rstrip(".")
    return InvalidInput(f"{shown(source)} failed: {reason}.")


def _mend(node: Node, source: str, roots: Mapping[str, Any]) -> str | None:
    """CEL never converts by itself: the remedy for an operator between an integer and a number, or text and another."""
    if node.kind != "op" or node.value not in {"+", "-", "*", "/", "%"}:
        return None
    left, right = (_type_of(part, roots) for part in node.parts)
    if None in (left, right) or left == right:
        return None
    by_type = dict(zip((left, right), node.parts, strict=True))
    if {left, right} == {int, float}:
        convert, part = "double", by_type[int]
        if part.kind == "literal":
            return f"CEL does not mix types: write {part.value}.0."
    elif node.value == "+" and str in by_type:
        convert, part = "string", node.parts[1] if left is str else node.parts[0]
        if (right if left is str else left) not in {int, float}:
            return (
                f"Text and {source[part.start : part.end]} cannot be added; give each its own expression in the text."
            )
    else:
        return None
    return f"CEL does not mix types: write {convert}({source[part.start : part.end]})."


def _type_of(node: Node, roots: Mapping[str, Any]) -> type | None:
    if node.kind == "literal":
        return type(node.value)
    if node.kind == "call" and node.value in {"int", "double", "string", "size"}:
        return {"int": int, "double": float, "string": str, "size": int}[str(node.value)]
    if node.kind == "op" and node.value in {"+", "-", "*", "/", "%"}:
        return _type_of(node.parts[0], roots)
    path = static_path(node)
    if path is None or path[0] not in roots:
        return None
    try:
        value = resolve(path, roots, "")
    except InvalidInput:
        return None
    return type(value)
