"""Scopes: the parts of a run within which calls are counted, so that each gets a key that a replay finds again."""

from __future__ import annotations

from contextvars import ContextVar

from opspawn.errors import StepFailed


class Scope:
    """A part of a run within which names are counted; `gather` opens one per branch, so that branches may race."""

    __slots__ = ("busy", "counts", "prefix", "run")

    def __init__(self, run: object, prefix: str) -> None:
        self.run = run
        self.prefix = prefix
        self.counts: dict[str, tuple[str, int]] = {}  # by label: the key of its first call, and how many there were
        self.busy: set[str] = set()

    def enter(self, label: str) -> str:
        """The key of the next call named `label`, which is in flight until `leave`."""
        if label in self.busy:
            raise StepFailed(
                f"{label!r} was called again while a call of that name is in flight: "
                "give one a key=, or use ctx.gather.",
                error_type="invalid_input",
            )
        self.busy.add(label)
        key, ordinal = self.counts.get(label) or (f"{self.prefix}{_quoted(label)}", 0)
        self.counts[label] = key, ordinal + 1
        return f"{key}#{ordinal}" if ordinal else key

    def leave(self, label: str) -> None:
        """The call named `label` has ended."""
        self.busy.discard(label)


def _quoted(label: str) -> str:
    """The label, changed only where it could be taken for the ordinals or the scopes that keys are made of."""
    if "#" in label or "%" in label:
        label = label.replace("%", "%25").replace("#", "%23")
    if label.startswith(("gather/", "act/")):
        label = label.replace("/", "%2F", 1)
    return label


#: The scope of the branch that runs now.
current: ContextVar[Scope | None] = ContextVar("opspawn_scope", default=None)
