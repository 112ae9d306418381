"""What a caller may say of a task beside its handler and its input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from opspawn.contracts.budget import Budget
from opspawn.contracts.limit import Limit
from opspawn.contracts.run import Retry


class TaskOptions(TypedDict, total=False):
    """Options of a task that is accepted.

    Attributes:
        id: a new one by default. queue: which workers take it; "default".
        agent: on whose behalf it runs. session: a new one by default.
        idempotency_key: the same key with the same request gives the task of the first time.
        priority: a head start of 60 s per unit. strict: priority counts before any waiting time.
        delay_s: earliest start, in seconds from now.
        timeout_s: seconds for one attempt of the task. idle_timeout_s: seconds without a finished step, a streamed
            piece or `ctx.progress` after which an attempt has failed.
        deadline_s: seconds from now in which it and everything under it must have ended.
        retry: for the whole task; None tries once, beside the retries of its steps.
        fallback: the handler that is asked when no attempt is left. It gets `{"input": ..., "error": {...}}`, and its
            result becomes the task's; if it fails, too, the task fails with both errors.
        labels: marks of the caller's own, by which tasks are found. Children have them, too.
        budget: what it and everything under it may use.
        overrides: what the run of an agent does differently: model, planner, planner_settings, max_steps, settings.
        limits: how many tasks may run at once under a name, beside the limits of the handler.
    """

    id: str | None
    queue: str
    agent: str | None
    session: str | None
    idempotency_key: str | None
    priority: int
    strict: bool
    delay_s: float
    timeout_s: float | None
    idle_timeout_s: float | None
    deadline_s: float | None
    retry: Retry | None
    fallback: str | None
    labels: Mapping[str, str] | None
    limits: Sequence[Limit]
    budget: Budget | None
    overrides: Mapping[str, Any] | None
