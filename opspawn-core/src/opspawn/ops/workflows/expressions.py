"""`${{ }}`: finding expressions in text, compiling them once, evaluating them often.

A text that is exactly one expression gives the value itself; in any other text each expression becomes text (values
that are not text as compact JSON). What comes out is data and never looked at again, so nothing that a model or a user
writes can become an expression. A bare path such as `steps.read.output.title` is followed here, without the engine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from opspawn.agentkit.values import Path
from opspawn.errors import ConfigError, InvalidInput
from opspawn.ops.workflows import guards
from opspawn.ops.workflows.explain import explain, resolve, shown
from opspawn.ops.workflows.syntax import Node, parse, static_path

MAX_RESULT_BYTES = 1024 * 1024
MAX_RESULT_DEPTH = 200


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression. `paths` are the values that it reads, each beginning with its root."""

    source: str
    tree: Node
    paths: tuple[Path, ...]
    path: Path | None
    program: Any = field(repr=False, compare=False, default=None)

    def evaluate(self, roots: Mapping[str, Any]) -> Any:
        """Return any JSON value.

        Raises:
            InvalidInput: a value is missing, types do not fit, or the values are too large for the expression.
        """
        if self.path is not None:
            return self._bounded(resolve(self.path, roots, self.source))
        data = guards.prune(self.paths, roots)
        try:
            guards.Estimate(data).check(self.tree)
        except InvalidInput as error:
            raise InvalidInput(f"In {shown(self.source)}: {error.message}", remedy=error.remedy) from None
        try:
            result = self.program.execute(data)
        except Exception as error:  # the engine raises half a dozen kinds, none of its own
            raise explain(error, self.source, self.tree, self.paths, roots) from None
        return self._bounded(result)

    def _bounded(self, value: Any) -> Any:
        try:
            size = len(compact(value).encode("utf-8", "surrogatepass"))
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidInput(
                f"The result of {shown(self.source)} is not JSON ({error}).", remedy="Convert it with string(...)."
            ) from None
        if size > MAX_RESULT_BYTES:
            raise InvalidInput(
                f"The result of {shown(self.source)} has {size:,} bytes; {MAX_RESULT_BYTES:,} are allowed.",
                remedy="Pass on less, or a reference to it.",
            )
        return value


@dataclass(frozen=True, slots=True)
class Text:
    """A text with expressions in it; `whole` if it is exactly one, whose value then keeps its type."""

    parts: tuple[str | Expression, ...]
    whole: bool

    def render(self, roots: Mapping[str, Any]) -> Any:
        if self.whole:
            (only,) = self.parts
            return only.evaluate(roots) if isinstance(only, Expression) else only
        pieces = [part if isinstance(part, str) else _as_text(part.evaluate(roots)) for part in self.parts]
        text = "".join(pieces)
        if len(text) > MAX_RESULT_BYTES:
            raise InvalidInput(f"A text of {len(text):,} characters is too long; {MAX_RESULT_BYTES:,} are allowed.")
        return text


def compile_expression(source: str) -> Expression:
    """Compile what stands between `${{` and `}}`.

    Raises:
        InvalidInput: it is not an expression, or not one that may run.
        ConfigError: it needs the expression engine, which is not installed.
    """
    source = source.strip()
    tree = parse(source)
    paths = guards.check(tree)
    path = static_path(tree)
    if path is not None:
        return Expression(source, tree, paths, path)
    try:
        import cel
    except ImportError:
        raise ConfigError(
            f"The expression {shown(source)} needs the package common-expression-language, which is not installed.",
            remedy='Run: pip install "opspawn-core[workflows]"',
        ) from None
    try:
        program = cel.compile(source)
    except ValueError as error:
        reason = str(error).partition("<input>:")[2].partition("\n")[0] or str(error).partition("\n")[0]
        raise InvalidInput(f"{shown(source)} is not an expression: {reason}.") from None
    return Expression(source, tree, paths, None, program)


def compile_text(text: str) -> Text | str:
    """Compile the expressions in a text; a text without any comes back as it is."""
    parts: list[str | Expression] = []
    at = 0
    while (start := text.find("${{", at)) >= 0:
        end = _end_of(text, start + 3)
        if start > at:
            parts.append(text[at:start])
        parts.append(compile_expression(text[start + 3 : end]))
        at = end + 2
    if not parts:
        return text
    if at < len(text):
        parts.append(text[at:])
    return Text(tuple(parts), whole=len(parts) == 1)


def render(value: Any, roots: Mapping[str, Any]) -> Any:
    """Plain data from compiled data: lists and mappings in which texts may be `Text`."""
    if isinstance(value, Text):
        return value.render(roots)
    if isinstance(value, dict):
        return {key: render(item, roots) for key, item in value.items()}
    if isinstance(value, list):
        return [render(item, roots) for item in value]
    return value


def compact(value: Any) -> str:
    """Compact JSON. Raises: TypeError or ValueError for what is not JSON."""
    _check_json(value)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _check_json(value: Any) -> None:
    """json.dumps turns keys that are numbers into text, silently; here they are refused."""
    level: list[Any] = [value]
    for _ in range(MAX_RESULT_DEPTH):
        if not level:
            return
        if any(isinstance(item, dict) and any(not isinstance(key, str) for key in item) for item in level):
            raise TypeError("keys must be text")
        level = [
            child
            for item in level
            if isinstance(item, (dict, list, tuple))
            for child in (item.values() if isinstance(item, dict) else item)
            if isinstance(child, (dict, list, tuple))
        ]
    raise ValueError(f"nested deeper than {MAX_RESULT_DEPTH} levels")


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else compact(value)


def _end_of(text: str, at: int) -> int:
    """Where the `}}` of an expression stands, past texts and mappings in it."""
    start, depth = at, 0
    while at < len(text):
        mark = text[at]
        if mark in "'\"":
            at = _past_string(text, at)
            continue
        if mark == "{":
            depth += 1
        elif mark == "}" and depth:
            depth -= 1
        elif text.startswith("}}", at):
            return at
        at += 1
    raise InvalidInput(f"The expression that begins '${{{{{text[start : start + 20]}' has no end.", remedy="Add '}}'.")


def _past_string(text: str, at: int) -> int:
    quote = text[at] * 3 if text.startswith(text[at] * 3, at) else text[at]
    raw = at > 0 and text[at - 1] in "rR"
    at += len(quote)
    while at < len(text) and not text.startswith(quote, at):
        at += 2 if text[at] == "\\" and not raw else 1
    return at + len(quote)
