"""What the documentation shows is what happens: each page is followed from top to bottom, as a reader would.

* A block of Python, TOML or YAML whose first line is a comment with a path, `# app.py`, is that file.
* Any other block of Python is run as a script of its own, in the folder of the page.
* Any other block of TOML must be a valid `opspawn.toml`, any other block of YAML a valid workflow.
* In a `console` block, lines that begin with `$ ` are commands, and the lines below show what they say. `…` stands for
  any text, alone on a line for any lines. Ids, times and durations may differ; an id that was shown once stands for the
  real one from then on. A command must succeed unless it shows a line that begins with `Error:`, or a comment says
  `exits: N`.

A comment above a block changes that: `<!-- not run: REASON -->`, `<!-- exits: 1 -->`,
`<!-- repeated until so -->` (the reader waits and tries again).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Terminal

DOCS = Path(__file__).resolve().parents[2] / "docs"
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[a-z]*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
NOTE = re.compile(r"<!-- (?P<what>not run|exits|repeated until so)(?:: (?P<more>[^>]*))? -->\s*\Z")
FILE = re.compile(r"# (?P<name>[\w./-]+\.\w+)\n")
RUN = ("python", "console", "toml", "yaml")
PAGES = [path for path in sorted(DOCS.rglob("*.md")) if "reference" not in path.parts]
"""Pages of the reference are generated, and their blocks are heads of functions and help texts."""


@dataclass(frozen=True)
class Block:
    """One block of code of a page, and what the comment above it says."""

    page: Path
    line: int
    language: str
    text: str
    note: str | None
    more: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(DOCS)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        note = NOTE.search(text[: match.start()])
        inner = re.sub(rf"^{match['indent']}", "", match["text"], flags=re.MULTILINE)
        line = text.count("\n", 0, match.start()) + 1
        what, more = (note["what"], note["more"] or "") if note else (None, "")
        found.append(Block(page, line, match["language"], inner, what, more))
    return found


def steps(text: str) -> Iterator[tuple[str, list[str]]]:
    """The commands of a console block, each with the lines that it shows."""
    command: list[str] = []
    shown: list[str] = []
    for line in text.rstrip("\n").split("\n"):
        if line.startswith("$ "):
            if command:
                yield "\n".join(command), shown
            command, shown = [line[2:]], []
        elif command and not shown and command[-1].endswith("\\"):
            command.append(line)
        else:
            shown.append(line)
    yield "\n".join(command), shown


LOOSE = re.compile(
    r"(?P<id>\b[tswq]-[0-9a-f]{12,24}\b)"
    r"|(?P<time>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?Z?|\b\d\d:\d\d:\d\d\.\d+)"
    r"|(?P<took>\d+(?:\.\d+)? m?s\b|\b\d+\.\d\ds\b)"
    r"|(?P<any>…)"
)
TIME = r"(?:\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?Z?|\d\d:\d\d:\d\d\.\d+)"


class Ids:
    """The ids that a page shows, and what they really are."""

    def __init__(self) -> None:
        self.real: dict[str, str] = {}

    def replace(self, text: str) -> str:
        for shown, real in self.real.items():
            text = text.replace(shown, real)
        return text

    def matches(self, shown: list[str], output: str) -> bool:
        """Whether the output is as shown; ids that are new in it are remembered."""
        names: dict[str, str] = {}
        pattern = "\n".join(r"(?:.|\n)*" if line.strip() == "…" else self._pattern(line, names) for line in shown)
        match = re.fullmatch(pattern, output)
        if match is None:
            return False
        self.real |= {shown: match[name] for shown, name in names.items()}
        return True

    def _pattern(self, line: str, names: dict[str, str]) -> str:
        made, at = "", 0
        for match in LOOSE.finditer(line):
            made += _spaced(line[at : match.start()])
            if match["any"]:
                made += ".*"
            elif match["time"]:
                made += TIME
            elif match["took"]:
                made += r"\d+(?:\.\d+)? ?m?s"
            elif match["id"] in self.real:
                made += re.escape(self.real[match["id"]])
            elif match["id"] in names:
                made += f"(?P={names[match['id']]})"
            else:
                names[match["id"]] = f"id{len(names)}"
                made += f"(?P<{names[match['id']]}>{match['id'][0]}-[0-9a-f]+)"
            at = match.end()
        return made + _spaced(line[at:])


def _spaced(text: str) -> str:
    """A pattern in which runs of spaces may have other lengths, as columns of a table have."""
    return " +".join(re.escape(part) for part in re.split(r" {2,}", text))


@pytest.mark.acceptance
@pytest.mark.timeout(240)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_what_a_page_shows_is_what_happens(page: Path, terminal: Terminal) -> None:
    ids = Ids()
    for block in blocks(page):
        if block.language not in RUN or block.note == "not run":
            continue
        if block.language == "console":
            follow(block, terminal, ids)
        elif name := FILE.match(block.text):
            terminal.write(name["name"], block.text)
        elif block.language == "python":
            terminal.write(f"block{block.line}.py", block.text)
            check(block, terminal, f"python block{block.line}.py", [], ids)
        else:
            check(block, terminal, CHECKS[block.language].format(name=f"block{block.line}"), [], ids, block.text)


def follow(block: Block, terminal: Terminal, ids: Ids) -> None:
    for command, shown in steps(block.text):
        assert command, f"{block}: a console block begins with '$ '"
        check(block, terminal, command, shown, ids)


def check(
    block: Block, terminal: Terminal, command: str, shown: list[str], ids: Ids, content: str | None = None
) -> None:
    """Run one command of a page and compare what it says."""
    if content is not None:
        terminal.write(f"block{block.line}.{block.language}", content)
    expected = [terminal.here(line) for line in shown]
    running = terminal.start(ids.replace(command))

    def done() -> bool:
        nonlocal running
        if running.process.poll() is None:
            return False
        if not expected or ids.matches(expected, running.output):
            return True
        if block.note == "repeated until so":
            running = terminal.start(ids.replace(command))
        elif not terminal.may_say_more(running):
            pytest.fail(told())
        return False

    def told() -> str:
        return "\n".join([f"{block}: $ {command}", "--- shown", *expected, "--- said", running.output])

    assert terminal.until(done), told()
    status = terminal.finish(running)
    fails = any(line.startswith("Error:") for line in expected)
    wanted = int(block.more) if block.note == "exits" else None
    assert (status == wanted) if wanted is not None else ((status != 0) == fails), f"{told()}\n--- exit code {status}"


CHECKS = {
    "toml": "OPSPAWN_PLUGINS__REST__PORT= opspawn --config {name}.toml config show",
    "yaml": 'python -c "import sys; from pathlib import Path; from opspawn.ops.workflows import load_workflow;'
    ' load_workflow(Path(sys.argv[1]))" {name}.yaml',
}


def test_a_block_that_is_not_run_says_why() -> None:
    silent = [str(block) for page in PAGES for block in blocks(page) if block.note == "not run" and not block.more]

    assert silent == []


def test_every_block_names_its_language() -> None:
    untold = [str(block) for page in PAGES for block in blocks(page) if not block.language]

    assert untold == []


def test_the_runner_notices_what_differs() -> None:
    ids = Ids()

    assert ids.matches(
        ["task t-0123456789abcdef01234567 took 3 ms", "…"], "task t-ffffffffffffffffffffffff took 12 ms\nx"
    )
    assert ids.replace("show t-0123456789abcdef01234567") == "show t-ffffffffffffffffffffffff"
    assert not ids.matches(["t-0123456789abcdef01234567 failed"], "t-ffffffffffffffffffffffff succeeded")
    assert not ids.matches(["t-0123456789abcdef01234567 failed"], "t-aaaaaaaaaaaaaaaaaaaaaaaa failed")
