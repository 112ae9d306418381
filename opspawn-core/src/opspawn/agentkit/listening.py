"""Pieces of an answer on their way to a listener, of which a failed call makes the first void."""

from __future__ import annotations

from opspawn.contracts.model import ModelDelta, OnDelta


class Listener:
    """Hands pieces on, and remembers whether there were any since the last begin."""

    def __init__(self, on_delta: OnDelta) -> None:
        self._on_delta = on_delta
        self._began = False

    def __call__(self, delta: ModelDelta) -> None:
        self._began = delta.kind != "restart"
        self._on_delta(delta)

    def begin(self) -> None:
        """A call begins: what a failed one before it said is void."""
        if self._began:
            self(ModelDelta("restart", ""))
