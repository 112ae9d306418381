"""What is kept, as the settings `[retention]` say."""

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
