"""Which functions can be put where, and what a sandbox may be given."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from opspawn import Agent, Sandbox, tool
from opspawn.errors import ConfigError
from opspawn.testing import LoopPlanner, ScriptedModel


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "GITHUB_TOKEN", "DB_PASSWORD", "OPSPAWN_MODEL", "SENTRY_DSN"])
def test_names_that_look_like_secrets_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="looks like a secret"):
        Sandbox(env=[name])


def _within() -> Any:
    def inner() -> None: ...

    return inner


class Object:
    def method(self) -> None: ...


def _in_main() -> None: ...


_in_main.__module__ = "__main__"


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda: None, "is a lambda"),
        (_within(), "is defined within a function"),
        (Object().method, "is a method or an object"),
        (_in_main, "is in the script or notebook that runs"),
    ],
)
def test_what_another_process_cannot_import_is_refused_with_the_remedy(function: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        tool(name="odd", sandbox="process")(function)

    assert "at the top of a module of its own" in str(caught.value)


def test_an_agents_sandbox_refuses_them_too_when_it_first_runs() -> None:
    agent = Agent(
        "a",
        model=ScriptedModel(["-"]),
        planner=LoopPlanner(),
        tools=[tool(name="odd")(lambda: None)],
        sandbox="process",
    )

    with pytest.raises(ConfigError, match="'odd' cannot run in a process of its own: it is a lambda"):
        asyncio.run(agent.run("?"))
