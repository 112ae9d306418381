"""What every benchmark shares: an environment per peer, rounds in turn, medians, a table and one line of JSON.

A benchmark is a list of peers. Each peer is one small script in `workers/`, run as a process of its own with the
settings as JSON in its only argument, in a fresh folder on a real disk. Its last line of stdout is a JSON object:
figures, `versions`, and `facts` about how it ran. All peers run in every round, so that a slow minute of the machine
hits all of them; the order turns by one place from round to round, so that nobody always goes first or last.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".bench"
WORKERS = Path(__file__).resolve().parent / "workers"

#: A worker that needs longer is stopped and counts as failed, in seconds.
WORKER_TIMEOUT_S = 300.0

#: No peer may phone home while it is measured, or find a key to do so.
QUIET = {"AGNO_TELEMETRY": "false", "DO_NOT_TRACK": "1", "LANGSMITH_TRACING": "false", "LANGCHAIN_TRACING_V2": "false"}

#: Keys, and settings of the caller's shell that would change what is measured.
UNWANTED = re.compile(r".*_API_KEY|PYTHON.*|OPSPAWN_.*|DBOS_.*|LANGSMITH_.*")

Reply = dict[str, Any]


class BenchmarkError(Exception):
    """A benchmark cannot go on; the text is the one line that the user reads."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One thing that is measured.

    Attributes:
        name: as in the table, in `--only` and in the JSON.
        worker: the script in `workers/`.
        about: one line for the table.
        requires: what to install, as ranges; empty for the environment that runs the benchmark.
        environment: the folder under `.bench/`; peers with the same requirements share one.
        options: settings for this peer alone, added to those of the benchmark.
    """

    name: str
    worker: str
    about: str
    requires: tuple[str, ...] = ()
    environment: str = ""
    options: tuple[tuple[str, Any], ...] = ()


def parser(bench: str, description: str | None, names: Sequence[str]) -> argparse.ArgumentParser:
    """What every benchmark may be told; `names` are its peers or parts."""
    made = argparse.ArgumentParser(prog=bench, description=description)
    made.add_argument("--rounds", type=positive, default=3, help="how often each is measured (default: 3)")
    made.add_argument("--only", metavar="NAMES", help=f"of {', '.join(names)}; separated by commas")
    made.add_argument("--data", type=Path, default=HOME / "data", help="where to write; must be a disk")
    return made


def positive(text: str) -> int:
    """A whole number from 1 on."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def choose(peers: Sequence[Peer], only: str | None) -> list[Peer]:
    """The peers that `--only a,b` names, in the order of the benchmark; all of them without it."""
    if only is None:
        return list(peers)
    wanted = {name.strip() for name in only.split(",") if name.strip()}
    known = {peer.name for peer in peers}
    if unknown := sorted(wanted - known):
        raise BenchmarkError(f"--only: there is no {', '.join(unknown)}; known: {', '.join(sorted(known))}.")
    return [peer for peer in peers if peer.name in wanted]


def python_of(peer: Peer) -> Path:
    """The Python that runs the peer's worker; makes and fills the peer's environment when it is not there yet."""
    if not peer.requires:
        return Path(sys.executable)
    folder = HOME / peer.environment
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = folder / "requires.json"
    wanted = json.dumps({"python": sys.version, "requires": peer.requires})
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    say(f"installing {', '.join(peer.requires)} into {folder.relative_to(ROOT)}")
    _uv("venv", "--quiet", "--clear", "--python", sys.executable, str(folder), what=peer.environment)
    _uv("pip", "install", "--quiet", "--python", str(python), *peer.requires, what=peer.environment)
    stamp.write_text(wanted)
    return python


def _uv(*arguments: str, what: str) -> None:
    done = subprocess.run([sys.executable, "-m", "uv", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise BenchmarkError(f"The environment of {what} could not be made: {reason}")


def run_rounds(
    bench: str, peers: Sequence[Peer], rounds: int, settings: Mapping[str, Any], data: Path
) -> dict[str, list[Reply]]:
    """Run every peer once per round and return the replies of each, in the order of the rounds.

    Raises:
        BenchmarkError: an environment could not be made, the disk is not one, or a worker failed; the text says which.
    """
    data = data.resolve()
    if (kind := filesystem(data)) in ("tmpfs", "ramfs"):
        raise BenchmarkError(f"{data} is memory ({kind}), where a commit costs nothing; give a disk with --data.")
    data.mkdir(parents=True, exist_ok=True)
    pythons = {peer.name: python_of(peer) for peer in peers}
    replies: dict[str, list[Reply]] = {peer.name: [] for peer in peers}
    for turn in range(rounds):
        shift = turn % len(peers)
        for peer in [*peers[shift:], *peers[:shift]]:
            folder = data / f"{bench}-{os.getpid()}-{turn}-{peer.name}"
            folder.mkdir()
            try:
                reply = _run(peer, pythons[peer.name], {**settings, **dict(peer.options), "folder": str(folder)})
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            replies[peer.name].append(reply)
            say(f"round {turn + 1}/{rounds}  {peer.name}: {reply['summary']}  (load {os.getloadavg()[0]:.1f})")
    return replies


def _run(peer: Peer, python: Path, settings: Mapping[str, Any]) -> Reply:
    """Run one worker and return the JSON object on its last line."""
    command = [str(python), str(WORKERS / peer.worker), json.dumps(settings)]
    environment = {key: value for key, value in os.environ.items() if not UNWANTED.match(key)}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd=settings["folder"],
            env=environment | QUIET,
            timeout=WORKER_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise BenchmarkError(f"{peer.name} did not end within {WORKER_TIMEOUT_S:.0f} s.") from None
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        text = done.stderr.strip().splitlines()
        raise BenchmarkError(f"{peer.name} failed: {text[-1] if text else f'exit code {done.returncode}'}")
    reply: Reply = json.loads(lines[-1])
    return reply


def filesystem(path: Path) -> str:
    """The type of the file system that holds `path` ("ext4", "tmpfs", ...), or "unknown" where nothing tells."""
    mounts = Path("/proc/self/mounts")
    if not mounts.exists():
        return "unknown"
    best, kind = Path("/nowhere"), "unknown"
    for line in mounts.read_text().splitlines():
        _, point, name, *_ = line.split()
        where = Path(point.replace("\\040", " "))
        if path.resolve().is_relative_to(where) and (kind == "unknown" or len(where.parts) >= len(best.parts)):
            best, kind = where, name
    return kind


def figures(replies: Sequence[Reply], field: str) -> list[float]:
    """One figure of every round."""
    return [float(reply[field]) for reply in replies]


def median(replies: Sequence[Reply], field: str) -> float:
    """The median of one figure over the rounds."""
    return statistics.median(figures(replies, field))


def ratios(results: Mapping[str, float], pairs: Sequence[tuple[str, str]]) -> dict[str, float]:
    """`{"us/dbos": …}` for every pair of which both were measured: the first's median by the second's."""
    return {f"{a}/{b}": rounded(results[a] / results[b]) for a, b in pairs if a in results and b in results}


def rounded(value: float) -> float:
    """Four significant digits: more would be noise."""
    return float(f"{value:.4g}")


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str]) -> None:
    """Print the table, then the notes, to stdout."""
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 or column in ("how", "versions") else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    for note in notes:
        console.print(note, soft_wrap=True)


def notes_on(replies: Mapping[str, Sequence[Reply]], data: Path) -> list[str]:
    """The lines under a table: versions and facts of every peer, and the machine."""
    lines = []
    for name, rounds in replies.items():
        versions = ", ".join(f"{package} {version}" for package, version in rounds[0]["versions"].items())
        facts = "; ".join(f"{key} {value}" for key, value in rounds[0]["facts"].items())
        lines.append(f"{name}: {versions}" + (f" ({facts})" if facts else ""))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    lines.append(f"machine: {cores} cores, load {load}, data on {filesystem(data)}; quote ratios, not digits")
    return lines


def finish(bench: str, unit: str, results: Mapping[str, float], pairs: Sequence[tuple[str, str]]) -> None:
    """Print the last line of stdout: one JSON object with all figures and the ratios."""
    line = {
        "bench": bench,
        "unit": unit,
        "results": {name: rounded(value) for name, value in results.items()},
        "ratios": ratios(results, pairs),
    }
    sys.stdout.flush()
    print(json.dumps(line), flush=True)


def say(text: str) -> None:
    """Tell the progress on stderr."""
    print(text, file=sys.stderr, flush=True)
