"""A memory in LanceDB on an object store: a server that speaks S3, installed once from PyPI into `.bench`."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from pyarrow import fs

from opspawn.contracts.memory import MemoryItem, MemoryQuery, Selection
from opspawn.errors import MemoryUnusable
from opspawn.testing import HashingEmbedder
from opspawn_memory_lancedb.memory import LanceMemory, open_memory
from opspawn_memory_lancedb.settings import LanceConfig

from ._installing import BENCH, environment

WANTED = ["moto[s3]>=5.2,<6", "flask", "flask-cors"]
ADA, BOB = ("user:ada",), ("user:bob",)
_PATIENCE_S = 240


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where the server listens; it has an empty bucket named `bucket`."""
    python = str(environment(BENCH / "object-store", WANTED) / "python")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [python, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    address = f"http://127.0.0.1:{port}"
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            until = time.monotonic() + _PATIENCE_S
            while True:
                try:
                    httpx2.put(f"{address}/bucket").raise_for_status()
                    break
                except httpx2.TransportError:
                    assert server.poll() is None, "the server ended"
                    assert time.monotonic() < until, "the server does not answer"
                    time.sleep(0.1)
            yield address
        finally:
            server.terminate()


async def opened(
    address: str, locks: Path, bucket: str = "bucket", embedder: HashingEmbedder | None = None
) -> LanceMemory:
    """The memory, as a machine sees it that has these locks."""
    words = {"aws_access_key_id": "ours", "aws_secret_access_key": "secret", "region": "eu-central-1"}
    options = {**words, "aws_endpoint": address, "allow_http": "true"}
    config = LanceConfig.model_validate({"storage_options": options})
    return await open_memory(f"s3://{bucket}/memory", data=str(locks), embedder=embedder, config=config)


def objects(address: str) -> list[bytes]:
    """The content of everything in the bucket."""
    store = fs.S3FileSystem(access_key="ours", secret_key="secret", endpoint_override=address, region="eu-central-1")
    return [
        store.open_input_stream(one.path).read()
        for one in store.get_file_info(fs.FileSelector("bucket", recursive=True))
        if one.is_file
    ]


@pytest.mark.timeout(300)
async def test_machines_that_share_a_bucket_share_a_memory(address: str, tmp_path: Path) -> None:
    """Two with locks of their own, as two machines have: what both write at once is there, what one forgets is gone."""
    embedder = HashingEmbedder(32)
    one, other = [await opened(address, tmp_path / name, embedder=embedder) for name in ("one", "other")]
    for n in range(3):
        both = [memory.add([MemoryItem(f"{who}'s word {n}.", ADA)]) for memory, who in ((one, "One"), (other, "Other"))]
        await asyncio.gather(*both)
    [secret] = await one.add([MemoryItem("The vault opens with zebrafish.", BOB)])

    assert len((await other.items(Selection(ADA))).items) == 6
    hits = await other.search(MemoryQuery("what opens with zebrafish?", Selection(BOB)))
    assert [hit.item.id for hit in hits] == [secret.item.id]
    assert any(b"zebrafish" in content for content in objects(address))

    await other.forget(Selection(BOB))
    assert await one.search(MemoryQuery("zebrafish", Selection(BOB))) == []
    assert not any(b"zebrafish" in content for content in objects(address))
    assert len((await one.items(Selection(ADA))).items) == 6
    await one.aclose()
    await other.aclose()


async def test_what_an_object_store_answers_is_told_with_the_settings_to_correct(address: str, tmp_path: Path) -> None:
    with pytest.raises(MemoryUnusable, match="the object store answers NoSuchBucket: ") as missing:
        await opened(address, tmp_path, "another")
    assert missing.value.remedy == "Correct uri and storage_options in [plugins.lancedb]."
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        with pytest.raises(MemoryUnusable, match=f"no connection to 127.0.0.1:{port}: Connection refused"):
            await opened(f"http://127.0.0.1:{port}", tmp_path)
