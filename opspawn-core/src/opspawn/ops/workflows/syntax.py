"""Parses an expression into a tree, within fixed limits.

The expression engine holds the GIL while it works and crashes on huge input, so nothing reaches it that was not looked
at before; and its own parser tells names only. This one reads the grammar of CEL without messages and comments. Where
the two differ, ours is the stricter, and a text must pass both.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from opspawn.agentkit.values import Path
from opspawn.errors import InvalidInput

MAX_LENGTH = 1024
MAX_DEPTH = 32
MACROS = frozenset({"all", "exists", "exists_one", "map", "filter"})


@dataclass(frozen=True, slots=True)
class Node:
    """A part of an expression.

    Attributes:
        kind: literal, name, select, index, call, op, list, map, macro or has.
        value: the literal; or the name of the variable, field, function, operator or macro.
        parts: what it is made of. select: target. index: target, index. call: arguments, the target of a method first.
            op: operands. map: keys and values in turn. macro: target, body or (condition, body). has: the select.
        variable: the name that a macro binds.
        method: a call written as target.name(...).
        start, end: its place in the source.
    """

    kind: str
    value: Any
    parts: tuple[Node, ...]
    start: int
    end: int
    variable: str = ""
    method: bool = False

    def walk(self) -> Iterator[Node]:
        """This node and all below it."""
        yield self
        for part in self.parts:
            yield from part.walk()


_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)
    |(?P<string>[rRbB]{0,2}(?:\"\"\"(?:[^\\]|\\.)*?\"\"\"|'''(?:[^\\]|\\.)*?'''|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'))
    |(?P<number>0x[0-9a-fA-F]+[uU]?|(?:[0-9]+\.[0-9]+|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|[0-9]+[uU]?)
    |(?P<name>[_a-zA-Z][_a-zA-Z0-9]*)
    |(?P<op>\|\||&&|<=|>=|==|!=|[-+*/%<>!?:.,()\[\]{}])""",
    re.VERBOSE | re.DOTALL,
)
_WORDS = {"true": True, "false": False, "null": None}
_LEVELS = (
    frozenset({"||"}),
    frozenset({"&&"}),
    frozenset({"<", "<=", ">", ">=", "==", "!=", "in"}),
    frozenset({"+", "-"}),
    frozenset({"*", "/", "%"}),
)


def parse(source: str) -> Node:
    """Return the tree of an expression.

    Raises:
        InvalidInput: too long, too deep, or not an expression; says where and what was expected.
    """
    if len(source) > MAX_LENGTH:
        raise InvalidInput(
            f"The expression has {len(source):,} characters; {MAX_LENGTH:,} are allowed.",
            remedy="Do the work in a tool, or split it over steps.",
        )
    if not source.strip():
        raise InvalidInput("The expression is empty.", remedy="Write something between '${{' and '}}'.")
    return _Parser(source).whole()


class _Parser:
    def __init__(self, source: str) -> None:
        self.source = source
        self.tokens = list(self._tokens())
        self.at = 0
        self.depth = 0

    def _tokens(self) -> Iterator[tuple[str, str, int]]:
        at = 0
        while at < len(self.source):
            found = _TOKEN.match(self.source, at)
            if not found:
                raise self._wrong(f"{self.source[at]!r} does not belong", at)
            if found.lastgroup != "space":
                yield str(found.lastgroup), found.group(), at
            at = found.end()
        yield "end", "", at

    def _wrong(self, what: str, at: int) -> InvalidInput:
        shown = self.source if len(self.source) <= 60 else self.source[max(0, at - 30) : at + 30]
        remedy = "Write '=='." if self.source[at : at + 1] == "=" else None
        return InvalidInput(f"In {shown!r}, {what} at character {at + 1}.", remedy=remedy)

    def _peek(self) -> str:
        kind, text, _ = self.tokens[self.at]
        return text if kind in {"op", "name"} else ""

    def _take(self, wanted: str) -> None:
        if self._peek() != wanted:
            raise self._unexpected(f"'{wanted}'")
        self.at += 1

    def _unexpected(self, wanted: str) -> InvalidInput:
        kind, text, at = self.tokens[self.at]
        return self._wrong(f"{wanted} is expected, not {'the end' if kind == 'end' else repr(text)},", at)

    def _end(self) -> int:
        _, text, at = self.tokens[self.at - 1]
        return at + len(text)

    def whole(self) -> Node:
        node = self.expression()
        if self.tokens[self.at][0] != "end":
            raise self._unexpected("an operator or the end")
        return node

    def expression(self) -> Node:
        """condition ? a : b, or less."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise InvalidInput(
                f"The expression is nested deeper than {MAX_DEPTH} levels.",
                remedy="Split it over steps, or use a tool.",
            )
        node = self.binary(0)
        if self._peek() == "?":
            self.at += 1
            yes = self.binary(0)
            self._take(":")
            node = Node("op", "?:", (node, yes, self.expression()), node.start, self._end())
        self.depth -= 1
        return node

    def binary(self, level: int) -> Node:
        if level == len(_LEVELS):
            return self.unary()
        node = self.binary(level + 1)
        while (operator := self._peek()) in _LEVELS[level]:
            self.at += 1
            node = Node("op", operator, (node, self.binary(level + 1)), node.start, self._end())
        return node

    def unary(self) -> Node:
        operator = self._peek()
        if operator not in {"!", "-"}:
            return self.member()
        start = self.tokens[self.at][2]
        self.at += 1
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self._wrong("too many signs", start)
        node = Node("op", f"{operator}_", (self.unary(),), start, self._end())
        self.depth -= 1
        return node

    def member(self) -> Node:
        node = self.primary()
        while (operator := self._peek()) in {".", "["}:
            self.at += 1
            if operator == "[":
                index = self.expression()
                self._take("]")
                node = Node("index", None, (node, index), node.start, self._end())
                continue
            kind, name, _ = self.tokens[self.at]
            if kind != "name":
                raise self._unexpected("a name")
            self.at += 1
            if self._peek() == "(":
                node = self._call(name, node, node.start)
            else:
                node = Node("select", name, (node,), node.start, self._end())
        return node

    def primary(self) -> Node:
        kind, text, start = self.tokens[self.at]
        if kind == "end":
            raise self._unexpected("a value")
        self.at += 1
        if kind == "string":
            return Node("literal", _string(text), (), start, self._end())
        if kind == "number":
            return Node("literal", _number(text), (), start, self._end())
        if kind == "name" and text in _WORDS:
            return Node("literal", _WORDS[text], (), start, self._end())
        if kind == "name" and text != "in":
            if self._peek() == "(":
                return self._call(text, None, start)
            return Node("name", text, (), start, self._end())
        if text == "(":
            node = self.expression()
            self._take(")")
            return node
        if text == "[":
            return Node("list", None, self._sequence("]"), start, self._end())
        if text == "{":
            return Node("map", None, self._sequence("}", pairs=True), start, self._end())
        self.at -= 1
        raise self._unexpected("a value")

    def _sequence(self, end: str, *, pairs: bool = False) -> tuple[Node, ...]:
        items: list[Node] = []
        while self._peek() != end:
            items.append(self.expression())
            if pairs:
                self._take(":")
                items.append(self.expression())
            if self._peek() != ",":
                break
            self.at += 1
        self._take(end)
        return tuple(items)

    def _call(self, name: str, target: Node | None, start: int) -> Node:
        self._take("(")
        arguments = self._sequence(")")
        end = self._end()
        if name == "has" and target is None:
            if len(arguments) != 1 or arguments[0].kind != "select":
                raise self._wrong("has() takes one path such as has(inputs.topic)", start)
            return Node("has", name, arguments, start, end)
        if name in MACROS and target is not None:
            allowed = {2, 3} if name == "map" else {2}
            if len(arguments) not in allowed or arguments[0].kind != "name":
                raise self._wrong(f"{name}() takes a variable and an expression, as in list.{name}(x, x.ok),", start)
            return Node("macro", name, (target, *arguments[1:]), start, end, variable=str(arguments[0].value))
        parts = arguments if target is None else (target, *arguments)
        return Node("call", name, parts, start, end, method=target is not None)


def _number(text: str) -> int | float:
    digits = text.rstrip("uU")
    if digits.startswith("0x"):
        return int(digits, 16)
    return float(digits) if any(mark in digits for mark in ".eE") else int(digits)


def _string(text: str) -> str | bytes:
    """The value of a string literal, needed where it is a key. Python's escapes are a superset of CEL's but for two."""
    try:
        value = ast.literal_eval(text.replace("\\?", "?").replace("\\`", "`"))
    except (ValueError, SyntaxError):
        raise InvalidInput(f"The text {text[:40]!r} in the expression has a wrong escape.") from None
    if not isinstance(value, (str, bytes)):
        raise InvalidInput(f"The text {text[:40]!r} in the expression cannot be read.")
    return value


def static_path(node: Node) -> Path | None:
    """The path of a node that is nothing but a path, such as steps.a.output["x"][0]; None for any other."""
    if node.kind == "name":
        return (str(node.value),)
    if node.kind == "select":
        head = static_path(node.parts[0])
        return None if head is None else (*head, str(node.value))
    if node.kind == "index" and node.parts[1].kind == "literal":
        key = node.parts[1].value
        head = static_path(node.parts[0])
        if head is not None and isinstance(key, (str, int)) and not isinstance(key, bool):
            return (*head, key)
    return None
