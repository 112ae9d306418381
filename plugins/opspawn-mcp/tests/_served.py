"""The MCP server under test, and the SDK's own client for it."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from opspawn.app import load_app
from opspawn.config import load_settings
from opspawn.host import Host

HERE = Path(__file__).parent / "servers"
CONFIG = """
app = "served.py"
transports = ["mcp"]

[plugins.mcp.serve]
port = 0
tools = ["add", "pay"]

[worker]
poll_s = 0.05

[policy]
once = "ask"
"""
#: The same, by the server of REST.
BESIDE_REST = CONFIG.replace('["mcp"]', '["rest", "mcp"]').replace("port = 0\n", "") + "\n[plugins.rest]\nport = 0\n"
MODES = ("legacy", "auto")


def make_folder(folder: Path, config: str = "", base: str = CONFIG) -> Path:
    """A folder with the app and its configuration."""
    for name in ("served.py", "triage.yaml"):
        shutil.copy(HERE / name, folder / name)
    (folder / "opspawn.toml").write_text(base + config)
    return folder


@asynccontextmanager
async def serving(folder: Path, **overrides: Any) -> AsyncIterator[Host]:
    """The app of a folder, served on a free port by this process."""
    loaded = load_settings(cwd=folder, overrides=overrides)
    async with Host.open(load_app("served.py", folder), loaded=loaded, transports=True) as host:
        yield host


@asynccontextmanager
async def client_of(host: Host, mode: str = "auto", key: str | None = None, **options: Any) -> AsyncIterator[Client]:
    """A client over HTTP."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    transport = host.transports[-1]
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(
            httpx2.AsyncClient(headers=headers, timeout=60, trust_env=False, verify=False)
        )
        way = streamable_http_client(transport.address, http_client=http)
        yield await stack.enter_async_context(Client(way, mode=mode, cache=None, **options))


def text_of(result: Any) -> str:
    """The text of an answer."""
    return "\n".join(item.text for item in result.content if item.type == "text")
