"""The process of its own in which a worker runs a task that is suspected to kill its workers.

Started as `python -m opspawn.cli.alone`, it reads one line of JSON from standard input: the app, the configuration, and
the lease that the worker holds. It claims nothing, writes under that lease, and dies when its standard input ends: then
the worker has died.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from opspawn.app import load_app
from opspawn.cli.assemble import on_signals, start_logs
from opspawn.config.carrying import loaded_from_json
from opspawn.declarations import agents_of
from opspawn.host import Host
from opspawn.ops.run.executor import WorkerOptions
from opspawn.ops.run.poison import BEGAN


def main() -> int:
    """Run the task of the order. Exit code 0: the lease was ended in order, or somebody else has it."""
    order = json.loads(sys.stdin.buffer.readline())
    # What the code of the task prints must not be taken for our word, and its reads must not take our pipe.
    told, orders = os.dup(1), os.dup(0)
    os.dup2(2, 1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    threading.Thread(target=_die_with_the_worker, args=(orders,), daemon=True).start()
    return asyncio.run(_live(order, told))


def _die_with_the_worker(orders: int) -> None:
    while os.read(orders, 4096):
        pass
    os._exit(1)


async def _live(order: dict[str, Any], told: int) -> int:
    loaded = loaded_from_json(order["loaded"])
    start_logs(loaded)
    app = load_app(order["app"], Path(order["folder"])).with_agents(agents_of(loaded))
    options = WorkerOptions(**order["options"])
    async with Host.open(app, loaded=loaded, options=options, worker=False, runs=True) as host:
        task = await host.task(order["task"])
        if (task.token, task.owner) != (order["token"], order["worker"]):
            return 0
        on_signals(host.stop)
        os.write(told, BEGAN)
        await host.work_alone(task, order["worker"], options, order["ahead_s"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
