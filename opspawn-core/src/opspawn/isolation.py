"""How a worker of this app starts a process of its own for one task: the same app, the same configuration, again."""

from __future__ import annotations

import sys
from dataclasses import asdict

from opspawn.app import App
from opspawn.config import Loaded
from opspawn.config.carrying import loaded_to_json
from opspawn.contracts.store import Lease, Store
from opspawn.ops.run.executor import WorkerOptions
from opspawn.ops.run.poison import Cell, Isolate

_COMMAND = (sys.executable, "-m", "opspawn.cli.alone")


def isolation(app: App, loaded: Loaded, store: Store, options: WorkerOptions) -> Isolate | str:
    """What makes such a process; or the sentence that says why none can be made."""
    if not getattr(store, "shared", True):
        return "It cannot be tried in a process of its own: the store is in the memory of this one."
    origin = app.origin
    if origin is None:
        return "It cannot be tried in a process of its own: the app was made by the program that runs it."

    def isolate(lease: Lease, ahead_s: float) -> Cell:
        order = {
            "app": origin[0],
            "folder": str(origin[1]),
            "loaded": loaded_to_json(loaded),
            "options": {**asdict(options), "queues": list(options.queues)},
            "task": lease.task.id,
            "token": lease.token,
            "worker": lease.task.owner,
            "ahead_s": ahead_s,
        }
        return Cell(_COMMAND, order)

    return isolate
