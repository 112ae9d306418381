"""Which signals a task has got: one record for each id that a sender chose, made in the commit that delivers it.

So a signal that is sent again, because its reply was lost, is neither journaled nor waking a second time. The marks of
a tree go with it: see `ops.retention`.
"""

from __future__ import annotations

from opspawn.contracts.store import Put, Record, Task
from opspawn.ops.ids import derived_id

KIND = "signal"


def signal_mark(task: Task, id: str) -> Put:
    """What a commit that delivers a signal makes; a Conflict says that it came before."""
    return Put(Record(KIND, derived_id(task.id, id), {"task": task.id, "id": id}, fields={"root": task.root}), expect=0)
