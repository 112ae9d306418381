"""Rates and limits: shared by all workers, waited for without a slot, and not leaked by a crash."""

from __future__ import annotations

from typing import Any

import pytest

from opspawn import Agent, App
from opspawn.agentkit.bound import BoundModel
from opspawn.agentkit.context import Context
from opspawn.agentkit.kit import rates_of
from opspawn.agentkit.memory_log import MemoryLog
from opspawn.agentkit.rates import Buckets, Rate, Rates, estimated_tokens, settlement
from opspawn.config import load_settings
from opspawn.contracts.limit import Limit
from opspawn.contracts.model import Message, ModelRequest, ModelResponse, Usage
from opspawn.contracts.planner import PlannerResult
from opspawn.contracts.run import AgentContext
from opspawn.contracts.store import Hold, Take
from opspawn.errors import AppError, ConfigError, InvalidInput, NotFound
from opspawn.testing import ScriptedModel

# -- buckets in memory -------------------------------------------------------------------------------------------------


def take(amount: float, *, force: bool = False, key: str = "k") -> Take:
    return Take(key, amount, 1.0, 5.0, force)


def test_a_bucket_gives_its_burst_and_then_what_time_brings(clock: Any) -> None:
    buckets = Buckets(clock)
    assert [buckets.take([take(1)]) for _ in range(5)] == [None] * 5
    assert buckets.take([take(2)]) == ("k", 2.0)

    clock.now += 2
    assert buckets.take([take(2)]) is None
    assert buckets.take([take(1)]) == ("k", 1.0)


def test_a_bucket_holds_no_more_than_its_burst(clock: Any) -> None:
    buckets = Buckets(clock)
    buckets.take([take(5)])
    clock.now += 1000

    assert buckets.take([take(5)]) is None
    assert buckets.take([take(1)]) is not None


def test_of_several_rates_all_are_taken_or_none(clock: Any) -> None:
    buckets = Buckets(clock)
    buckets.take([take(5, key="b")])
    assert buckets.take([take(1, key="a"), take(3, key="b")]) == ("b", 3.0)

    assert buckets.take([take(5, key="a")]) is None


def test_a_forced_take_goes_into_debt_and_a_negative_one_gives_back(clock: Any) -> None:
    buckets = Buckets(clock)
    assert buckets.take([take(8, force=True)]) is None
    assert buckets.take([take(1)]) == ("k", 4.0)
    assert buckets.take([take(-4)]) is None
    assert buckets.take([take(1)]) is None


def test_more_than_the_burst_is_granted_when_the_bucket_is_full(clock: Any) -> None:
    buckets = Buckets(clock)
    assert buckets.take([take(20)]) is None
    assert buckets.take([take(1)]) == ("k", 16.0)


# -- what the configuration says ---------------------------------------------------------------------------------------


def test_a_model_comes_under_its_own_rate_and_its_providers() -> None:
    rates = Rates({"openai": Rate(60), "openai:gpt-5": Rate(6, 6000, burst=1), "other": Rate(1)})

    assert rates.of_model("openai:gpt-5", 100) == [
        Take("openai/requests", 1, 1.0, 10.0),
        Take("openai:gpt-5/requests", 1, 0.1, 1.0),
        Take("openai:gpt-5/tokens", 100, 100.0, 1000.0),
    ]
    assert rates.of_model("", 1) == Rates().of_model("openai:gpt-5", 1) == []


def test_limits_are_read_from_the_file(tmp_path: Any) -> None:
    (tmp_path / "opspawn.toml").write_text(
        '[limits."openai:gpt-4.1"]\nrequests_per_minute = 60\ntokens_per_minute = 1e5\n'
        "[limits.crm]\nrequests_per_minute = 6\nburst = 2\n"
    )
    rates = rates_of(load_settings(cwd=tmp_path, environ={}).settings)

    assert rates.of("crm", 1) == [Take("crm/requests", 1, 0.1, 2.0)]
    assert [one.key for one in rates.of_model("openai:gpt-4.1", 1)] == [
        "openai:gpt-4.1/requests",
        "openai:gpt-4.1/tokens",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[limits.crm]\nrequests_per_minute = 0", "limits.crm.requests_per_minute must be more than 0"),
        ("[limits.crm]\nburst = 0", "limits.crm.burst must be at least 1"),
        ("[limits.crm]\nper_minute = 1", "limits.crm.per_minute"),
        ("limits = 3", "limits must be a table"),
    ],
)
def test_a_limit_that_cannot_be_is_one_line(tmp_path: Any, text: str, told: str) -> None:
    (tmp_path / "opspawn.toml").write_text(text)
    with pytest.raises(ConfigError, match=told):
        load_settings(cwd=tmp_path, environ={})


def test_an_estimate_is_settled_by_what_was_used() -> None:
    takes = Rates({"m": Rate(6, 600)}).of_model("m:x", 100)

    assert settlement(takes, 100, 130) == [Take("m/tokens", 30, 10.0, 100.0, True)]
    assert settlement(takes, 100, 40) == [Take("m/tokens", -60, 10.0, 100.0, True)]
    assert settlement(takes, 100, 100) == []


def test_a_call_is_estimated_by_its_messages_and_the_answer_that_is_allowed() -> None:
    long = [Message("user", "x" * 4000)]

    assert 1000 < estimated_tokens(long, 50) < 1100
    assert estimated_tokens([], None) == 1024


# -- in memory ---------------------------------------------------------------------------------------------------------


async def test_a_run_in_memory_waits_for_its_own_bucket() -> None:
    rates = Rates({"crm": Rate(requests_per_minute=6000, burst=1)})
    context = Context(MemoryLog(rates=rates), name="f")
    await context.take("crm")
    assert rates.local.take(rates.of("crm", 1)) is not None

    await context.take("crm")  # 10 ms later


async def test_a_limit_that_nobody_configured_is_not_found() -> None:
    context = Context(MemoryLog(), name="f")

    with pytest.raises(NotFound, match=r"no limit 'crm'.*\[limits.\"crm\"\]"):
        await context.take("crm")


@pytest.mark.parametrize(
    ("amount", "unit"), [(0, "requests"), (-1, "requests"), (float("nan"), "tokens"), (1, "apples")]
)
async def test_an_amount_that_is_none_is_refused(amount: float, unit: str) -> None:
    context = Context(MemoryLog(rates=Rates({"crm": Rate(1)})), name="f")

    with pytest.raises(InvalidInput):
        await context.take("crm", amount, unit=unit)


class Once:
    """A planner that asks its model once."""

    async def run(self, context: AgentContext) -> PlannerResult:
        return PlannerResult((await context.think([Message("user", "x" * 400)])).text)


def model(used: int) -> BoundModel:
    def answer(request: ModelRequest) -> ModelResponse:
        return ModelResponse("yes", usage=Usage(used - 1, 1))

    return BoundModel(ScriptedModel(answer), "m", {"max_tokens": 100}, "fake:m")


async def test_a_model_call_spends_a_request_and_the_tokens_that_it_used() -> None:
    class Kit:
        rates = Rates({"fake:m": Rate(60, 60_000, burst=10)})
        policies = None
        memories = None
        model = None

    await Agent("a", model=model(500), planner=Once()).run("hi", kit=Kit())  # type: ignore[arg-type]
    left = Kit.rates.local

    requests = Take("fake:m/requests", 9, 1.0, 10.0)
    assert left.take([requests]) is None
    assert left.take([Take("fake:m/requests", 1, 1.0, 10.0)]) is not None
    assert left.take([Take("fake:m/tokens", 9_400, 1000.0, 10_000.0)]) is None
    assert left.take([Take("fake:m/tokens", 300, 1000.0, 10_000.0)]) is not None


# -- limits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Limit("", 1), "key"),
        (lambda: Limit("crm", 0), "at_most=0"),
        (lambda: Limit("crm", True), "at_most=True"),
        (lambda: Agent("a", limits="crm"), r"Write limits=\[Limit"),  # type: ignore[arg-type]
        (lambda: Agent("a", limits=[Limit("crm", 1), Limit("crm", 2)]), "two limits of the same key"),
        (lambda: Agent("a", limits=[Limit(f"k{n}", 1) for n in range(9)]), "8 are the most"),
        (lambda: Agent("a", concurrency=0), "concurrency=0"),
        (lambda: App(limits={"function/no": []}), "limits for 'function/no'"),
        (lambda: App(limits=["x"]), "App has limits="),  # type: ignore[arg-type]
    ],
)
def test_a_limit_that_is_none_is_refused_in_words(make: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        make()


def test_app_errors_are_of_the_app() -> None:
    with pytest.raises(AppError):
        App(limits={"tool/x": [Limit("a", 1)]})


def test_a_limit_is_held_while_a_worker_runs_or_until_the_end() -> None:
    assert Limit("crm", 5).hold == Hold("crm", 5, "running")
    assert Limit("crm", 5, parked=True).hold == Hold("crm", 5, "unfinished")
