"""A worker's process: calls hostile tools, several at a time, and tells what came of it. Run as root and as another.

Arguments: the folder of this file, a folder for everybody to write in, and "WALLS:TOOLS", both with commas; all walls
and all tools without it. The variable POLICY is that of all calls.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from opspawn.agentkit.calling import use
from opspawn.agentkit.sandbox.process import ProcessRunner
from opspawn.agentkit.sandbox.promises import WALLS
from opspawn.contracts.tool import ToolContext
from opspawn.errors import OpspawnError


class World:
    """What is there to be reached by a tool that gets out."""

    def __init__(self, folder: Path) -> None:
        os.environ["API_SECRET"] = "hunter2"
        self.file = folder / f"precious-{os.getuid()}"
        self.file.write_text("precious")
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.name = f"@opspawn-test-{os.getpid()}"
        self.abstract = socket.socket(socket.AF_UNIX)
        self.abstract.bind(f"\0{self.name[1:]}")
        self.path = folder / f"socket-{os.getpid()}"
        self.unix = socket.socket(socket.AF_UNIX)
        self.unix.bind(str(self.path))
        for one in (self.abstract, self.unix):
            one.listen(8)

    def calls(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """Each by a name of its own: the tool and its arguments."""
        pid, file = os.getpid(), str(self.file)
        with_arguments: dict[str, tuple[str, dict[str, Any]]] = {
            "read_shadow": ("read_file", {"path": "/etc/shadow"}),
            "read_passwd": ("read_file", {"path": "/etc/passwd"}),
            "read_outside": ("read_file", {"path": file}),
            "list_root": ("list_folder", {"path": "/root"}),
            "list_top": ("list_folder", {"path": "/"}),
            "list_processes": ("list_folder", {"path": "/proc"}),
            "write_outside": ("write_file", {"path": file}),
            "remove_outside": ("remove_file", {"path": file}),
            "empty_outside": ("empty_file", {"path": file}),
            "follow_a_link": ("follow_a_link", {"path": file}),
            "move_in": ("move_in", {"path": file}),
            "read_secret": ("read_variable", {"name": "API_SECRET"}),
            "read_environment_of_parent": ("read_memory", {"pid": pid}),
            "connect_tcp": ("connect_tcp", {"port": self.tcp.getsockname()[1]}),
            "send_udp": ("send_udp", {"port": self.udp.getsockname()[1]}),
            "connect_abstract": ("connect_unix", {"address": self.name}),
            "connect_path": ("connect_unix", {"address": str(self.path)}),
            "signal_parent": ("signal_process", {"pid": pid}),
            "trace_parent": ("trace_process", {"pid": pid}),
        }
        plain = (
            "endless_loop burn_cpu ignore_sigterm fork_bomb allocate leave_a_daemon fill_the_disk nest_folders"
            " open_files run_program become_another_program run_own_program become_root make_namespace memory_file"
            " io_uring print_much return_much close_everything close_the_answer answer_nonsense answer_another_shape"
            " leave_at_once crash leave huge_error endless_name not_json a_circle"
        )
        return with_arguments | {name: (name, {}) for name in plain.split()}


async def outcome(tools: Any, runner: ProcessRunner, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    made = getattr(tools, name)
    placed = made.placed(replace(made.sandbox, policy=os.environ.get("POLICY", "required")), runner)
    try:
        value = await use(placed, arguments, ToolContext("key", "agent"))
        return {"value": value if len(str(value)) < 1000 else f"{len(str(value))} characters"}
    except OpspawnError as error:
        return {"error": str(error), "type": error.error_type}


async def main(folder: Path, walls: list[str], only: list[str]) -> None:
    import hostile_tools as tools

    world = World(folder)
    runner = ProcessRunner(walls)
    calls = {name: call for name, call in world.calls().items() if not only or name in only}
    slots = asyncio.Semaphore(4)
    await outcome(tools, runner, "read_variable", {"name": "HOME"})  # the template starts, at nobody's expense

    async def one(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        async with slots:
            return await outcome(tools, runner, name, arguments)

    told = await asyncio.gather(*(one(*call) for call in calls.values()))
    after = await outcome(tools, runner, "read_variable", {"name": "HOME"})
    await runner.aclose()
    print(
        json.dumps(
            {
                "outcomes": dict(zip(calls, told, strict=True)),
                "after": after,
                "held": asdict(runner.held) if runner.held else None,
                "precious": world.file.read_text(),
                "udp": _received(world.udp),
                "files": len(os.listdir("/proc/self/fd")),
            }
        )
    )


def _received(one: socket.socket) -> bool:
    one.setblocking(False)
    try:
        return bool(one.recv(100))
    except BlockingIOError:
        return False


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    chosen, _, wanted = sys.argv[3].partition(":") if len(sys.argv) > 3 else (",".join(WALLS), "", "")
    asyncio.run(main(Path(sys.argv[2]), [w for w in chosen.split(",") if w], [w for w in wanted.split(",") if w]))
