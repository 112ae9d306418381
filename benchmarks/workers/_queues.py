"""What the workers of the queue benchmark share: a server of their own, and how they are measured.

Standard library only. A worker of the queue runs in a process of its own (`--serve`), this one asks for tasks and waits
for their results. What is timed begins when the first of a backlog is asked for and ends with the last result; the CPU
of the server is its own, and commands are counted as clients send them, without those that scripts call.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

#: How many callers ask at once.
LANES = 50


class Bench:
    """The settings, and the server while the block lasts."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = json.loads(sys.argv[1])
        self.folder = Path(self.values["folder"])
        self.tasks: int = self.values["tasks"]
        self.workers: int = self.values.get("workers", 1)
        self.port: int = self.values.get("port") or _free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.pids: list[int] = []

    @property
    def serving(self) -> bool:
        """Whether this process is to be a worker."""
        return len(sys.argv) > 2

    @contextmanager
    def server(self) -> Iterator[None]:
        options = {"port": str(self.port), "bind": "127.0.0.1", "dir": str(self.folder), "save": "",
                   "appendonly": "yes", "appendfsync": "everysec"}  # fmt: skip
        command = [self.values["server"]] + [word for item in options.items() for word in (f"--{item[0]}", item[1])]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while not _answers(self.port):
                time.sleep(0.01)
            yield
        finally:
            process.kill()
            process.wait()

    @contextmanager
    def fleet(self, command: list[str] | None = None) -> Iterator[None]:
        """The workers, each a process of this same script, or of `command`."""
        values = json.dumps({**self.values, "port": self.port})
        command = command or [sys.executable, sys.argv[0], values, "--serve"]
        with (self.folder / "workers.log").open("wb") as log:
            ones = [subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log) for _ in range(self.workers)]
            self.pids = [one.pid for one in ones]
            try:
                yield
            finally:
                for one in ones:
                    one.kill()
                for one in ones:
                    one.wait()

    def cpu(self) -> float:
        """The processor seconds of this process and of the workers; 0 where the system does not tell of theirs."""
        try:
            stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in self.pids]
        except OSError:
            return 0.0
        ticks = sum(int(stat[11]) + int(stat[12]) for stat in stats)
        return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")

    def sent(self, seconds: float) -> int:
        """How many commands the workers send within a time: not those of this process, which asks."""
        end, data, own = time.monotonic() + seconds, b"", _own_ports()
        with socket.create_connection(("127.0.0.1", self.port), timeout=0.2) as connection:
            connection.sendall(b"MONITOR\r\n")
            while time.monotonic() < end:
                with suppress(TimeoutError):
                    data += connection.recv(65536)
        lines = [line for line in data.split(b"\r\n")[1:] if line.startswith(b"+") and b" lua] " not in line]
        own |= _own_ports()
        return sum(line.partition(b"] ")[0].rpartition(b":")[2] not in own for line in lines)

    def info(self) -> dict[str, float]:
        """Figures of the server."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(b"INFO everything\r\n")
            data = b""
            while not data.endswith(b"\r\n\r\n") and b"errorstat_end" not in data and len(data) < 1 << 20:
                piece = connection.recv(65536)
                data += piece
                head, _, rest = data.partition(b"\r\n")
                if head.startswith(b"$") and len(rest) >= int(head[1:]):
                    break
        found = {}
        for line in data.decode(errors="replace").splitlines():
            name, _, value = line.partition(":")
            try:
                found[name] = float(value)
            except ValueError:
                continue
        return found


async def measure(bench: Bench, ask: Callable[[int], Awaitable[Any]], wait: Callable[[list[Any]], Awaitable[None]],
                  pick: Callable[[], Awaitable[float]] | None = None,
                  run_at: Callable[[list[Any]], Awaitable[list[float]]] | None = None) -> dict[str, float]:  # fmt: skip
    """Figures: tasks asked for and done, the pick-up of single ones by an idle worker, and a backlog worked off."""
    await wait([await ask(n) for n in range(50)])  # warm
    figures: dict[str, float] = {}
    await asyncio.sleep(1.0)
    figures["idle_commands_per_s"] = await asyncio.to_thread(bench.sent, 4.0) / 4.0 / bench.workers
    if pick is not None:
        for name, pauses in (("pickup", [0.002] * 200), ("rested", [0.02 + (n % 7) * 0.011 for n in range(60)])):
            times = sorted([await _after(pause, pick) for pause in pauses])
            figures[f"{name}_p50_ms"] = times[len(times) // 2]
            figures[f"{name}_p95_ms"] = times[int(len(times) * 0.95)]
    before, used, began = bench.info(), bench.cpu(), time.perf_counter()
    await wait(await asked(bench.tasks, ask))
    took, used, after = time.perf_counter() - began, bench.cpu() - used, bench.info()
    cpu = sum(after[name] - before[name] for name in ("used_cpu_user", "used_cpu_sys"))
    figures["tasks_per_s"] = bench.tasks / took
    figures["redis_us_per_task"] = cpu * 1e6 / bench.tasks
    figures["python_us_per_task"] = used * 1e6 / bench.tasks
    if run_at is not None:
        figures["backlog_tasks_per_s"] = await backlog(bench, ask, run_at)
    return figures


async def _after(pause_s: float, pick: Callable[[], Awaitable[float]]) -> float:
    """The milliseconds of one pick-up after a pause: the longer, the colder the processor and its caches."""
    await asyncio.sleep(pause_s)
    return await pick() * 1000


async def asked(tasks: int, ask: Callable[[int], Awaitable[Any]]) -> list[Any]:
    """Ask for tasks, by all callers at once; what each was answered."""
    handles: list[Any] = []
    numbers = iter(range(tasks))

    async def lane() -> None:
        for number in numbers:
            handles.append(await ask(number))

    await asyncio.gather(*(lane() for _ in range(LANES)))
    return handles


async def backlog(
    bench: Bench, ask: Callable[[int], Awaitable[Any]], run_at: Callable[[list[Any]], Awaitable[list[float]]]
) -> float:
    """Tasks per second that the workers work off alone: they are stopped until all have been asked for.

    Counted from when a tenth has run, by the times at which they ran, so that neither asking nor waiting is in it.
    """
    for pid in bench.pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        handles = await asked(bench.tasks, ask)
    finally:
        for pid in bench.pids:
            os.kill(pid, signal.SIGCONT)
    times = sorted(await run_at(handles))
    skipped = len(times) // 10
    return (len(times) - skipped) / (times[-1] - times[skipped])


def report(figures: dict[str, float], packages: tuple[str, ...]) -> None:
    """Print the reply that the harness reads."""
    from importlib.metadata import version

    summary = f"{figures['tasks_per_s']:,.0f} tasks/s, {figures['redis_us_per_task']:.0f} µs of Redis CPU per task"
    summary += f" and {figures['python_us_per_task']:.0f} µs of Python"
    versions = {name: version(name) for name in packages}
    print(json.dumps({"summary": summary, **figures, "versions": versions, "facts": {"appendfsync": "everysec"}}))
    sys.stdout.flush()


def _own_ports() -> set[bytes]:
    """The ports of this process's connections, as far as the system tells."""
    try:
        held = {os.readlink(one.path) for one in os.scandir("/proc/self/fd") if one.is_symlink()}
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    except OSError:
        return set()
    return {b"%d" % int(row[1].rpartition(":")[2], 16) for row in rows if f"socket:[{row[9]}]" in held}


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False
