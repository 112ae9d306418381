"""From docstrings, signatures and JSON Schema to Markdown."""

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

_SECTION = re.compile(r"(Args|Attributes|Raises|Returns|Yields)(?: \((?P<more>[^)]*)\))?:(?P<rest>.*)")
_ITEM = re.compile(r"(?P<name>[A-Za-z_`][\w`., ]*): (?P<text>.*)")
#: A further error within the line of the one before.
_ANOTHER = re.compile(r"\. ([A-Z]\w+): ")
_TITLES = {"Args": "Arguments"}


def docstring(thing: Any) -> str:
    """A docstring as Markdown: its sections ("Args:", "Raises:", ...) become lists. Raises: ValueError: none."""
    text = inspect.getdoc(thing)
    if not text:
        raise ValueError(f"{thing!r} has no docstring")
    return markdown(text)


def markdown(text: str) -> str:
    """A dedented docstring as Markdown."""
    blocks = re.split(r"\n\s*\n", text.strip())
    made: list[str] = []
    for block in blocks:
        lines = block.split("\n")
        at = next((i for i, line in enumerate(lines) if _SECTION.fullmatch(line)), None)
        if at is None:
            made.append(block)
            continue
        if at:
            made.append("\n".join(lines[:at]))
        made += _sections(lines[at:])
    return "\n\n".join(made)


def _sections(lines: list[str]) -> Iterable[str]:
    starts = [i for i, line in enumerate(lines) if _SECTION.fullmatch(line)] + [len(lines)]
    for start, end in pairwise(starts):
        match = _SECTION.fullmatch(lines[start])
        assert match is not None
        title = _TITLES.get(match[1], match[1]) + (f" ({match['more']})" if match["more"] else "")
        body = textwrap.dedent("\n".join(lines[start + 1 : end]))
        first = match["rest"].strip()
        if first:
            yield f"**{title}**: " + " ".join([first, *body.split("\n")]).strip()
            continue
        if match[1] == "Raises":
            body = _ANOTHER.sub(r".\n\1: ", body)
        items: list[str] = []
        for line in body.split("\n"):
            item = _ITEM.fullmatch(line)
            if item is not None and not line.startswith(" "):
                names = ", ".join(f"`{name.strip().strip('`')}`" for name in item["name"].split(","))
                items.append(f"- {names}: {item['text']}")
            elif items:
                items[-1] += f" {line.strip()}"
            else:
                items.append(line.strip())
        yield f"**{title}**\n\n" + "\n".join(items)


def signature(function: Any) -> str:
    """The head of a function as it is written, in one line or one parameter a line."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    node = tree.body[0]
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    word = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    answer = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return head(f"{word} {node.name}", node.args, answer)


def head(start: str, args: ast.arguments, answer: str = "", *, without_self: bool = False) -> str:
    """`start(args)answer`, broken where it would be longer than 100 characters."""
    if args.args and args.args[0].arg in ("self", "cls") and without_self:
        args.args = args.args[1:]
    parts = _parameters(args)
    line = f"{start}({', '.join(parts)}){answer}"
    if len(line) <= 100:
        return line
    return f"{start}(\n" + "".join(f"    {part},\n" for part in parts) + f"){answer}"


def _parameters(args: ast.arguments) -> list[str]:
    plain = [*args.posonlyargs, ast.arg("/"), *args.args] if args.posonlyargs else args.args
    defaults: list[ast.expr | None] = [None] * (len(plain) - len(args.defaults)) + list(args.defaults)
    parts = [_parameter(arg, default) for arg, default in zip(plain, defaults, strict=True)]
    if args.vararg:
        parts.append(f"*{ast.unparse(args.vararg)}")
    elif args.kwonlyargs:
        parts.append("*")
    parts += [_parameter(arg, default) for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True)]
    if args.kwarg:
        parts.append(f"**{ast.unparse(args.kwarg)}")
    return parts


def _parameter(arg: ast.arg, default: ast.expr | None) -> str:
    text = ast.unparse(arg)
    if default is None:
        return text
    return f"{text} = {ast.unparse(default)}" if arg.annotation else f"{text}={ast.unparse(default)}"


def fields(cls: type[Any]) -> str:
    """The annotated fields of a class with their defaults, as written, in a block of Python."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    node = tree.body[0]
    assert isinstance(node, ast.ClassDef)
    lines = [f"    {ast.unparse(item)}" for item in node.body if isinstance(item, ast.AnnAssign)]
    return python(f"class {node.name}:\n" + "\n".join(lines))


def python(code: str) -> str:
    """A block of Python, with the quotes that the formatter of this repository wants."""
    quoted = re.sub(r"'([^'\"\n]*)'", r'"\1"', code)
    return f"```python\n{quoted}\n```"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; line ends and bars within cells are made harmless."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(cell(text) for text in row)} |" for row in rows]
    return "\n".join(lines)


def cell(text: str) -> str:
    """A text that fits into one cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def code(value: Any) -> str:
    """A JSON value as inline code, without line ends."""
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def kind_of(schema: Mapping[str, Any]) -> str:
    """A JSON Schema in a few words: "integer", 1 to 64; "text or null"; one of `a`, `b`."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "allOf" in schema and len(schema["allOf"]) == 1:
        return kind_of(schema["allOf"][0])
    if "enum" in schema:
        return " or ".join(code(value) for value in schema["enum"])
    if "const" in schema:
        return code(schema["const"])
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(kind_of(branch) for branch in schema["anyOf"]))
    if schema.get("type") == "array":
        inner = kind_of(schema.get("items", {}))
        return f"list of {inner}"
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return f"object of {kind_of(schema['additionalProperties'])}"
    name = schema.get("format") or schema.get("type") or "any JSON"
    return f"{name}{_range(schema)}"


def _range(schema: Mapping[str, Any]) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is not None and most is not None:
        return f", {least} to {most}"
    if least is not None:
        return f", at least {least}"
    if (above := schema.get("exclusiveMinimum")) is not None:
        return f", more than {above}"
    return f", at most {most}" if most is not None else ""
