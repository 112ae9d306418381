"""What a docstring in Google's style tells a model: the prose before the first section, and each argument's text."""

from __future__ import annotations

import inspect
import re

_SECTION = re.compile(
    r"^(Args|Arguments|Parameters|Returns?|Raises|Yields?|Attributes|Examples?|Notes?|Warnings?|References):\s*$"
)
_ARGUMENTS = {"Args", "Arguments", "Parameters"}
_ARGUMENT = re.compile(
    r"^\*{0,2}(?P<names>\w+(?:\s*,\s*\*{0,2}\w+)*)\s*(?:\((?P<type>[^()]*(?:\([^()]*\)[^()]*)*)\))?\s*:(?:\s+(?P<text>.*))?$"
)


def parse(docstring: str | None) -> tuple[str, dict[str, str]]:
    """Return the description and the text per argument; wrapped lines are joined, paragraphs stay apart."""
    lines = inspect.cleandoc(docstring or "").splitlines()
    starts = [index for index, line in enumerate(lines) if _SECTION.match(line)]
    prose = lines[: starts[0]] if starts else lines
    arguments: dict[str, str] = {}
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=False):
        if lines[start].rstrip(": ") in _ARGUMENTS:
            arguments |= _arguments(lines[start + 1 : end])
    return _joined(prose), arguments


def _arguments(lines: list[str]) -> dict[str, str]:
    """An entry begins at the section's own indent; what is indented deeper goes on with it."""
    found: dict[str, str] = {}
    names: list[str] = []
    indent = min((_indent(line) for line in lines if line.strip()), default=0)
    for line in lines:
        entry = _ARGUMENT.match(line.strip()) if _indent(line) == indent else None
        if entry:
            names = [name.strip().lstrip("*") for name in entry["names"].split(",")]
            found |= dict.fromkeys(names, (entry["text"] or "").strip())
        elif line.strip():
            found |= {name: f"{found[name]} {line.strip()}".strip() for name in names}
    return {name: text for name, text in found.items() if text}


def _joined(lines: list[str]) -> str:
    paragraphs = re.split(r"\n\s*\n", "\n".join(lines).strip())
    return "\n\n".join(_unwrapped(paragraph) for paragraph in paragraphs)


def _unwrapped(paragraph: str) -> str:
    """Prose on one line; a list or indented block as it stands."""
    lines = paragraph.splitlines()
    if any(re.match(r"\s|[-*•]\s|\d+[.)]\s", line) for line in lines[1:]):
        return paragraph
    return " ".join(line.strip() for line in lines)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip()) if line.strip() else -1
