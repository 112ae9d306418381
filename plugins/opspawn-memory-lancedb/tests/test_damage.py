"""Logs that are damaged: what of them can be read is kept, and the rest is neither taken for whole nor thrown away."""

from __future__ import annotations

import asyncio
import json
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from loguru import logger

from opspawn.cli import main
from opspawn.contracts.memory import MemoryItem, MemoryQuery, Selection
from opspawn.testing import HashingEmbedder
from opspawn_memory_lancedb.entries import left_in
from opspawn_memory_lancedb.memory import LanceMemory, open_memory

ADA = ("user:ada",)
EVERYTHING = Selection((), below=True)
Damage = Callable[[bytes, list[int]], bytes]


@pytest.fixture
def said() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(str(line)), level="WARNING", format="{level} {message}")
    yield lines
    logger.remove(sink)


async def opened(place: Path, length: int = 16) -> LanceMemory:
    return await open_memory(str(place / "memory.lance"), embedder=HashingEmbedder(length))


async def texts(memory: LanceMemory) -> list[str]:
    return sorted(item.text for item in (await memory.items(EVERYTHING, limit=1000)).items)


def log_in(place: Path) -> Path:
    [log] = (place / "memory.lance/added").glob("*.log")
    return log


def bounds(data: bytes) -> list[int]:
    """Where entries begin, and where the last ends."""
    found = [0]
    while found[-1] < len(data):
        found.append(found[-1] + 12 + struct.unpack_from("<Q", data, found[-1])[0])
    return found


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


@pytest.fixture
async def left(tmp_path: Path) -> Path:
    """A memory of which a process that is gone has left three items in a log, each an entry."""
    memory = await opened(tmp_path)
    for text in ("One.", "Two.", "Three."):
        await memory.add([MemoryItem(text, ADA)])
    copy = shutil.copytree(tmp_path, tmp_path / "left")
    await memory.aclose()
    return copy


@pytest.mark.parametrize(
    ("damage", "kept"),
    [
        pytest.param(lambda data, at: flipped(data, 200), ["Three.", "Two."], id="in the first"),
        pytest.param(lambda data, at: flipped(data, 0), ["Three.", "Two."], id="in the length of the first"),
        pytest.param(lambda data, at: flipped(data, at[1] + 9), ["One.", "Three."], id="in the checksum of the second"),
        pytest.param(lambda data, at: flipped(data, at[2] + 200), ["One.", "Two."], id="in the last"),
        pytest.param(lambda data, at: flipped(data, at[2] + 1), ["One.", "Two."], id="in the length of the last"),
        pytest.param(
            lambda data, at: data[: at[1]] + bytes(500) + data[at[2] :], ["One.", "Three."], id="zeros between"
        ),
    ],
)
async def test_a_damaged_log_gives_what_is_whole_and_is_set_aside(
    left: Path, said: list[str], damage: Damage, kept: list[str]
) -> None:
    """It stays as it was, and is told of until somebody has removed it."""
    data = log_in(left).read_bytes()
    damaged = damage(data, bounds(data))
    log_in(left).write_bytes(damaged)
    memory = await opened(left)
    found = await texts(memory)
    await memory.aclose()
    [aside] = (left / "memory.lance/added").iterdir()
    first = list(said)
    again = await opened(left)
    same = await texts(again)
    await again.aclose()

    assert (found, same) == (kept, kept)
    assert (aside.suffix, aside.read_bytes()) == (".damaged", damaged)
    assert [line.split()[0] for line in first] == ["ERROR"]
    assert "2 rows of it could be read" in first[0]
    assert str(aside) in first[0]
    assert f"WARNING The damaged log {aside} is still there" in said[1]


async def test_the_doctor_lists_damaged_logs_and_what_to_do(left: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that nobody has read since it was damaged among them; and no others."""
    log_in(left).write_bytes(flipped(log_in(left).read_bytes(), 200))
    (left / "opspawn.toml").write_text('memory = "lancedb"\n[plugins.lancedb]\nuri = "memory.lance"\n')
    monkeypatch.chdir(left)

    def looked() -> list[dict[str, str]]:
        told = json.loads(CliRunner().invoke(main, ["doctor", "--json"]).stdout)
        return [one for one in told if one["part"] == "memory"]

    kept, damaged = await asyncio.to_thread(looked)
    [aside] = (left / "memory.lance/added").iterdir()
    aside.unlink()

    assert (kept["level"], damaged["level"]) == ("ok", "warning")
    assert f"memory.lance/added/{aside.name} was set aside" in damaged["what"]
    assert "then remove that file" in damaged["remedy"]
    assert len(await asyncio.to_thread(looked)) == 1


@pytest.mark.parametrize("zeros", [1, 12, 64, 100_000])
async def test_zeros_at_the_end_are_no_entries(left: Path, said: list[str], zeros: int) -> None:
    """As power that fails may leave them: nobody was told that there is anything."""
    log = log_in(left)
    log.write_bytes(log.read_bytes() + bytes(zeros))
    memory = await opened(left)
    found = await texts(memory)
    await memory.aclose()
    assert (found, said) == (["One.", "Three.", "Two."], [])


def test_a_log_of_zeros_is_empty(tmp_path: Path) -> None:
    (tmp_path / "zeros.log").write_bytes(bytes(100_000))
    told = left_in(tmp_path / "zeros.log")
    assert (told.rows, told.damaged) == (None, 0)


async def test_rows_whose_vectors_are_damaged_are_kept_without(tmp_path: Path, said: list[str]) -> None:
    """And get none of other rows; to make them anew is a call away."""
    memory = await opened(tmp_path, 512)
    for name in ("one", "two"):
        await memory.add([MemoryItem(f"Fact {n} of {name}.", ADA) for n in range(200)])
    copy = shutil.copytree(tmp_path, tmp_path / "left")
    await memory.aclose()
    data = log_in(copy).read_bytes()
    _, rest, second, *_ = bounds(data)
    # Whole are: the vectors of one, and the rows of two; between them nothing can be read.
    log_in(copy).write_bytes(flipped(flipped(data, rest + 500), second + 5000))
    found = await opened(copy, 512)
    stats = await found.stats(EVERYTHING)
    [hit] = await found.search(MemoryQuery("Fact 77 of two.", EVERYTHING, limit=1, mode="text"))
    made = await found.reembed()
    await found.aclose()
    assert (stats.items, stats.vectors, hit.item.text, made) == (200, 0, "Fact 77 of two.", 200)
    assert len(said) == 1


@pytest.mark.parametrize("what", ["forget", "compact"])
async def test_who_takes_out_hears_of_a_log_that_may_hold_what_is_forgotten(
    left: Path, said: list[str], what: str
) -> None:
    """To forget takes out what fits, to compact what has expired: neither touches that file, and both name it."""
    log_in(left).write_bytes(flipped(log_in(left).read_bytes(), 200))
    memory = await opened(left)
    await (memory.forget(Selection(ADA)) if what == "forget" else memory.compact())
    await memory.aclose()
    [aside] = (left / "memory.lance/added").glob("*.damaged")
    assert f"The damaged log {aside} is still there; forgetting takes nothing out of it." in said[-1]
    assert "remove the file" in said[-1]
