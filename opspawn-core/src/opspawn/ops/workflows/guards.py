"""What an expression may be, checked when it is loaded, and what it may cost, estimated before it runs.

The estimate walks the tree with the sizes of the real values. For every part it bounds how heavy a value can become (1
per value plus the characters of text), and how much work it is; one unit is about 20 ns. The bounds hold whatever the
values are, because an expression can only copy, join and repeat what it was given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opspawn.agentkit.values import Path, did_you_mean, dotted
from opspawn.errors import InvalidInput
from opspawn.ops.workflows.syntax import Node, static_path

ROOTS = frozenset({"inputs", "steps", "run"})
LATER_ROOTS = frozenset({"item", "index", "session", "labels", "secrets"})
#: What the engine has of CEL's standard functions, all without clock and chance, so that expressions replay.
FUNCTIONS = frozenset(
    [
        "size",
        "contains",
        "startsWith",
        "endsWith",
        "matches",
        "string",
        "int",
        "uint",
        "double",
        "bytes",
        "type",
        "dyn",
        "timestamp",
        "duration",
        "getFullYear",
        "getMonth",
        "getDate",
        "getDayOfMonth",
        "getDayOfWeek",
        "getDayOfYear",
        "getHours",
        "getMinutes",
        "getSeconds",
        "getMilliseconds",
    ]
)
LATER_FUNCTIONS = frozenset(
    ["success", "failure", "always", "cancelled", "get", "join", "split", "lower", "upper", "json", "from_json"]
)

MAX_MACROS = 5
MAX_MACRO_NESTING = 2
MAX_LOOPS = 10_000
MAX_WEIGHT = 64 * 1024 * 1024
MAX_WORK = 120_000_000
MAX_DATA_DEPTH = 100

_LATER = "is part of the workflow language but not of this version."
_SMALLER = "Do this in a tool, or pass on less."


def check(tree: Node) -> tuple[Path, ...]:
    """Return every path that the expression reads, each beginning with its root.

    Raises:
        InvalidInput: an unknown name or function, or too many or too deeply nested macros.
    """
    macros = sum(node.kind == "macro" for node in tree.walk())
    if macros > MAX_MACROS:
        raise InvalidInput(
            f"The expression has {macros} macros; {MAX_MACROS} are allowed.", remedy="Split it over steps."
        )
    paths: dict[Path, None] = {}
    _check(tree, frozenset(), 0, paths)
    return tuple(paths)


def _check(node: Node, bound: frozenset[str], nesting: int, paths: dict[Path, None]) -> None:
    path = static_path(node)
    if path is not None:
        if path[0] not in bound:
            _check_root(str(path[0]))
            paths[path] = None
        return
    if node.kind == "call":
        _check_function(str(node.value))
    if node.kind == "macro":
        if nesting >= MAX_MACRO_NESTING:
            raise InvalidInput(
                f"Macros are nested deeper than {MAX_MACRO_NESTING} levels at '.{node.value}({node.variable}, ...)'.",
                remedy="Do this in a tool.",
            )
        if node.variable in ROOTS:
            raise InvalidInput(
                f"{node.variable!r} cannot be the variable of a macro.", remedy="Choose another name, e.g. 'x'."
            )
        _check(node.parts[0], bound, nesting, paths)
        for part in node.parts[1:]:
            _check(part, bound | {node.variable}, nesting + 1, paths)
        return
    for part in node.parts:
        _check(part, bound, nesting, paths)


def _check_root(name: str) -> None:
    if name in LATER_ROOTS:
        raise InvalidInput(f"{name!r} {_LATER}")
    if name not in ROOTS:
        raise InvalidInput(
            f"There is no {name!r} in expressions.", remedy=f"{did_you_mean(name, ROOTS)} Put text in quotes."
        )


def _check_function(name: str) -> None:
    if name in LATER_FUNCTIONS:
        raise InvalidInput(f"The function {name!r} {_LATER}")
    if name not in FUNCTIONS:
        raise InvalidInput(f"There is no function {name!r} in expressions.", remedy=did_you_mean(name, FUNCTIONS))


def prune(paths: Sequence[Path], roots: Mapping[str, Any]) -> dict[str, Any]:
    """The part of the roots that the paths reach, so that the engine need not copy the rest."""
    chosen: list[tuple[str, ...]] = []
    for path in sorted({_keys(path) for path in paths}, key=len):
        if not any(path[: len(short)] == short for short in chosen):
            chosen.append(path)
    pruned: dict[str, Any] = {}
    for path in chosen:
        source: Any = roots
        target = pruned
        for key in path[:-1]:
            if key not in source:
                break
            source = source[key]
            if not isinstance(source, Mapping):
                # The path goes on where the data does not: the engine shall see the value, and say so.
                target[key] = source
                break
            target = target.setdefault(key, {})
        else:
            if path[-1] in source:
                target[path[-1]] = source[path[-1]]
    return pruned


def _keys(path: Path) -> tuple[str, ...]:
    """The path up to its first list index."""
    keys: list[str] = []
    for part in path:
        if isinstance(part, int):
            break
        keys.append(part)
    return tuple(keys)


@dataclass(frozen=True, slots=True)
class _Shape:
    """Bounds of a value: its weight and its number of items; and, where they are known, all values that it can be."""

    weight: int
    length: int
    values: tuple[Any, ...] | None = None


class Estimate:
    """Bounds the cost of one evaluation over `data`."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = data
        self.work = 0
        self._weights: dict[int, int] = {}

    def check(self, tree: Node) -> None:
        """Raises: InvalidInput when the values are too many, too large or too deep for this expression."""
        for name, value in self.data.items():
            self.weigh(value, (name,))
        self._shape(tree, {}, 1)

    def weigh(self, value: Any, path: Path = ()) -> int:
        """The weight of plain data. Raises: InvalidInput for data that the engine would distort or crash on."""
        if isinstance(value, str):
            return 1 + len(value)
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise InvalidInput(f"{dotted(path)} does not fit into 64 bits.", remedy="Pass it as text.")
        if not isinstance(value, (list, tuple, dict)):
            return 1
        known = self._weights.get(id(value))
        if known is None:
            if len(path) > MAX_DATA_DEPTH:
                raise InvalidInput(
                    f"{dotted(path[:3])} is nested deeper than {MAX_DATA_DEPTH} levels.", remedy=_SMALLER
                )
            pairs = value.items() if isinstance(value, dict) else enumerate(value)
            known = 1 + sum(self.weigh(item, (*path, key)) + len(str(key)) for key, item in pairs)
            self._weights[id(value)] = known
        return known

    def _of(self, values: tuple[Any, ...]) -> _Shape:
        lengths = (len(v) if isinstance(v, (list, tuple, dict)) else 0 for v in values)
        return _Shape(max(map(self.weigh, values), default=1), max(lengths, default=0), values)

    def _spend(self, work: int) -> None:
        self.work += work
        if self.work > MAX_WORK:
            raise InvalidInput("The expression would take too long over these values.", remedy=_SMALLER)

    def _made(self, weight: int, length: int) -> _Shape:
        if weight > MAX_WEIGHT:
            raise InvalidInput("The expression could make a value that is too large.", remedy=_SMALLER)
        return _Shape(weight, length)

    def _shape(self, node: Node, scope: Mapping[str, _Shape], times: int) -> _Shape:
        self._spend(times * 50)
        match node.kind:
            case "literal":
                return _Shape(1 + len(node.value) if isinstance(node.value, (str, bytes)) else 1, 0)
            case "name":
                name = str(node.value)
                return scope[name] if name in scope else self._of((self.data[name],) if name in self.data else ())
            case "select":
                return self._within(self._shape(node.parts[0], scope, times), node.value)
            case "index":
                target, index = (self._shape(part, scope, times) for part in node.parts)
                self._spend(times * index.weight // 8)
                literal = node.parts[1].kind == "literal"
                return self._within(target, node.parts[1].value) if literal else self._items(target)
            case "macro":
                return self._macro(node, scope, times)
            case "has":
                self._shape(node.parts[0], scope, times)
                return _Shape(1, 0)
        parts = [self._shape(part, scope, times) for part in node.parts]
        weight = sum(part.weight for part in parts)
        if node.kind in {"list", "map"}:
            return self._made(1 + weight, len(parts))
        if node.kind == "op" and node.value == "?:":
            return self._made(max(part.weight for part in parts[1:]), max(part.length for part in parts[1:]))
        if node.kind == "call" and node.value == "size":
            return _Shape(1, 0)
        self._spend(times * weight)
        if node.kind == "op" and node.value != "+":
            return _Shape(1, 0)
        return self._made(weight + 32, sum(part.length for part in parts))

    def _within(self, target: _Shape, key: Any) -> _Shape:
        """A known part of a value: of each candidate that has it; otherwise a part is bounded by its whole."""
        if target.values is None:
            return _Shape(target.weight, target.weight)
        found = []
        for value in target.values:
            is_list = isinstance(value, (list, tuple)) and isinstance(key, int)
            if (isinstance(value, dict) and key in value) or (is_list and 0 <= key < len(value)):
                found.append(value[key])
        return self._of(tuple(found))

    def _items(self, target: _Shape) -> _Shape:
        """Any part of a value."""
        if target.values is None:
            return _Shape(target.weight, target.weight)
        lists = (
            list(v.values()) if isinstance(v, dict) else v for v in target.values if isinstance(v, (list, tuple, dict))
        )
        return self._of(tuple(item for items in lists for item in items))

    def _macro(self, node: Node, scope: Mapping[str, _Shape], times: int) -> _Shape:
        target = self._shape(node.parts[0], scope, times)
        loops = times * target.length
        if loops > MAX_LOOPS:
            raise InvalidInput(
                f"'.{node.value}({node.variable}, ...)' could run {loops:,} times; {MAX_LOOPS:,} are allowed.",
                remedy=_SMALLER,
            )
        self._spend(loops * 300)
        if node.value in {"map", "filter"}:
            # The engine copies the list for each item that it adds.
            self._spend(times * target.length**2)
        keys = target.values is not None and any(isinstance(value, dict) for value in target.values)
        if keys and target.values is not None:
            item = self._of(
                tuple(key for value in target.values if isinstance(value, (list, tuple, dict)) for key in value)
            )
        else:
            item = self._items(target)
        bodies = [self._shape(part, {**scope, node.variable: item}, max(loops, 1)) for part in node.parts[1:]]
        if node.value == "map":
            return self._made(1 + target.length * bodies[-1].weight, target.length)
        return target if node.value == "filter" else _Shape(1, 0)
