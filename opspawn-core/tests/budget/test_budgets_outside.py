"""Budgets from outside: over HTTP, on the command line, and in declared agents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from opspawn import Budget, Cheaper
from opspawn.agentkit.declared import Declaration, declared_agents
from opspawn.cli.budgets import budget_of
from opspawn.errors import ConfigError, InvalidInput
from opspawn.rest.schemas import RunRequest


def test_a_request_gives_a_budget_in_camel_case() -> None:
    pytest.importorskip("fastapi", reason="the REST transport is an extra")
    body = {
        "input": "Go.",
        "budget": {"tokens": 500, "toolCalls": 2, "wallS": 1.5, "onExceed": "ask", "approvers": ["ada"]},
    }
    order = RunRequest.model_validate(body)
    assert order.options()["budget"] == Budget(tokens=500, tool_calls=2, wall_s=1.5, on_exceed="ask", approvers=["ada"])


@pytest.mark.parametrize("budget", [{"tool_calls": 2}, {"tokens": -1}, {"tokens": 1.5}, {"onExceed": "cheaper"}])
def test_a_request_with_a_budget_that_cannot_be_is_refused(budget: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="budget"):
        RunRequest.model_validate({"input": "Go.", "budget": budget})


def test_a_command_line_gives_a_budget_limit_by_limit() -> None:
    assert budget_of(["tokens=50_000", "usd=0.5", "tool-calls=3", "on_exceed=ask"]) == Budget(
        tokens=50_000, usd=0.5, tool_calls=3, on_exceed="ask"
    )
    assert budget_of([]) is None


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["money=3"], "'money=3' is no limit of a budget"),
        (["tokens"], "is no limit"),
        (["tokens=many"], "names no amount"),
        (["tokens=1", "tokens=2"], "twice"),
        (["tokens=1.5"], "a whole number"),
        (["on_exceed=cry"], "on_exceed='cry'"),
    ],
)
def test_a_command_line_with_a_budget_that_cannot_be_is_one_line(words: list[str], told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        budget_of(words)


def declared(budget: dict[str, Any]) -> Any:
    values = {"model": "replay:x", "budget": budget}
    return declared_agents({"helper": Declaration(values, "opspawn.toml", Path())}, {})["helper"].about.budget


def test_a_declared_agent_has_a_budget() -> None:
    assert declared({"usd": 0.5, "depth": 1}) == Budget(usd=0.5, depth=1, approvers=[])
    assert declared({"tokens": 5, "cheaper": "openai:gpt-5-mini"}).on_exceed == Cheaper("openai:gpt-5-mini")
    with pytest.raises(ConfigError, match=r"budget\.tokens"):
        declared({"tokens": -5})
