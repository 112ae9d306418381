"""Peers that are measured by turns: all are started once, and then each works for a moment while the others wait.

A machine that is slow for a while slows down all of them alike, so that the ratio of two neighbours holds when neither
figure does. A worker reads lines of JSON on stdin, each one turn, and answers each with one line; at the end of its
input it reports, as every worker does.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from _harness import QUIET, UNWANTED, WORKERS, BenchmarkError, Peer, Reply


class Worker:
    """A worker that waits for its turns."""

    def __init__(self, peer: Peer, settings: Mapping[str, Any]) -> None:
        self._peer = peer
        environment = {key: value for key, value in os.environ.items() if not UNWANTED.match(key)} | QUIET
        self._errors = Path(settings["folder"]) / "stderr"
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, str(WORKERS / peer.worker), json.dumps({**settings, **dict(peer.options)})],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=settings["folder"],
                env=environment,
            )

    def turn(self, **asked: Any) -> Reply:
        """Let it work, and return its figures. Raises: BenchmarkError: it has failed."""
        assert self._process.stdin is not None
        with suppress(OSError):  # why is on its stderr
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
        return self._answer()

    def end(self) -> Reply:
        """Its report. Raises: BenchmarkError."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._answer()

    def stop(self) -> None:
        """End it, whatever it does."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _answer(self) -> Reply:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            text = self._errors.read_text("utf-8", "replace").strip().splitlines()
            raise BenchmarkError(f"{self._peer.name} failed: {text[-1] if text else 'it said nothing'}")
        reply: Reply = json.loads(line)
        return reply


@contextmanager
def started(bench: str, peers: Sequence[Peer], settings: Mapping[str, Any], data: Path) -> Iterator[dict[str, Worker]]:
    """A worker for each peer, each with a folder of its own."""
    with ExitStack() as stack:
        workers = {}
        for peer in peers:
            folder = data.resolve() / f"{bench}-{os.getpid()}-{peer.name}"
            folder.mkdir(parents=True)
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            workers[peer.name] = Worker(peer, {**settings, "folder": str(folder)})
            stack.callback(workers[peer.name].stop)
        yield workers


def in_turn(names: Sequence[str], number: int) -> list[str]:
    """The names in another order each time, so that nobody always follows the same one."""
    shift = number // 2 % len(names)
    turned = [*names[shift:], *names[:shift]]
    return turned[::-1] if number % 2 else turned


def spread(values: Sequence[float]) -> str:
    """The median of some ratios, and how far they lie apart."""
    middle = statistics.median(values)
    if len(values) < 4:
        return f"{middle:.2f} ({min(values):.2f} to {max(values):.2f})"
    low, _, high = statistics.quantiles(values, n=4)
    told = f"half of {len(values)} turns: {low:.2f} to {high:.2f}; all: {min(values):.2f} to {max(values):.2f}"
    return f"{middle:.2f} ({told})"
