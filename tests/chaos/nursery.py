"""Starts real workers quickly: imports once, and forks a process for each `opspawn worker` that is asked for.

Reads one JSON object a line: `{"env": {...}}` starts a worker in the current folder and answers its process id. When
its own input ends, it kills what is left. A started worker is its child; who has died is answered to `{"dead": 1}`.
"""

from __future__ import annotations

import asyncio
import faulthandler
import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from .namespaces import enter


def _preload() -> None:
    """Import what a worker imports, so that a restart costs no second of a small machine."""
    import opspawn.cli.serve
    import opspawn.ops.workflows.expressions
    import opspawn.stores.sqlite
    import opspawn.wakers.local  # noqa: F401

    if 'store = "redis"' in Path("opspawn.toml").read_text(encoding="utf-8"):
        import opspawn_store_redis.doorbells
        import opspawn_store_redis.store  # noqa: F401


def _work(env: dict[str, str]) -> None:
    """Become a worker, as its command does; never returns."""
    os.environ.update(env)
    os.setsid()
    if network := env.get("CHAOS_NETWORK"):
        enter(int(network))
    null = os.open(os.devnull, os.O_RDWR)
    log = os.open("workers.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", closefd=False)
    signal.signal(signal.SIGUSR1, _tell_where)
    from opspawn.cli import main

    code: Any = 1
    try:
        main(["worker"])
        code = 0
    except SystemExit as error:
        code = error.code
    finally:
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


def _tell_where(number: int, frame: FrameType | None) -> None:
    """Write into the log where every thread and every task is: of a worker that does not stop."""
    faulthandler.dump_traceback(2, all_threads=True)
    for task in asyncio.all_tasks():
        task.print_stack(file=sys.stderr)
    sys.stderr.flush()


def serve() -> None:
    """Answer until the input ends."""
    _preload()
    children: set[int] = set()
    for line in sys.stdin:
        order = json.loads(line)
        answer: Any = None
        if "env" in order:
            child = os.fork()
            if child == 0:
                _work(order["env"])
            children.add(child)
            answer = child
        else:
            answer = {}
            for child in list(children):
                pid, status = os.waitpid(child, os.WNOHANG)
                if pid:
                    children.discard(pid)
                    answer[str(pid)] = os.waitstatus_to_exitcode(status)
        print(json.dumps(answer), flush=True)
    for child in children:
        os.kill(child, signal.SIGKILL)


if __name__ == "__main__":
    serve()
