"""What a broken promise is called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was not kept.

    Attributes:
        rule: a name from `RULES`. task: whose journal shows it. positions: of the events that show it, in order.
        text: a sentence that says what happened, without the task.
    """

    rule: str
    task: str
    text: str
    positions: Sequence[int] = ()

    def __str__(self) -> str:
        at = f" (positions {', '.join(map(str, self.positions))})" if self.positions else ""
        return f"{self.rule}: task {self.task} {self.text}{at}."


class InvariantsBroken(AssertionError):
    """Promises were not kept; `violations` are all that were found."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        shown = [str(violation) for violation in violations[:20]]
        if more := len(violations) - len(shown):
            shown.append(f"and {more} more")
        super().__init__("\n".join([f"{len(violations)} promises were broken:", *shown]))
        self.violations = list(violations)
