"""Pages name commands that there are."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from opspawn.cli import main

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(page for folder in ("how-to", "explanation", "tutorials") for page in (DOCS / folder).glob("*.md"))
_NAMED = re.compile(r"\bopspawn((?: +[a-z][a-z-]*)+)")


def unknown(words: list[str]) -> str | None:
    """The first word that is no command where one has to stand."""
    context = click.Context(main, info_name="opspawn")
    for word in words:
        if not isinstance(context.command, click.Group):
            return None
        command = context.command.get_command(context, word)
        if command is None:
            return word
        context = click.Context(command, parent=context, info_name=word)
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_command_that_a_page_names_is_there(page: Path) -> None:
    text = page.read_text()
    code = [*re.findall(r"`([^`\n]+)`", text), *re.findall(r"^\$ (.+)$", text, re.MULTILINE)]
    named = [words for one in code for words in _NAMED.findall(one)]

    assert [f"opspawn{words}" for words in named if unknown(words.split())] == []
