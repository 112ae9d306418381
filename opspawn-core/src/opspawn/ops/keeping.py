"""What is kept, as the settings `[retention]` say, and what was deleted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from opspawn.contracts.store import Task, TaskState


@dataclass(frozen=True, slots=True)
class Keep:
    """What stays: trees that ended less than `ended_s` seconds ago (`failed_s` for those that failed; None: however old
    they are), and of all trees that have ended the newest `at_most`.
    """

    ended_s: float | None = None
    failed_s: float | None = None
    at_most: int | None = None

    @property
    def everything(self) -> bool:
        """Whether nothing is ever deleted."""
        return self.ended_s is None and self.failed_s is None and self.at_most is None

    def since(self, root: Task, now: datetime) -> datetime | None:
        """The time up to which a tree with this root must have ended to be deleted by its age; None: it is kept."""
        seconds = self.failed_s if root.state is TaskState.FAILED and self.failed_s is not None else self.ended_s
        return None if seconds is None else now - timedelta(seconds=seconds)


@dataclass(slots=True)
class Pruned:
    """What was deleted, or with `dry_run` would be; `held` counts trees that stay since something builds on them.

    `records` are questions, signals, keys, sessions and definitions; `events` those that belong to no task.
    """

    trees: int = 0
    tasks: int = 0
    records: int = 0
    held: int = 0
    events: int = 0
