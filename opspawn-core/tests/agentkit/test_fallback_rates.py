"""Rates of the models of a list: each model that is asked comes under its own."""

from __future__ import annotations

from typing import Any

from opspawn.agentkit import BoundModel, Context, FallbackModel
from opspawn.agentkit.agent_run import AgentRun
from opspawn.agentkit.memory_log import MemoryLog
from opspawn.agentkit.rates import Rate, Rates
from opspawn.contracts.model import Message, ModelResponse, Usage
from opspawn.contracts.store import Take
from opspawn.testing import ScriptedModel


def chain_with_rates(**rates: Rate) -> tuple[Any, dict[str, ScriptedModel], Rates]:
    models = {name: ScriptedModel(lambda request, name=name: name) for name in ("a", "b")}
    chain = FallbackModel([BoundModel(model, "m", spec=f"{name}:m") for name, model in models.items()], patience_s=0)
    return chain, models, Rates({name.replace("_", ":"): rate for name, rate in rates.items()})


async def thought(chain: Any, rates: Rates) -> str:
    run = agent_run(MemoryLog(rates=rates), chain)
    return (await run.think([Message("user", "Hi.")])).text


def agent_run(log: Any, provider: Any) -> AgentRun:
    return AgentRun(
        Context(log, name="helper"),
        name="helper",
        instructions="",
        model=BoundModel(provider, ""),
        tools=[],
        max_steps=9,
    )


async def test_a_model_whose_rate_is_spent_is_passed_over_for_the_next() -> None:
    chain, models, rates = chain_with_rates(a=Rate(requests_per_minute=1, burst=1))

    assert [await thought(chain, rates) for _ in range(2)] == ["a", "b"]
    assert len(models["a"].requests) == 1


async def test_a_call_waits_when_the_rates_of_all_its_models_are_spent() -> None:
    chain, _models, rates = chain_with_rates(
        a=Rate(requests_per_minute=600, burst=1), b_m=Rate(requests_per_minute=600, burst=1)
    )
    assert [await thought(chain, rates) for _ in range(3)] == ["a", "b", "a"]


async def test_the_tokens_of_a_model_in_a_list_are_settled_with_what_it_used() -> None:
    answer = ModelResponse("Hi.", usage=Usage(30, 10, requests=1))
    rates = Rates({"a": Rate(tokens_per_minute=60)})
    chain = FallbackModel([BoundModel(ScriptedModel([answer]), "m", spec="a:m")])
    await thought(chain, rates)

    _, wait_s = rates.local.take([Take("a/tokens", 1, 1.0, 10.0)])  # of 10 tokens 40 are gone, not those reckoned
    assert 20 < wait_s < 40
