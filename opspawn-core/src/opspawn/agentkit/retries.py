"""When something that failed is tried again, and how long it waits before."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace

from opspawn.agentkit.log import backoff_s
from opspawn.agentkit.recorded import Tries
from opspawn.contracts.run import MAX_POSTPONEMENTS, Retry, RetryPolicy
from opspawn.contracts.tool import Effect
from opspawn.errors import InvalidInput

ONE_TRY = RetryPolicy()
MODEL_RETRY = RetryPolicy(attempts=4, initial_s=1.0, max_s=30.0, when=("transient", "timeout", "rate_limited"))
LONGEST_SLEEP_S = 100 * 365.25 * 86400
MAX_ATTEMPTS = 1000
#: After these errors nobody knows whether the call did its work.
_LEAVES_OPEN = {"timeout", "transient"}
_ASKS_TO_WAIT = {"rate_limited", "transient"}
#: Those who were told the same "come back in 60 s" do not come back in one crowd: each waits up to a tenth longer.
_SPREAD = 0.1
#: How long the first wait is for a service that says "at once" or no time at all, and each longer one, in seconds.
AT_ONCE_S, AT_ONCE_MOST_S = 0.5, 60.0


def policy_for(retry: Retry, error_type: str) -> RetryPolicy | None:
    """The policy for a failure of this class; None if it is final at once."""
    if isinstance(retry, Mapping):
        return retry.get(error_type)
    return retry if error_type in retry.when else None


def check_retry(retry: Retry | None) -> None:
    """Refuse what no retry can mean. Raises: InvalidInput: names the field."""
    if retry is None:
        return
    if isinstance(retry, RetryPolicy):
        return _check_policy(retry, "retry")
    if not isinstance(retry, Mapping) or not all(isinstance(one, RetryPolicy) for one in retry.values()):
        raise InvalidInput(
            f"retry is {retry!r:.80}.", remedy="Give a RetryPolicy, or one per class: {'transient': RetryPolicy(3)}."
        )
    for kind, policy in retry.items():
        _check_policy(policy, f"retry[{kind!r}]")


def _check_policy(policy: RetryPolicy, where: str) -> None:
    if isinstance(policy.attempts, bool) or not isinstance(policy.attempts, int):
        raise InvalidInput(f"{where}.attempts is {policy.attempts!r}.", remedy="Give a whole number, 1 to 1000.")
    if not 1 <= policy.attempts <= MAX_ATTEMPTS:
        raise InvalidInput(f"{where}.attempts is {policy.attempts}.", remedy="Give 1 to 1000; 1 never tries again.")
    for name in ("initial_s", "max_s", "factor", "patience_s"):
        value = getattr(policy, name)
        if not 0 <= value <= LONGEST_SLEEP_S:
            raise InvalidInput(f"{where}.{name} is {value!r}.", remedy="Give a number from 0 to 100 years in seconds.")
    when: object = policy.when
    if not isinstance(when, (tuple, list)) or not all(isinstance(kind, str) for kind in when):
        raise InvalidInput(f"{where}.when is {policy.when!r}.", remedy='Give classes of errors: ("transient",).')


def counted(error: Exception, effect: Effect, retry: Retry, tries: Tries, now: float) -> Tries | None:
    """The tries with this failure, which came `now`, added, and when to try again; None when the failure is final.

    A `once` effect is not tried again after a failure that leaves open whether it happened, whatever the policy says.
    """
    kind = getattr(error, "error_type", "error")
    policy = policy_for(retry, kind)
    if policy is None or (effect == "once" and kind in _LEAVES_OPEN):
        return None
    if asks_to_wait(error):
        return postponed(error, policy, tries, now)
    failures = tries.failures + 1
    if failures >= policy.attempts:
        return None
    return replace(tries, failures=failures, until=now + backoff_s(policy, failures))


def asks_to_wait(error: BaseException) -> bool:
    """Whether the one that failed said when to come back."""
    kind = getattr(error, "error_type", "error")
    return kind in _ASKS_TO_WAIT and getattr(error, "retry_after_s", None) is not None


def asked_s(error: BaseException) -> float | None:
    """How long the one that failed wants to be left alone, in seconds above 0; None where it says nothing of use."""
    asked = getattr(error, "retry_after_s", None)
    return float(asked) if isinstance(asked, int | float) and asked > 0 else None


def postponed(error: BaseException, policy: RetryPolicy, tries: Tries, now: float) -> Tries | None:
    """The tries, put off as `error` asks; None when that was asked too often, or for too long in all."""
    delay = asked_s(error)
    if delay is None:  # obeyed to the letter, it would be asked again without a pause
        delay = min(AT_ONCE_MOST_S, AT_ONCE_S * 2.0**tries.postponed)
    until = now + delay
    if tries.postponed >= MAX_POSTPONEMENTS or delay > policy.patience_s:
        return None
    first = tries.first or until
    if until - first > policy.patience_s:
        return None
    spread = random.uniform(0.0, _SPREAD * delay) if policy.jitter else 0.0
    return replace(tries, postponed=tries.postponed + 1, until=until + spread, first=first)
