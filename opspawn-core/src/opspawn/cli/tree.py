"""A trace as a tree in the terminal."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from opspawn.ops.traces import Span, Trace, seconds_in_words

#: A task that waited shorter than this to be taken shows nothing of it, in seconds.
_AT_ONCE_S = 0.5
_PIPE_WIDTH = 1000


def print_trace(trace: Trace) -> None:
    """Print the tree; fitted to a terminal, whole for other programs."""
    now = datetime.now(UTC)
    tree = Tree(_task(trace.root, now), guide_style="dim")
    _grow(tree, trace.root, now)
    if not trace.whole:
        tree.add(Text("the tree is larger; look at a child with: opspawn tasks trace CHILD", style="dim"))
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    Console(highlight=False, no_color=bool(os.environ.get("NO_COLOR")), width=width, soft_wrap=False).print(tree)


def _grow(tree: Tree, span: Span, now: datetime) -> None:
    runs = [child for child in span.children if child.kind == "run"]
    for child in span.children:
        if child.kind == "run" and len(runs) == 1:
            for inner in child.children:
                tree.add(_line(inner, now))
        elif child.kind == "run" and not child.children and child.ok is not False and child.end is not None:
            continue  # it woke up, and nothing came of it
        elif child.kind == "run":
            word = "run" if child.end is None or child.ok is not False else "run, not to its end"
            below = tree.add(_told(Text(f"{word} on {child.name}", style="dim"), child, now))
            for inner in child.children:
                below.add(_line(inner, now))
        elif child.kind == "task":
            _grow(tree.add(_task(child, now)), child, now)
        elif child.kind != "queued" or _seconds(child, now) >= _AT_ONCE_S:
            tree.add(_line(child, now))
    if span.more:
        counts = ", ".join(f"{count:,} {state}" for state, count in sorted(span.more.items()))
        tree.add(Text(f"and {sum(span.more.values()):,} more: {counts}", style="dim"))


def _task(span: Span, now: datetime) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(span.name, style="bold")
    text.append(f"  {span.state}", style=_COLOURS.get(str(span.state), ""))
    if span.failures and span.state != "failed":
        text.append(f" after {span.failures} failed attempt{'s' if span.failures > 1 else ''}", style="yellow")
    return _told(text, span, now, id=True)


def _line(span: Span, now: datetime) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    if span.kind == "step":
        text.append(span.name if span.key in (None, span.name) else f"{span.name} ", style="")
        if span.key not in (None, span.name):
            text.append(str(span.key), style="dim")
        if span.failures:
            text.append(f"  after {span.failures} failed tr{'ies' if span.failures > 1 else 'y'}", style="yellow")
    else:
        words = {"queued": f"queued in {span.name}", "wait": f"waited for {span.name}", "sleep": "sleep"}
        word = words[span.kind]
        text.append(word.replace("waited", "waits") if span.end is None else word, style="dim")
    return _told(text, span, now)


def _told(text: Text, span: Span, now: datetime, *, id: bool = False) -> Text:
    going = span.end is None or span.end > now
    text.append(f"  {seconds_in_words(_seconds(span, now))}", style="cyan" if going else "green")
    if going:
        text.append(" so far", style="cyan")
    if id:  # before the message, which may be cut
        text.append(f"  {span.task}", style="dim")
    if span.ok is False and span.error is not None:
        message = " ".join(str(span.error.get("message") or span.error.get("type") or "").split())
        text.append(f"  {message}", style="red")
    return text


def _seconds(span: Span, now: datetime) -> float:
    end = now if span.end is None or span.end > now else span.end
    return max(0.0, (end - span.start).total_seconds())


_COLOURS = {"succeeded": "green", "failed": "red", "running": "cyan", "in_doubt": "yellow", "paused": "yellow"}
