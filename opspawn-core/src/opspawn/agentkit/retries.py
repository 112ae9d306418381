"""When a step that failed is tried again, and how long it waits before."""

from __future__ import annotations

from dataclasses import replace

from opspawn.agentkit.log import Tries, backoff_s
from opspawn.contracts.run import RetryPolicy
from opspawn.contracts.tool import Effect
from opspawn.errors import ModelError

ONE_TRY = RetryPolicy()
MODEL_RETRY = RetryPolicy(attempts=4, initial_s=1.0, max_s=30.0, when=("transient", "timeout", "rate_limited"))
#: A provider that answers "come back later" this often in a row for one call has refused it.
MAX_POSTPONEMENTS = 20
LONGEST_SLEEP_S = 100 * 365.25 * 86400
#: After these errors nobody knows whether the call did its work.
_LEAVES_OPEN = {"timeout", "transient"}


def counted(error: Exception, effect: Effect, policy: RetryPolicy, tries: Tries, now: float) -> Tries | None:
    """The tries with this failure, which came `now`, added, and when to try again; None when the failure is final.

    A `once` effect is not tried again after a failure that leaves open whether it happened, whatever the policy says.
    """
    kind = getattr(error, "error_type", "error")
    if kind not in policy.when or (effect == "once" and kind in _LEAVES_OPEN):
        return None
    if isinstance(error, ModelError) and error.error_type == "rate_limited" and error.retry_after_s is not None:
        if tries.postponed >= MAX_POSTPONEMENTS:
            return None
        delay = min(max(0.0, error.retry_after_s), LONGEST_SLEEP_S)
        return replace(tries, postponed=tries.postponed + 1, until=now + delay)
    failures = tries.failures + 1
    if failures >= policy.attempts:
        return None
    return replace(tries, failures=failures, until=now + backoff_s(policy, failures))
