"""What `App` says to arguments that are not what it takes: a line about the argument, not one from inside."""

from __future__ import annotations

from typing import Any

import pytest

from opspawn import Agent, App
from opspawn.errors import AppError


async def hello(context: Any) -> str:
    return "hello"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"agents": Agent("clerk")}, ["agents=", "a list is meant", "agents=[...]"]),
        ({"agents": ["clerk"]}, ["'clerk' among its agents", "Agent("]),
        ({"tools": hello}, ["tools=", "a list is meant"]),
        ({"workflows": "triage.yaml"}, ["workflows='triage.yaml'", "workflows=[...]"]),
        ({"workflows": [3]}, ["3 among its workflows", "path of a file"]),
        ({"functions": [hello]}, ["functions=", '{"name": function}']),
        ({"functions": {"hello": "hello"}}, ["the function 'hello'", "async function"]),
    ],
)
def test_an_argument_of_the_wrong_kind_is_named_with_a_remedy(arguments: dict[str, Any], says: list[str]) -> None:
    with pytest.raises(AppError) as caught:
        App(**arguments)

    assert all(word in str(caught.value) for word in says)
    assert "\n" not in str(caught.value)


def test_a_long_value_is_cut_in_the_answer() -> None:
    with pytest.raises(AppError) as caught:
        App(agents="clerk " * 100)  # type: ignore[arg-type]

    assert len(str(caught.value)) < 150


def test_what_fits_is_taken() -> None:
    app = App(agents=(Agent("clerk"),), workflows=["triage.yaml"], functions={"hello": hello})

    assert (list(app.agents), [path.name for path in app.workflows], list(app.functions)) == (
        ["clerk"],
        ["triage.yaml"],
        ["hello"],
    )
