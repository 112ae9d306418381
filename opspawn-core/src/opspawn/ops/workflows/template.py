"""The shape of a definition: what may stand where. The same models give the published JSON Schema.

Strict: a number is not text, and nothing is converted. What goes over several places (needs, cycles, references) is
checked by `build`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from opspawn.agentkit.values import InputSpec
from opspawn.ops.workflows.durations import DURATION_PATTERN, parse_duration

LANGUAGE = "1"
MAX_STEPS = 500
ID = r"^[a-z0-9_-]{1,64}$"
USES = r"^((tool|agent)/[A-Za-z0-9_.-]{1,64}|tool/[A-Za-z0-9_-]{1,64}:[A-Za-z0-9_./:-]{1,200})$"

#: Parts of the language that a later version runs; refused by name, so that nobody takes them for misspelt.
LATER_TOP = frozenset({"triggers", "on_failure", "queue", "priority", "labels"})
LATER_STEP = frozenset(
    [
        "if",
        "foreach",
        "as",
        "max_parallel",
        "fallback",
        "on_error",
        "effect",
        "in_doubt",
        "undo",
        "queue",
        "priority",
        "concurrency",
        "rate",
        "cache",
        "output",
        "labels",
        "sandbox",
        "wait",
        "set",
        "steps",
    ]
)
LATER_USES = frozenset({"workflow", "python"})

ErrorClass = Literal["transient", "rate_limited", "timeout", "invalid_output", "tool_error", "denied", "budget"]


def _refuse(message: str) -> PydanticCustomError:
    return PydanticCustomError("opspawn", "{message}", {"message": message})


def _text(what: str) -> Callable[[Any], Any]:
    """A number where text belongs has lost what the author wrote (1.10 is 1.1), so it is not converted."""

    def check(value: Any) -> Any:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            raise _refuse(f'The {what} is a number here. Put it in quotes: "{value}".')
        return value

    return check


def _language(value: Any) -> Any:
    _text("version of the language")(value)
    if value != LANGUAGE:
        raise _refuse(f'This Opspawn reads the workflow language "{LANGUAGE}", not {value!r}.')
    return value


def _id(value: Any) -> Any:
    _text("name")(value)
    if isinstance(value, str) and not re.fullmatch(ID, value):
        raise _refuse(f"{value[:80]!r} is not a name. Use 1 to 64 of the characters a-z 0-9 - _.")
    return value


def _uses(value: Any) -> Any:
    if not isinstance(value, str):
        raise _refuse("Write 'tool/NAME' or 'agent/NAME'.")
    kind = value.partition("/")[0]
    if kind in LATER_USES:
        raise _refuse(f"'uses: {kind}/...' is part of the workflow language but not of this version.")
    if not re.fullmatch(USES, value):
        raise _refuse(f"{value[:80]!r} names no tool and no agent. Write 'tool/NAME' or 'agent/NAME'.")
    return value


def _duration(value: Any) -> Any:
    try:
        parse_duration(value)
    except ValueError as error:
        raise _refuse(str(error)) from None
    return value


def _list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Duration = Annotated[str, BeforeValidator(_duration), Field(json_schema_extra={"pattern": DURATION_PATTERN})]


class Model(BaseModel):
    """Strict, closed and immutable."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=False)


class Retry(Model):
    """When and how often a step that failed is tried again."""

    attempts: int | None = Field(None, ge=1, le=100, description="Tries in all, the first included.")
    backoff: Literal["exponential", "constant"] | None = Field(
        None, description="How the wait grows; exponential unless said."
    )
    initial: Duration | None = Field(None, description="The wait before the second try; 1s unless said.")
    max: Duration | None = Field(None, description="The longest wait; 60s unless said.")
    jitter: Literal["full", "none"] | None = Field(
        None,
        description="full: a random part of the wait, the default of exponential; none: the whole, that of constant.",
    )
    when: list[ErrorClass] | None = Field(
        None, min_length=1, description="The classes of errors that are worth another try."
    )


class Concurrency(Model):
    """How many runs may be under way at once; with a `key`, the runs of all that name it."""

    at_most: int = Field(ge=1, le=10_000)
    key: str | None = Field(None, min_length=1, max_length=200)


class BudgetSpec(Model):
    """What it and all under it may use; a limit that is left out is none."""

    tokens: int | None = Field(None, ge=0, description="Of all model calls, in and out.")
    usd: float | None = Field(None, ge=0, description="Their cost, in US dollars.")
    requests: int | None = Field(None, ge=0, description="Model calls.")
    tool_calls: int | None = Field(None, ge=0, description="Calls of tools that are carried out.")
    wall: Duration | None = Field(None, description="From the first start on, waits included.")
    depth: int | None = Field(None, ge=0, description="How many levels of child tasks may be below it.")
    on_exceed: Literal["stop", "ask"] | None = Field(None, description="stop, unless said; ask has a human asked.")
    approvers: list[str] | None = Field(None, description="Who should be asked.")

    @model_validator(mode="after")
    def _limits_something(self) -> BudgetSpec:
        if all(value is None for name, value in self if name not in ("on_exceed", "approvers")):
            raise _refuse("limits nothing. Write e.g. tokens: 50000.")
        return self


def _concurrency(value: Any) -> Any:
    return {"at_most": value} if isinstance(value, int) and not isinstance(value, bool) else value


_CONCURRENCY_SCHEMA = {
    "anyOf": [{"type": "integer", "minimum": 1, "maximum": 10_000}, Concurrency.model_json_schema(), {"type": "null"}]
}


class Defaults(Model):
    """What holds for every step that says nothing else; `retry` is merged key by key."""

    retry: Retry | None = None
    timeout: Duration | None = None


class Step(Model):
    """One action; it starts when all its needs are done."""

    uses: Annotated[
        str, BeforeValidator(_uses), Field(pattern=USES, description="tool/NAME, tool/SOURCE:NAME or agent/NAME.")
    ]
    with_: dict[str, Any] | None = Field(
        None,
        alias="with",
        description="Arguments of the tool, or input of the agent; {input: X} gives the agent X itself.",
    )
    needs: Annotated[
        list[str],
        BeforeValidator(_list),
        WithJsonSchema(
            {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "uniqueItems": True}]}
        ),
    ] = Field(default_factory=list, description="Steps that must be done before; none starts at once.")
    retry: Retry | None = None
    timeout: Duration | None = Field(None, description="How long one try may take.")
    budget: BudgetSpec | None = Field(
        None, description="What an agent may use, at most what the workflow has left; only with agent/NAME."
    )


class Template(Model):
    """A workflow: a graph of steps that call tools and agents."""

    opspawn: Annotated[Literal["1"], BeforeValidator(_language)] = Field(
        description='The version of this language: "1".'
    )
    name: Annotated[str, BeforeValidator(_id), Field(pattern=ID)]
    version: Annotated[str, BeforeValidator(_text("version"))] | None = Field(None, max_length=64)
    description: str | None = Field(None, max_length=10_000)
    inputs: dict[str, InputSpec] = Field(default_factory=dict, description="What a run is started with, by name.")
    defaults: Defaults | None = None
    steps: dict[str, Step] = Field(
        min_length=1, max_length=MAX_STEPS, json_schema_extra={"propertyNames": {"pattern": ID}}, description="By id."
    )
    concurrency: Annotated[Concurrency | None, BeforeValidator(_concurrency), WithJsonSchema(_CONCURRENCY_SCHEMA)] = (
        Field(
            None,
            description="How many runs of this workflow may be under way at once, from the first claim to the end; the "
            "others wait in line. {key: K, at_most: N} counts the runs of all that name K.",
        )
    )
    budget: BudgetSpec | None = Field(None, description="What a run may use, the agents that it asks included.")
    output: Any = Field(None, description="The result; without it, the outputs of all steps by id.")


def workflow_schema() -> dict[str, Any]:
    """Return the JSON Schema of a definition, for editors, forms and other checkers."""
    schema = Template.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Opspawn workflow"}
