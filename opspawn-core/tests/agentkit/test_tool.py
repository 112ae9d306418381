"""What `@tool` makes of a function: a description for the model, and a call that is checked."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Annotated, Any, Literal, NotRequired

import pytest
from pydantic import BaseModel, Field, field_validator
from typing_extensions import TypedDict

from opspawn.agentkit.function_tool import FunctionTool, as_tool, tool
from opspawn.contracts.tool import ToolContext
from opspawn.errors import ConfigError, InvalidInput, ToolError

CALL = ToolContext(idempotency_key="run/act/0", agent="helper", deps={"user": "u-1"})


class Unit(Enum):
    celsius = "celsius"
    kelvin = "kelvin"


class Place(BaseModel):
    """Where on earth."""

    latitude: float
    title: str = ""


@dataclass
class Trip:
    places: list[Place]


@tool(effect="read")
async def forecast(
    place: Place,
    day: date,
    unit: Unit = Unit.celsius,
    hours: Annotated[int, Field(ge=1, le=240)] = 24,
    detail: Literal["low", "high"] = "low",
    note: str | None = None,
) -> str:
    """Return the forecast for a place,
    in words.

    Uses the last model run, which is up to 6 hours old.

    Args:
        place: where; only land.
        hours: how far to look ahead,
            1 to 240 hours.
        note (str, optional): printed under the forecast.

    Returns:
        A paragraph.
    """
    return f"{place.latitude} {day.year} {unit.name} {hours} {detail} {note}"


def test_the_docstrings_prose_is_the_description_and_sections_are_not():
    assert forecast.description == (
        "Return the forecast for a place, in words.\n\nUses the last model run, which is up to 6 hours old."
    )


def test_each_argument_shows_its_type_limits_default_and_text():
    properties = forecast.parameters["properties"]

    assert properties["hours"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 240,
        "default": 24,
        "description": "how far to look ahead, 1 to 240 hours.",
    }
    assert properties["place"] == {"$ref": "#/$defs/Place", "description": "where; only land."}
    assert properties["detail"] == {"type": "string", "enum": ["low", "high"], "default": "low"}
    assert properties["note"]["description"] == "printed under the forecast."
    assert forecast.parameters["required"] == ["place", "day"]
    assert forecast.parameters["additionalProperties"] is False


def test_a_property_named_title_survives_while_generated_titles_do_not():
    place = forecast.parameters["$defs"]["Place"]

    assert place["properties"] == {"latitude": {"type": "number"}, "title": {"type": "string", "default": ""}}
    assert "title" not in forecast.parameters


def test_the_text_in_field_goes_before_the_docstring():
    @tool
    async def find(query: Annotated[str, Field(description="three words at most")]) -> str:
        """Find.

        Args:
            query: anything.
        """
        return query

    assert find.parameters["properties"]["query"]["description"] == "three words at most"


async def test_arguments_arrive_as_the_annotated_types():
    value = await forecast.call({"place": {"latitude": 48}, "day": "2024-02-29", "unit": "kelvin"}, CALL)

    assert value == "48.0 2024 kelvin 24 low None"


async def test_all_faults_are_told_at_once_each_with_its_place():
    with pytest.raises(InvalidInput) as caught:
        await forecast.call({"place": {"latitude": "north"}, "hours": 1000, "colour": "red"}, CALL)

    assert caught.value.message == "The arguments of the tool 'forecast' do not fit."
    assert caught.value.faults == (
        "place.latitude: should be a valid number, not 'north'",
        "day: is missing",
        "hours: should be less than or equal to 240, not 1000",
        "colour: there is no such argument; known: place, day, unit, hours, detail, note",
    )


class Even(BaseModel):
    number: Annotated[int, Field(ge=2)]

    @field_validator("number")
    @classmethod
    def check(cls, number: int) -> int:
        if number % 2:
            raise ValueError("must be even")
        return number


class Point(TypedDict):
    x: int
    y: NotRequired[int]


@tool(effect="read")
async def measure(
    size: int | list[str],
    unit: Unit,
    even: Even,
    trip: Trip,
    points: list[Point],
    word: Annotated[str, Field(min_length=2)],
) -> dict[str, int]:
    return {"size": 1}


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"size": "x"}, "size: should be a valid integer or a valid array, not 'x'"),
        ({"size": ["a", 3]}, "size.1: should be a valid string, not 3"),
        ({"unit": "inch"}, "unit: should be 'celsius' or 'kelvin', not 'inch'"),
        ({"even": {"number": 5}}, "even.number: must be even, not 5"),
        ({"even": {"number": 0}}, "even.number: should be greater than or equal to 2, not 0"),
        ({"trip": {"places": [{}]}}, "trip.places.0.latitude: is missing"),
        ({"points": [{"x": 1}, {"y": 2}]}, "points.1.x: is missing"),
        ({"points": [{"x": 1, "z": 2}]}, "points.0.z: there is no such argument"),
        ({"word": "a"}, "word: should have at least 2 characters, not 'a'"),
        ({"word": 5}, "word: should be a valid string, not 5"),
    ],
)
async def test_a_fault_names_the_argument_what_is_wrong_and_what_would_fit(changed: dict[str, Any], fault: str):
    fits = {"size": 1, "unit": "celsius", "even": {"number": 2}, "trip": {"places": []}, "points": [], "word": "ab"}
    assert await measure.call(fits, CALL) == {"size": 1}

    with pytest.raises(InvalidInput) as caught:
        await measure.call(fits | changed, CALL)

    assert fault in caught.value.faults
    assert "pydantic" not in str(caught.value.faults)


def test_a_tool_describes_its_result_where_its_annotation_says_something():
    assert measure.output == {"type": "object", "additionalProperties": {"type": "integer"}}
    assert tool(name="x")(lambda: None).output is None


async def test_a_context_may_be_typed_optional_or_annotated():
    @tool(effect="read")
    async def who(a: ToolContext[dict[str, str]]) -> str:
        return a.deps["user"]

    @tool(effect="read")
    async def maybe(b: Annotated[ToolContext | None, "ours"] = None) -> str:
        return b.agent if b is not None else "nobody"

    assert (who.parameters["properties"], maybe.parameters["properties"]) == ({}, {})
    assert await who.call({}, CALL) == "u-1"
    assert await maybe.call({}, CALL) == "helper"


async def test_a_text_is_not_taken_for_a_number():
    @tool
    async def double(number: int) -> int:
        return number * 2

    with pytest.raises(InvalidInput, match="double"):
        await double.call({"number": "5"}, CALL)


async def test_arguments_that_are_not_json_are_refused_in_words():
    @tool
    async def say(text: str) -> str:
        return text

    with pytest.raises(InvalidInput) as caught:
        await say.call({"text": "\ud800"}, CALL)

    assert caught.value.faults[0].startswith("arguments: not JSON")


async def test_the_context_is_given_and_not_shown():
    @tool(effect="idempotent")
    async def book(seat: str, ctx: ToolContext) -> str:
        return f"{seat} {ctx.idempotency_key} {ctx.deps['user']}"

    assert list(book.parameters["properties"]) == ["seat"]
    assert await book.call({"seat": "4A"}, CALL) == "4A run/act/0 u-1"
    with pytest.raises(InvalidInput, match="book"):
        await book.call({"seat": "4A", "ctx": {}}, CALL)


async def test_a_tool_is_still_the_function_it_was():
    assert await forecast(Place(latitude=1), date(2024, 1, 1), hours=0) == "1.0 2024 celsius 0 low None"
    assert forecast.__name__ == "forecast"


async def test_a_plain_function_runs_in_a_thread_and_leaves_the_loop_free():
    released = threading.Event()

    @tool(effect="read")
    def wait() -> str:
        return "seen" if released.wait(20) else "never"

    call = asyncio.create_task(wait.call({}, CALL))
    await asyncio.sleep(0)
    released.set()

    assert await call == "seen"


async def test_results_come_back_as_plain_json():
    @tool(effect="read")
    async def everything() -> Any:
        return {"trip": Trip([Place(latitude=1)]), "day": date(2024, 1, 2), "units": {Unit.kelvin}}

    assert await everything.call({}, CALL) == {
        "trip": {"places": [{"latitude": 1.0, "title": ""}]},
        "day": "2024-01-02",
        "units": ["kelvin"],
    }


@pytest.mark.parametrize(
    ("value", "kind"), [(object(), "object"), (threading.Lock(), "_thread.lock"), (b"\xff", "bytes")]
)
async def test_a_result_that_is_not_json_names_the_tool_and_the_type(value: object, kind: str):
    @tool(effect="read")
    async def broken() -> object:
        return value

    with pytest.raises(ToolError, match=f"'broken' returned {kind}, which cannot be expressed in JSON") as raised:
        await broken.call({}, CALL)
    assert raised.value.error_type == "invalid_output"


async def test_what_the_function_raises_comes_out_as_it_is():
    @tool
    async def fail() -> None:
        raise LookupError("nothing there")

    with pytest.raises(LookupError, match="nothing there"):
        await fail.call({}, CALL)


async def test_methods_partials_and_objects_become_tools_too():
    class Counter:
        """Counts."""

        def __init__(self) -> None:
            self.total = 0

        async def add(self, number: int) -> int:
            """Add a number."""
            self.total += number
            return self.total

        async def __call__(self, number: int) -> int:
            """Take a number away."""
            self.total -= number
            return self.total

    counter = Counter()
    add = tool(counter.add)
    subtract = tool(name="subtract")(counter)
    add_five = tool(name="add_five")(functools.partial(counter.add, 5))

    assert (add.name, add.description) == ("add", "Add a number.")
    assert await add.call({"number": 4}, CALL) == 4
    assert await subtract.call({"number": 1}, CALL) == 3
    assert subtract.description == "Take a number away."
    assert add_five.description == "Add a number."


def test_classes_defined_inside_a_function_can_be_named():
    class Local(BaseModel):
        size: int

    @tool
    async def measure(thing: Local) -> int:
        return thing.size

    assert measure.parameters["$defs"]["Local"]["properties"] == {"size": {"type": "integer"}}


def test_a_tool_counts_as_once_unless_it_says_otherwise():
    @tool
    async def pay(amount: float) -> None:
        """Pay."""

    assert pay.effect == "once"
    assert pay.timeout_s is None


async def _no_annotation(query):  # type: ignore[no-untyped-def]
    return query


async def _any_number(*queries: str) -> None: ...


async def _positional(query: str, /) -> None: ...


async def _callback(query: str, then: Callable[[int], int]) -> None: ...


async def _lock(lock: threading.Event) -> None: ...


async def _field_default(limit: int = Field(5, ge=1)) -> None: ...


async def _unknown(thing: Nowhere) -> None: ...  # type: ignore[name-defined] # noqa: F821


async def _two_contexts(a: ToolContext, b: ToolContext) -> None: ...


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (_no_annotation, "its parameter 'query' has no type annotation. Write one, e.g. 'name: str'."),
        (_any_number, "its parameter '*queries' takes any number of arguments. Name each argument."),
        (_positional, "its parameter 'query' is positional-only."),
        (_callback, "its parameter 'then' has a type that JSON cannot express"),
        (_lock, "its parameter 'lock' has a type that JSON cannot express"),
        (_field_default, "its parameter 'limit' has Field(...) as its default. Write 'name: Annotated"),
        (_unknown, "its parameter 'thing' has an unknown type (name 'Nowhere' is not defined)."),
        (_two_contexts, "its parameter 'b' is a second ToolContext, besides 'a'"),
    ],
)
def test_what_cannot_be_described_is_refused_by_name(function: Callable[..., Any], words: str):
    with pytest.raises(ConfigError) as caught:
        tool(name="odd")(function)

    assert str(caught.value).startswith("The tool 'odd' cannot be made: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "no blanks"}, "'no blanks' is not a tool's name"),
        ({"name": "x" * 65}, "is not a tool's name"),
        ({"effect": "maybe"}, "has the effect 'maybe'. Known: read, idempotent, once."),
        ({"timeout_s": 0}, "has timeout_s=0"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], words: str):
    async def fn() -> None: ...

    with pytest.raises(ConfigError) as caught:
        tool(**options)(fn)

    assert words in str(caught.value)


def test_a_generator_is_no_tool():
    def lines():  # type: ignore[no-untyped-def]
        yield 1

    with pytest.raises(ConfigError, match="is a generator"):
        tool(lines)


def test_as_tool_takes_tools_and_functions_and_nothing_else():
    async def fn(x: int) -> int:
        return x

    assert as_tool(forecast) is forecast
    assert isinstance(as_tool(fn), FunctionTool)
    with pytest.raises(ConfigError, match="int is not a tool"):
        as_tool(5)
