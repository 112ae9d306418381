"""Reading the audit log: what it says, and whether it is whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opspawn_mcp.audit.chain import NOTHING, Broken, Chain, parsed
from opspawn_mcp.audit.log import AuditFailed, Head, path_of, segments


@dataclass
class Findings:
    """What a look at the whole log found. `faults` name the file, the line and what is wrong there."""

    records: int = 0
    first: int = 0
    last: int = 0
    hash: str = NOTHING
    faults: list[str] = field(default_factory=list)


def records(folder: Path) -> Iterator[dict[str, Any]]:
    """All records, oldest first, as they are; lines that are none are left out, and told by `verify`."""
    for number, _, _ in segments(folder):
        for _, line in _lines(folder, number):
            try:
                yield parsed(line)[0]
            except Broken:
                continue


def verify(folder: Path, chain: Chain, expected: tuple[int, str] | None = None) -> Findings:
    """Follow the chain from its begin to its head.

    Args:
        expected: number and hash of a record that somebody has noted elsewhere: it must still be there.
    """
    found, before, begun, removed = Findings(), NOTHING, False, (0, NOTHING)
    start = (0, NOTHING)
    previous: int | None = None
    for number, _, _ in segments(folder):
        if previous is not None and number != previous + 1:
            found.faults.append(f"{path_of(folder, previous + 1).name}: the file is missing")
        previous = number
        for place, line in _lines(folder, number):
            where = f"{path_of(folder, number).name}, line {place}"
            try:
                record, made = parsed(line)
                if not begun:
                    begun, start = True, (record["n"] - 1, record.get("prev", NOTHING))
                    found.first, found.last, before = record["n"], start[0], start[1]
                record, made = chain.read(line, found.last + 1, before)
            except Broken as error:
                found.faults.append(f"{where}: it {error}")
                try:  # go on behind it, so that one change is one fault
                    record, made = parsed(line)
                except Broken:
                    continue
            found.last, before = record["n"], made
            found.records += 1
            if record.get("kind") == "retention":
                removed = record.get("removedThrough", 0), record.get("lastHash", NOTHING)
            if expected is not None and expected[0] == record["n"] and expected[1] == made:
                expected = None
    found.hash = before
    if begun and start[0] > 0 and not (removed[0] >= start[0] and (removed[0] > start[0] or removed[1] == start[1])):
        found.faults.append(f"records 1 to {start[0]} are missing, and the log does not say that they were removed")
    _check_head(folder, found)
    if expected is not None:
        found.faults.append(f"record {expected[0]} with the hash that was noted is not there")
    return found


def _check_head(folder: Path, found: Findings) -> None:
    try:
        head = Head.of((folder / "head").read_bytes())
    except FileNotFoundError:
        if found.records:
            found.faults.append("head: the file is missing")
        return
    except AuditFailed as error:
        found.faults.append(f"head: {error.message}")
        return
    if head.n > found.last:
        found.faults.append(f"head: records {found.last + 1} to {head.n} are missing at the end")
    elif head.n == found.last and head.hash != found.hash:
        found.faults.append(f"head: record {head.n} is another than the one that was written")


def _lines(folder: Path, number: int) -> Iterator[tuple[int, str]]:
    with path_of(folder, number).open("rb") as file:
        for place, line in enumerate(file, 1):
            if line.endswith(b"\n"):  # what a killed process did not finish counts for nothing
                yield place, line[:-1].decode("utf-8", "replace")
