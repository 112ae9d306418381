"""Every error that Opspawn raises, as one tree.

    OpspawnError
    ├── ConfigError            the configuration, the command line or the app file is wrong; nothing was started
    │   ├── PluginError        a plugin cannot be loaded, is unknown, or clashes with another
    │   └── AppError           the app file is missing, broken or holds no app
    ├── NotFound               no such agent, tool, workflow or task
    ├── InvalidInput           the caller's input does not fit; carries every fault with its place
    ├── StoreError             the store cannot do its work
    │   ├── Conflict           an expectation of a batch failed; nothing of it was applied
    │   ├── Limited            a rate is spent for now; carries when to come back; nothing was applied
    │   └── StoreUnusable      locked, read-only, from a newer version, or not a database at all
    ├── MemoryFailed           a long-term memory cannot do its work; nothing was changed
    │   ├── MemoryUnusable     locked, read-only, from a newer version, damaged, or without what it needs
    │   └── EmbedderMismatch   its vectors are of another embedder than the one that is configured
    ├── IdempotencyMismatch    the same idempotency key came with another request
    ├── InvalidTransition      the state of a task, an agent or a session does not allow what was asked
    ├── Refused                the sender of a message is not who it should be, or sent it before
    ├── StepError              something went wrong inside a run; `error_type` says which class of retry applies
    │   ├── ModelError         a model provider failed (transient, rate_limited, timeout, denied, ...)
    │   ├── ToolError          a tool failed for good
    │   │   └── ModelRetry     raised by a tool: the model should call it differently
    │   ├── Denied             a policy, or whoever was asked, said no
    │   ├── StepTimeout        a step or task ran out of its time
    │   ├── StepLimit          a planner reached its limit of steps
    │   ├── BudgetExceeded     what the run may use is used up; says which limit, and how far
    │   └── StepFailed         a failure read back from the journal, whose class is no longer at hand
    └── Halt                   the run must stop here; not a failure of its own
        ├── Interrupted        this process may not go on with the run (lease lost, store failed); another will
        ├── Lacking            this process lacks what the run needs, e.g. a tool; another may have it
        ├── JournalMismatch    the code asks for something else than the journal recorded
        └── InDoubt            a `once` effect began, and nobody knows whether it happened

`error_type` is the stable word that logs, events, retries and filters use; `code` the one in HTTP problem documents.
A message is one sentence that names the cause; `remedy`, if any, says what to do about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar


class OpspawnError(Exception):
    """The root of the tree; `str()` gives the message and the remedy on one line. `key` is the journal key of the step
    that failed with it, if one did.
    """

    code: ClassVar[str] = "error"
    error_type: str = "error"
    key: str | None = None

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}" if self.remedy else self.message


class ConfigError(OpspawnError):
    """The configuration is wrong: the message names file (or variable, or option) and key. Nothing was started."""

    code = "config"
    error_type = "config"


class PluginError(ConfigError):
    """A plugin is missing, broken, blocked, clashing or made for another core."""

    code = "plugin"


class AppError(ConfigError):
    """The app file is missing, cannot be imported, or holds no `App`."""

    code = "app"


class NotFound(OpspawnError):
    """No such thing; `what` is its sort ("agent", "task", ...), `name` what was asked for."""

    code = "not-found"
    error_type = "not_found"

    def __init__(self, what: str, name: str, *, known: Sequence[str] = (), remedy: str | None = None) -> None:
        if known and remedy is None:
            remedy = f"Known: {', '.join(sorted(known))}."
        super().__init__(f"There is no {what} {name!r}.", remedy=remedy)
        self.what = what
        self.name = name
        self.known = tuple(known)


class InvalidInput(OpspawnError):
    """The input does not fit; `faults` has one line per fault, each naming its place ("inputs.depth: ...").

    Where one argument is at fault, `argument` is its name in Python, and the message goes on from that name
    ("is -1; ..."). The command line and the API put in the name by which their callers know it.
    """

    code = "invalid-input"
    error_type = "invalid_input"

    def __init__(
        self, message: str, *, faults: Sequence[str] = (), remedy: str | None = None, argument: str | None = None
    ) -> None:
        super().__init__(message if argument is None else f"{argument} {message}", remedy=remedy)
        self.faults = tuple(faults)
        self.argument = argument

    def named(self, name: str) -> InvalidInput:
        """The same about the same argument, called otherwise."""
        if self.argument is None:
            return self
        message = self.message.removeprefix(f"{self.argument} ")
        return InvalidInput(message, faults=self.faults, remedy=self.remedy, argument=name)


class StoreError(OpspawnError):
    """The store could not do its work; nothing of the failed call was applied unless the text says otherwise."""

    code = "store"
    error_type = "store"


class Conflict(StoreError):
    """An expectation of a batch failed (version, fence, or existence); nothing of the batch was applied."""

    code = "conflict"
    error_type = "conflict"


class Limited(StoreError):
    """A rate is spent for now; nothing of the batch was applied. `retry_after_s` says when it will do, in seconds."""

    code = "limited"
    error_type = "rate_limited"

    def __init__(self, key: str, retry_after_s: float) -> None:
        super().__init__(f"The rate {key!r} is spent for another {retry_after_s:.3f} s.")
        self.key = key
        self.retry_after_s = retry_after_s


class StoreUnusable(StoreError):
    """The store cannot be opened: locked, read-only, from a newer version, corrupt, or not a database."""

    code = "store-unusable"


class MemoryFailed(OpspawnError):
    """A long-term memory could not do its work; nothing was changed."""

    code = "memory"
    error_type = "memory"


class MemoryUnusable(MemoryFailed):
    """A memory cannot be opened: locked, read-only, from a newer version, damaged, or without what it needs."""

    code = "memory-unusable"


class EmbedderMismatch(MemoryFailed):
    """A memory has vectors of another embedder, or of another length, which do not compare with those of the one that
    is configured.
    """

    code = "embedder-mismatch"

    def __init__(self, kept: str, given: str) -> None:
        super().__init__(
            f"This memory has vectors of {kept}, and the configured embedder is {given}.",
            remedy="Configure the former, or give all items new vectors: 'opspawn memory reembed'.",
        )
        self.kept = kept
        self.given = given


class IdempotencyMismatch(OpspawnError):
    """The same idempotency key was used before with another request."""

    code = "idempotency-mismatch"
    error_type = "invalid_input"


class InvalidTransition(OpspawnError):
    """The state of a task, an agent or a session does not allow what was asked, e.g. to retry a task that runs."""

    code = "invalid-transition"
    error_type = "invalid_transition"


class Refused(OpspawnError):
    """A message is not signed as it should be, is too old, or came before."""

    code = "refused"
    error_type = "denied"


class StepError(OpspawnError):
    """A failure inside a run. `error_type` selects the retry policy.
    `retry_after_s` is when the service that failed wants to be asked again, in seconds, if it said so. `reason` is a
    planner's word for why it stopped: one of `opspawn.contracts.planner.REASONS`.
    """

    code = "step"
    error_type = "error"
    retry_after_s: float | None = None
    reason: str | None = None


class ModelError(StepError):
    """A model provider failed.

    Args:
        error_type: `transient` (connection, 5xx, broken stream), `rate_limited` (too fast, or the vendor is
            overloaded), `timeout`, `invalid_output`, `denied` (no or wrong key, no credit), `context_overflow` (more
            than the model can read), `content_filter` (the vendor will not have it), or `permanent` (the request itself
            is refused).
        retry_after_s: what the provider asked for, in seconds.
        status: the HTTP status, where there was one.
        request_id: the provider's id of the request, for its support.
    """

    code = "model"

    def __init__(
        self,
        message: str,
        *,
        error_type: str = "permanent",
        retry_after_s: float | None = None,
        status: int | None = None,
        request_id: str | None = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.error_type = error_type
        self.retry_after_s = retry_after_s
        self.status = status
        self.request_id = request_id


class ToolError(StepError):
    """A tool failed and says so itself; the message is shown to the model.

    A tool that a service asked to come back later says `error_type="rate_limited"` and `retry_after_s`: its call is put
    off until then, which costs no try and no slot.
    """

    code = "tool"
    error_type = "tool_error"

    def __init__(
        self,
        message: str,
        *,
        error_type: str | None = None,
        retry_after_s: float | None = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(message, remedy=remedy)
        if error_type is not None:
            self.error_type = error_type
        self.retry_after_s = retry_after_s


class ModelRetry(ToolError):
    """Raised by a tool to have the model call it differently; the message says why and what would fit.

    Where no model asked (`ctx.call`, a workflow), and when the tool's `max_retries` is used up, it is a `ToolError`.
    """

    error_type = "retry"


class Denied(StepError):
    """A policy, or a human whom it had asked, does not allow what a run was about to do. The message is told to the
    model.
    """

    code = "denied"
    error_type = "denied"
    #: What the journal tells of it.
    detail: dict[str, Any] | None = None


class StepTimeout(StepError):
    """A step, tool or task ran longer than its `timeout_s`."""

    code = "timeout"
    error_type = "timeout"


class StepLimit(StepError):
    """A planner reached its limit of steps without a final answer, or stopped a model that turned in circles."""

    code = "step-limit"
    error_type = "budget"
    reason = "step_limit"


class BudgetExceeded(StepError):
    """What the run may use does not suffice for its next act; `limit` says of what, `allowed` and `spent` how far."""

    code = "budget-exceeded"
    error_type = "budget"
    reason = "budget"

    def __init__(
        self,
        message: str,
        *,
        limit: str | None = None,
        allowed: float | None = None,
        spent: float | None = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.limit = limit
        self.allowed = allowed
        self.spent = spent


class StepFailed(StepError):
    """A recorded failure, read back from the journal; message and `error_type` are those of the first time."""

    def __init__(self, message: str, *, error_type: str = "error") -> None:
        super().__init__(message)
        self.error_type = error_type


class Halt(OpspawnError):
    """The run stops here, which is no failure of its own: planners and tools must let it through."""

    code = "halt"
    error_type = "halt"


class Interrupted(Halt):
    """This process may not go on with the run: its lease is lost, the run was closed, or the store failed."""

    code = "interrupted"
    error_type = "interrupted"


class Lacking(Halt):
    """This process has no `name` of a `kind` ("tool", "agent") that the run needs: its code is another version than
    that which accepted the run. The task goes back, and a worker that has it goes on.
    """

    code = "lacking"
    error_type = "lacking"

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(
            f"This worker has no {kind} {name!r}, which the run needs.",
            remedy=f"Start a worker whose app has the {kind}, or cancel the task.",
        )
        self.kind = kind
        self.name = name


class JournalMismatch(Halt):
    """On resuming, the code asked at `key` for something else than the journal recorded there."""

    code = "journal-mismatch"
    error_type = "journal_mismatch"

    def __init__(self, key: str, then: str, now: str) -> None:
        super().__init__(
            f"Step {key!r} was recorded as {then}, and the code now asks for {now}.",
            remedy="Restore the code that began this run, then 'opspawn tasks resume'; or cancel it and run it anew.",
        )
        self.key = key


class InDoubt(Halt):
    """A `once` effect at `key` began and its outcome was never recorded."""

    code = "in-doubt"
    error_type = "in_doubt"

    def __init__(self, key: str, name: str, arguments: Any, *, kind: str = "step") -> None:
        super().__init__(
            f"{name!r} began, its end was never recorded, and nothing tells whether it happened.",
            remedy="See 'opspawn tasks show', then 'opspawn tasks resolve'.",
        )
        self.key = key
        self.name = name
        self.arguments = arguments
        self.kind = kind
        self.note: str | None = None
