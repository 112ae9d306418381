"""When and how often something that failed is tried again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When and how often a failed step or task is tried again.

    A service that says when to come back (`retry_after_s` of an error that is "rate_limited" or "transient") is obeyed
    instead, which costs no try; more than `MAX_POSTPONEMENTS` times, or `patience_s` seconds in all, is a refusal. One
    that says 0, or no time, is asked again after a wait that doubles from half a second to a minute.

    Attributes:
        attempts: tries in all, 1 to 1,000; 1 means never again.
        initial_s, max_s: seconds before the second try, and the longest wait between two tries.
        factor: what each wait is multiplied by for the next; 1 keeps it constant.
        jitter: wait a random time between 0 and the computed one, so that failed steps do not return in a crowd.
        when: the `error_type`s that are worth another try; any other failure is final at once. Opspawn's own are
            "transient", "rate_limited", "timeout", "invalid_output", "tool_error", "denied" and "budget"; exceptions
            that are nobody's class are "error".
        patience_s: how long in all, in seconds, a step may be put off by services that say when to come back.
    """

    attempts: int = 1
    initial_s: float = 1.0
    max_s: float = 60.0
    factor: float = 2.0
    jitter: bool = True
    when: tuple[str, ...] = ("transient", "rate_limited", "timeout", "tool_error")
    patience_s: float = 86_400.0


#: One policy, or one per class of error: `{"transient": RetryPolicy(5), "invalid_output": RetryPolicy(2)}`. There the
#: key says when, and not the policy's `when`; `attempts` counts the tries of all classes.
Retry = RetryPolicy | Mapping[str, RetryPolicy]

#: A service that says "come back later" this often in a row to one step has refused it.
MAX_POSTPONEMENTS = 100
