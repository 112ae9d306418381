"""Findings on the command line: one line each, with its remedy under it."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable

import click

from opspawn.cli.output import harmless
from opspawn.contracts.store import Finding

_COLOURS = {"ok": "green", "warning": "yellow", "error": "red"}


def print_findings(findings: Iterable[tuple[str | None, Finding]]) -> None:
    """Print findings, each with the part of the system that it is about."""
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    for part, finding in findings:
        level = f"{finding.level:<7} "
        about = f"{part:<13} " if part is not None else ""
        told = [finding.what, *([finding.remedy] if finding.remedy is not None and finding.level != "ok" else [])]
        lines = [line for text in told for line in _fitted(text, len(level) + len(about))]
        first = click.style(level, fg=_COLOURS[finding.level]) if colour else level
        click.echo(f"{first}{about}{lines[0]}")
        for line in lines[1:]:
            click.echo(" " * len(level + about) + line)


def _fitted(text: str, taken: int) -> list[str]:
    """The text in lines that fit a terminal of which so many columns are taken; whole for other programs."""
    text = harmless(" ".join(text.split()), sys.stdout)
    if not sys.stdout.isatty():
        return [text]
    return textwrap.wrap(text, max(20, shutil.get_terminal_size().columns - taken), break_on_hyphens=False) or [""]
