"""Text of a definition to plain data, strictly, with the line of every key.

YAML is read from its events rather than through a loader, because loaders guess: `on` becomes true, `1:30` becomes 90,
`1.10` loses its zero, of two equal keys the last wins, and a few aliases unfold to millions of nodes. Reading events is
also iterative and stops at the limits before the rest of the text is parsed.
"""

from __future__ import annotations

import math
import re
from pathlib import PurePath
from typing import Any

from opspawn.agentkit.values import Path
from opspawn.errors import ConfigError, InvalidInput
from opspawn.ops.workflows.faults import Faults
from opspawn.ops.workflows.jsontext import read_json

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_NODES = 20_000
MAX_INT = 2**63

_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}


def read_text(text: str, source: str) -> tuple[Any, dict[Path, int]]:
    """Return the data of a YAML or JSON text, and the line of each of its key paths.

    It is JSON if the source's name ends in .json, or if the text begins with "{" and its name is not of a YAML file.

    Raises:
        InvalidInput: too large, too deep, or not strict YAML or JSON; names the line.
        ConfigError: the text is YAML, and PyYAML is not installed.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        raise InvalidInput(f"{source} has {size:,} bytes; a workflow may have {MAX_BYTES:,}.")
    suffix = PurePath(source).suffix.lower()
    if suffix == ".json" or (suffix not in {".yaml", ".yml"} and text.lstrip().startswith("{")):
        return read_json(text, source, max_depth=MAX_DEPTH, max_nodes=MAX_NODES)
    return _read_yaml(text, source)


def _read_yaml(text: str, source: str) -> tuple[Any, dict[Path, int]]:
    try:
        import yaml
    except ImportError:
        raise ConfigError(
            f"{source} is YAML, and PyYAML is not installed.",
            remedy='Run: pip install "opspawn-core[workflows]" (JSON needs no extra).',
        ) from None
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    tree = _Tree(source, yaml)
    try:
        for event in yaml.parse(text, Loader=loader):
            tree.take(event)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else text[: getattr(error, "position", 0) or 0].count("\n") + 1
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
        tab = mark is not None and text.splitlines()[mark.line : mark.line + 1] and "\t" in text.splitlines()[mark.line]
        hint = " YAML is indented with spaces, and there is a tab in this line." if tab else ""
        raise tree.fault(line, f"This is not YAML: {problem}.{hint}") from None
    if not tree.documents:
        raise InvalidInput(f"{source} is empty.", remedy='Write its keys; a workflow begins with: opspawn: "1".')
    return tree.root, tree.lines


class _Tree:
    """Builds data from events. A frame is [container, path, pending key or None]; the bottom has no container."""

    def __init__(self, source: str, yaml: Any) -> None:
        self.source = source
        self.root: Any = None
        self.lines: dict[Path, int] = {}
        self.documents = 0
        self._yaml = yaml
        self._stack: list[list[Any]] = []
        self._nodes = 0

    def fault(self, line: int, message: str, path: Path = ()) -> InvalidInput:
        faults = Faults(self.source, {(): line})
        faults.add(path, message)
        try:
            faults.raise_if_any()
        except InvalidInput as error:
            return error
        raise AssertionError("a fault was just added")

    def take(self, event: Any) -> None:
        yaml, line = self._yaml, event.start_mark.line + 1
        if isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                raise self.fault(line, "A file holds one workflow; a second document begins here. Remove the '---'.")
        elif isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise self.fault(
                line, "Anchors (&) and aliases (*) are not allowed. Write the value out, or use 'defaults'."
            )
        elif isinstance(event, yaml.ScalarEvent):
            self._scalar(event, line)
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            self._open({} if isinstance(event, yaml.MappingStartEvent) else [], event, line)
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self._stack.pop()

    def _open(self, container: Any, event: Any, line: int) -> None:
        self._check_tag(event, line)
        path = self._place(container, line)
        self._stack.append([container, path, None])
        if len(self._stack) > MAX_DEPTH:
            raise self.fault(line, f"This is nested deeper than {MAX_DEPTH} levels.")

    def _scalar(self, event: Any, line: int) -> None:
        self._check_tag(event, line)
        frame = self._stack[-1] if self._stack else None
        if frame and isinstance(frame[0], dict) and frame[2] is None:
            self._key(frame, event, line)
        else:
            plain = event.style is None or event.style == ""
            self._place(self._value(event.value, line) if plain else event.value, line)

    def _key(self, frame: list[Any], event: Any, line: int) -> None:
        container, path, _ = frame
        key = event.value
        if key in container:
            first = self.lines[(*path, key)]
            raise self.fault(line, f"The key {key!r} is here twice, first on line {first}. Remove one.", path)
        if key == "<<" and not event.style:
            raise self.fault(line, "Merge keys (<<) are not allowed. Write the values out.", path)
        frame[2] = key
        self.lines[(*path, key)] = line

    def _place(self, value: Any, line: int) -> Path:
        """Put a value where it belongs and return its path."""
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise self.fault(line, f"A workflow may have {MAX_NODES:,} values; this one has more.")
        if not self._stack:
            self.root = value
            return ()
        frame = self._stack[-1]
        container, path, key = frame
        if isinstance(container, list):
            at: Path = (*path, len(container))
            container.append(value)
            self.lines[at] = line
            return at
        if key is None:
            raise self.fault(line, "A key must be text, not a list or a mapping.", path)
        container[key] = value
        frame[2] = None
        return (*path, key)

    def _check_tag(self, event: Any, line: int) -> None:
        # "!" alone is what the parser itself gives to a quoted scalar in some versions.
        if event.tag not in (None, "!"):
            raise self.fault(line, f"YAML tags are not allowed, and this is {event.tag!r}. Remove the tag.")

    def _value(self, text: str, line: int) -> Any:
        """A plain scalar by the rules of YAML 1.2's JSON words and numbers; anything else is text."""
        if text in _WORDS:
            return _WORDS[text]
        if _INT.match(text):
            # The length is checked first: Python refuses to convert thousands of digits, with an error of its own.
            if len(text) > 20 or not -MAX_INT <= int(text) < MAX_INT:
                raise self.fault(line, "This number does not fit into 64 bits. Put it in quotes to have it as text.")
            return int(text)
        if _FLOAT.match(text):
            number = float(text)
            if math.isinf(number):
                raise self.fault(line, "This number is too large. Put it in quotes to have it as text.")
            return number
        return text
