"""The reference is what the code says, and links lead somewhere."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from opspawn.cli import COMMANDS
from opspawn.contracts.events import EVENT_TYPES
from opspawn.plugins.kinds import HOOKS

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
FENCED = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
WRITTEN = [*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]


def headings(page: Path) -> list[str]:
    """The headings of a page, as it shows them."""
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    return [line.lstrip("#").strip() for line in text.split("\n") if line.startswith("#")]


def anchor(heading: str) -> str:
    """The fragment that leads to a heading."""
    kept = re.sub(r"[^\w\- ]", "", heading.lower().replace("`", ""))
    return kept.replace(" ", "-")


@pytest.mark.timeout(240)  # it imports everything there is, which takes a busy machine a minute
def test_the_generated_pages_are_up_to_date() -> None:
    generator = [sys.executable, str(DOCS / "generate.py"), "--check"]

    run = subprocess.run(generator, capture_output=True, text=True, timeout=220, check=False)

    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_heading(hook: str) -> None:
    assert hook in headings(REFERENCE / "hooks.md")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_heading(command: str) -> None:
    assert f"opspawn {command}" in headings(REFERENCE / "cli.md")


@pytest.mark.parametrize("type", EVENT_TYPES)
def test_every_event_is_explained(type: str) -> None:
    assert f"| `{type}` |" in (REFERENCE / "events.md").read_text(encoding="utf-8")


def test_every_operation_of_the_api_has_a_heading() -> None:
    paths = json.loads((REFERENCE / "openapi.json").read_text(encoding="utf-8"))["paths"]
    wanted = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}

    assert wanted <= set(headings(REFERENCE / "rest.md"))


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    lost = []
    for match in LINK.finditer(text):
        target, _, fragment = match["target"].partition("#")
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        file = (page.parent / target).resolve() if target else page
        if not file.exists() or (fragment and fragment not in map(anchor, headings(file))):
            lost.append(match["target"])

    assert lost == []


def test_every_page_is_reached_from_the_index() -> None:
    reached, left = set(), [DOCS / "index.md"]
    while left:
        page = left.pop()
        if page in reached or page.suffix != ".md" or not page.is_file():
            continue
        reached.add(page)
        links = LINK.finditer(page.read_text(encoding="utf-8"))
        left += [(page.parent / match["target"].partition("#")[0]).resolve() for match in links]

    assert {page.relative_to(DOCS) for page in DOCS.rglob("*.md")} <= {
        page.relative_to(DOCS) for page in reached if page.is_relative_to(DOCS)
    }
