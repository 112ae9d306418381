"""Tasks that kill the process that runs them, among good ones: the good ones end, the poison is dead, and the worker
that finds it out survives.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from ._process import OPSPAWN, Process, Serve, wait_for

APP = """
import asyncio, ctypes, os, signal
from opspawn import App


async def poison(ctx):
    await asyncio.sleep(0.2)
    if ctx.input == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if ctx.input == "segfault":
        ctypes.string_at(0)
    os._exit(3)


async def good(ctx):
    async def act(n):
        await asyncio.sleep(0.05)
        return n

    return [await ctx.step("act", act, n) for n in range(20)]


app = App(functions={"poison": poison, "good": good})
"""
SUBMIT = """
import asyncio
from pathlib import Path
from opspawn.app import load_app
from opspawn.host import Host


async def main():
    async with Host.open(load_app("app:app", Path.cwd()), worker=False) as host:
        for what in ("kill", "segfault", "exit"):
            print((await host.submit("function/poison", what)).id)
        for n in range(5):
            print((await host.submit("function/good", n)).id)


asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.usefixtures("store")
def test_poison_among_good_tasks_ends_dead_and_the_good_ones_end_well(tmp_path: Path) -> None:
    """F16; named guard: the try in a process of its own."""
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "submit.py").write_text(SUBMIT)
    (tmp_path / "opspawn.toml").write_text('app = "app:app"\n[worker]\npoll_s = 0.05\n')
    python = str(Path(OPSPAWN).with_name("python"))
    with Process([python, "submit.py"], tmp_path) as submitting:
        submitting.ended()
        ids = submitting.output.split()

    with Serve(tmp_path, None, "--no-worker") as server:

        def ended_all() -> bool:
            return all(server.task(id)["state"] in ("succeeded", "failed") for id in ids)

        deaths = 0
        while not ended_all():
            with Process([OPSPAWN, "worker"], tmp_path) as worker:
                wait_for(lambda: not worker.alive or ended_all(), "an end", 60)
                if not worker.alive:
                    deaths += 1
                output = worker.output
            assert deaths <= 3, f"the poison was let into a worker too often:\n{output}"
        ended = [server.task(id) for id in ids]

    assert [task["error"]["type"] for task in ended[:3]] == ["poison"] * 3
    for task, words in zip(ended, ("killed by SIGKILL", "killed by SIGSEGV", "ended with exit code 3"), strict=False):
        assert words in task["error"]["message"]
    assert [task["result"] for task in ended[3:]] == [list(range(20))] * 5
    assert deaths == 3
