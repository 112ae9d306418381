"""What calls cost: by a list, by the vendor's own words, or not at all."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest

from opspawn import Agent
from opspawn.agentkit import BoundModel
from opspawn.agentkit.prices import cost, price_list
from opspawn.contracts.model import Message, ModelCapabilities, ModelRequest, ModelResponse, Usage
from opspawn.contracts.planner import PlannerResult
from opspawn.testing import ScriptedModel

USAGE = Usage(1_000_000, 100_000, cached_tokens=400_000, requests=1)
HELLO = ModelRequest("gpt-5", [Message("user", "Hello?")])


class Sold(ScriptedModel):
    """A model with a price."""

    def capabilities(self, model):
        return ModelCapabilities(prices="openai")


class Once:
    async def run(self, context):
        return PlannerResult((await context.think([Message("user", "Hello?")])).text)


def test_a_price_counts_what_was_cached_as_cheaper():
    whole = cost(replace(USAGE, cached_tokens=0), "openai:gpt-5")
    cached = cost(USAGE, "openai:gpt-5")

    assert whole is not None
    assert cached is not None
    assert 0 < cached < whole


@pytest.mark.parametrize("model", ["openai:no-such-model", "nobody:gpt-5", "", "gpt-5", "openai:"])
def test_an_unknown_model_has_no_price(model):
    assert cost(USAGE, model) is None


def test_the_list_says_how_new_it_is():
    prices = price_list()

    assert prices is not None
    assert (prices.name, prices.as_of > date(2026, 1, 1)) == ("genai-prices", True)


def test_without_a_list_there_are_no_prices(monkeypatch):
    monkeypatch.setitem(sys.modules, "genai_prices", None)

    assert cost(USAGE, "openai:gpt-5") is None
    assert price_list() is None


async def test_an_answer_of_a_known_model_says_what_it_cost():
    model = BoundModel(Sold([ModelResponse("Hi.", usage=USAGE, model="gpt-5-2025-08-07")]), "gpt-5", {}, "openai:gpt-5")

    answer = await model.complete(HELLO)

    assert answer.usage.cost == cost(USAGE, "openai:gpt-5")
    assert answer.source == "openai:gpt-5"


async def test_a_cost_that_the_vendor_tells_is_kept():
    usage = replace(USAGE, cost=Decimal("0.5"))
    model = BoundModel(Sold([ModelResponse("Hi.", usage=usage, model="gpt-5")]), "gpt-5", {}, "openai:gpt-5")

    assert (await model.complete(HELLO)).usage.cost == Decimal("0.5")


async def test_a_model_of_ones_own_has_no_price_though_its_name_is_known():
    model = BoundModel(ScriptedModel([ModelResponse("Hi.", usage=USAGE, model="gpt-5")]), "gpt-5", {}, "openai:gpt-5")

    assert (await model.complete(HELLO)).usage.cost is None


async def test_a_run_tells_what_all_its_calls_cost():
    answers = [ModelResponse("Hi.", usage=USAGE, model="gpt-5")]
    model = BoundModel(Sold(answers), "gpt-5", {}, "openai:gpt-5")

    result = await Agent("a", model=model, planner=Once()).run("Hello?")

    assert result.usage.cost == cost(USAGE, "openai:gpt-5")
