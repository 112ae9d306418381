"""The policies of a run, asked as one: the strictest answer counts, and a policy that fails forbids."""

from __future__ import annotations

import asyncio
import copy
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, cast, get_args

from opspawn.agentkit.failures import FAULTS, named
from opspawn.contracts.policy import Considered, Decider, Decision, Verdict
from opspawn.errors import ConfigError, Halt

#: How long a policy may think, in seconds.
PATIENCE_S = 30.0
_STRICTNESS = {"allow": 0, "ask": 1, "deny": 2}
_DECISIONS = get_args(Decision)
_FIXED = frozenset((str, int, float, bool, type(None)))


@dataclass(frozen=True, slots=True)
class Ruling:
    """What the policies say together: the verdict, and which of them said so."""

    verdict: Verdict
    policy: str = ""


ALLOWED = Ruling(Verdict("allow"))


class _Function:
    """A plain function as a policy."""

    def __init__(self, function: Callable[[Considered], Any]) -> None:
        self.name = getattr(function, "__name__", type(function).__name__)
        self._function = function

    def decide(self, considered: Considered) -> Any:
        return self._function(considered)


class Policies:
    """Several policies. False where there are none: then nothing is asked."""

    def __init__(self, deciders: Sequence[Decider] = ()) -> None:
        self._deciders = tuple(deciders)

    def __bool__(self) -> bool:
        return bool(self._deciders)

    def __add__(self, other: Policies) -> Policies:
        return Policies((*self._deciders, *other._deciders)) if other else self

    async def decide(self, considered: Considered) -> Ruling:
        """The strictest ruling. Several that ask are asked as one: all reasons, all approvers, the earliest expiry."""
        seen = _copied(considered)
        strictest = 0
        rulings: list[Ruling] = []
        for decider in self._deciders:
            verdict = _asked(decider, seen)
            if verdict is None:
                continue
            if not isinstance(verdict, Verdict):
                verdict = await verdict
            strictness = _STRICTNESS[verdict.decision]
            if strictness > strictest:
                strictest, rulings = strictness, []
            if strictness and strictness == strictest:
                rulings.append(Ruling(verdict, decider.name))
        return _together(rulings) if rulings else ALLOWED


def _copied(considered: Considered) -> Considered:
    return Considered(
        considered.act,
        considered.name,
        _apart(considered.arguments),
        considered.agent,
        considered.effect,
        considered.task,
        considered.session,
        considered.deps,
        considered.messages,
    )


def _apart(value: Any) -> Any:
    """A deep copy, without its long way for what JSON has."""
    kind = type(value)
    if kind is dict:
        return {name: one if type(one) in _FIXED else _apart(one) for name, one in value.items()}
    if kind is list:
        return [one if type(one) in _FIXED else _apart(one) for one in value]
    return value if kind in _FIXED else copy.deepcopy(value)


def as_decider(given: Any) -> Decider:
    """A policy, or a function as one. Raises: ConfigError: it is neither."""
    if callable(getattr(given, "decide", None)) and isinstance(getattr(given, "name", None), str):
        return cast(Decider, given)
    if callable(given) and not isinstance(given, type):
        return _Function(given)
    raise ConfigError(f"{given!r:.80} is no policy.", remedy="Give Policy([...]), or a function of what is considered.")


def _asked(decider: Decider, considered: Considered) -> Verdict | Coroutine[Any, Any, Verdict] | None:
    """What one policy says, or is about to say. Whatever goes wrong with it forbids."""
    try:
        said: Any = decider.decide(considered)
    except Halt:
        raise
    except FAULTS as error:
        return _failed(decider, error)
    if said is None or (isinstance(said, Verdict) and said.decision in _DECISIONS):
        return said
    return _waited_for(decider, said) if inspect.isawaitable(said) else _wrong(decider)


async def _waited_for(decider: Decider, saying: Awaitable[Any]) -> Verdict:
    try:
        async with asyncio.timeout(PATIENCE_S):
            said = await saying
    except Halt:
        raise
    except FAULTS as error:
        return _failed(decider, error)
    if said is None:
        return ALLOWED.verdict
    return said if isinstance(said, Verdict) and said.decision in _DECISIONS else _wrong(decider)


def _failed(decider: Decider, error: BaseException) -> Verdict:
    return Verdict("deny", f"The policy {decider.name!r} failed, which forbids: {named(error)}")


def _wrong(decider: Decider) -> Verdict:
    return Verdict("deny", f"The policy {decider.name!r} gave no verdict, which forbids.")


def _together(rulings: Sequence[Ruling]) -> Ruling:
    verdicts = [one.verdict for one in rulings]
    expiries = [one.expires_s for one in verdicts if one.expires_s is not None]
    verdict = Verdict(
        verdicts[0].decision,
        " ".join(dict.fromkeys(one.reason for one in verdicts if one.reason)),
        tuple(dict.fromkeys(name for one in verdicts for name in one.approvers)),
        min(expiries, default=None),
    )
    return Ruling(verdict, ", ".join(dict.fromkeys(one.policy for one in rulings)))
