"""What many connected servers that nobody calls cost their host: the processor's time of this process."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from _common import Settings, expect, report

from opspawn_mcp import McpConfig
from opspawn_mcp.fleet import Fleet

#: A server in nothing but the standard library, so that fifty of them fit on a small machine.
SERVER = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    told = {"initialize": {"protocolVersion": "2025-11-25", "capabilities": {"tools": {"listChanged": True}},
            "serverInfo": {"name": "idle", "version": "1"}}, "tools/list": {"tools": []}}.get(asked["method"])
    if told is not None:
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": told}), flush=True)
"""


async def main() -> None:
    settings = Settings()
    script = Path(settings.folder) / "server.py"
    script.write_text(SERVER)
    one = {"command": sys.executable, "args": ["-I", "-S", str(script)], "mode": "legacy", "connect_timeout_s": 120}
    names = [f"s{number}" for number in range(settings.get("servers"))]
    fleet = Fleet(McpConfig.model_validate({"servers": dict.fromkeys(names, one), "root": settings.folder}))
    try:
        await fleet.connect(names)
        expect(all(one.server.state == "ready" for one in fleet.members.values()), "not all servers are connected")
        await asyncio.sleep(1)
        seconds = 2 * settings.get("seconds")
        cpu, began = time.process_time(), time.perf_counter()
        await asyncio.sleep(seconds)
        percent = 100 * (time.process_time() - cpu) / (time.perf_counter() - began)
    finally:
        await fleet.aclose()
    report(f"{percent:.3f} % of a core", {"percent": percent}, ("opspawn-mcp", "mcp"))


asyncio.run(main())
