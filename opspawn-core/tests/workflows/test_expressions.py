"""Expressions: typed, bounded before they run, with errors that a workflow's author understands."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opspawn.errors import InvalidInput
from opspawn.ops.workflows.expressions import compile_expression, compile_text, render
from opspawn.ops.workflows.syntax import parse

INPUTS: dict[str, Any] = {
    "n": 3,
    "f": 1.5,
    "s": "abc",
    "b": True,
    "none": None,
    "l": [1, 2, 3],
    "d": {"a": 1},
    "h": [{"ok": True, "items": [1, 2]}, {"ok": False, "items": [3]}],
    "big": 2**70,
    "code": "${{ inputs.n }}",
}
ROOTS = {
    "inputs": INPUTS,
    "steps": {"a": {"output": {"x": 1}}},
    "run": {"id": "t1", "workflow": "w"},
}


def value_of(text: str, **inputs: Any) -> Any:
    return render(compile_text(text), {**ROOTS, "inputs": inputs or INPUTS})


def error_of(text: str, **inputs: Any) -> str:
    with pytest.raises(InvalidInput) as caught:
        value_of(text, **inputs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${{ inputs.n }}", 3),
        ("${{inputs.n}}", 3),
        ("${{ inputs.f }}", 1.5),
        ("${{ inputs.b }}", True),
        ("${{ inputs.none }}", None),
        ("${{ inputs.l }}", [1, 2, 3]),
        ("${{ inputs.big }}", 2**70),
        ('${{ inputs["d"]["a"] }}', 1),
        ("${{ inputs.l[2] }}", 3),
        ("${{ inputs.n * 2 }}", 6),
        ("${{ inputs.n == 3 ? 'yes' : 'no' }}", "yes"),
        ("${{ inputs.h.filter(x, x.ok).map(x, x.items) }}", [[1, 2]]),
        ("${{ inputs.h.map(x, x.items.map(y, y * 2)) }}", [[2, 4], [6]]),
        ("${{ has(inputs.zz) || has(steps.a.output.x) }}", True),
        ("${{ size(inputs.s) + inputs.l.size() }}", 6),
        ("${{ 'a' in inputs.d && !(inputs.n in [1, 2]) }}", True),
        ("${{ double(inputs.n) * 1.5 }}", 4.5),
        ("${{ run.workflow }}", "w"),
        ('${{ {"a": {"b": 1}} }}', {"a": {"b": 1}}),
        ('${{ "}}" }}', "}}"),
        ("${{ 'it\\'s }}' }}", "it's }}"),
        ('${{ "${{ 1 }}" }}', "${{ 1 }}"),
        ("n=${{ inputs.n }} l=${{ inputs.l }} ${{ inputs.s }}${{ inputs.b }}", "n=3 l=[1,2,3] abctrue"),
        (" ${{ inputs.n }}", " 3"),
        ("${{ inputs.d }} ${{ inputs.none }}", '{"a":1} null'),
        ("no expression: $ {{ }} $x", "no expression: $ {{ }} $x"),
    ],
)
def test_one_expression_keeps_its_type_and_several_make_text(text: str, value: Any) -> None:
    got = value_of(text)
    assert (got, type(got)) == (value, type(value))


def test_values_are_data_and_never_read_as_expressions() -> None:
    assert value_of("${{ inputs.code }}") == "${{ inputs.n }}"
    assert value_of("say ${{ inputs.code }}") == "say ${{ inputs.n }}"
    assert render({"a": [compile_text("${{ inputs.code }}")]}, ROOTS) == {"a": ["${{ inputs.n }}"]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("${{ inputs.n * 1.5 }}", "write double(inputs.n)."),
        ("${{ inputs.f + 1 }}", "write 1.0."),
        ("${{ inputs.s + inputs.n }}", "write string(inputs.n)."),
        ("${{ inputs.s + inputs.l }}", "give each its own expression in the text"),
        ("${{ inputs.nn }}", "There is no 'inputs.nn', which 'inputs.nn' asks for."),
        ("${{ steps.a.output.y > 1 }}", "There is no 'steps.a.output.y'"),
        ("${{ has(inputs.q) ? 1 : steps.a.output.y + 1 }}", "There is no 'steps.a.output.y'"),
        ("${{ inputs.n.x }}", "inputs.n is an integer"),
        ("${{ inputs.none.x == 1 }}", "inputs.none is null"),
        ("${{ inputs.l[9] }}", "the list has 3 items"),
        ("${{ inputs.l[9] + 1 }}", "the list has 3 items"),
        ("${{ inputs.h.map(x, x.nope) }}", "asks for 'nope', which is not there. Ask first, with has(...)."),
        ("${{ inputs.big + 1 }}", "inputs.big does not fit into 64 bits"),
        ("${{ 1 / 0 }}", "division by zero"),
        ("${{ string(inputs.b) }}", "string() does not take a value of this type"),
        ('${{ int("x") }}', "'int' error"),
        ('${{ timestamp("2024-01-01T00:00:00Z") }}', "is not JSON"),
        ("${{ {1: 2} }}", "keys must be text"),
        ("${{ 1.0 / 0.0 }}", "is not JSON"),
        ('${{ b"x" }}', "is not JSON"),
        ("${{ inputs.n ", "has no end. Add '}}'."),
        ("${{ 'inputs.n }}", "has no end"),
        ("${{ }}", "The expression is empty."),
        ("${{ inputs.l.map(x) }}", "map() takes a variable and an expression"),
        ("${{ inputs.l.map(inputs, 1) }}", "'inputs' cannot be the variable of a macro"),
        ("${{ has(inputs) }}", "has() takes one path"),
        ("${{ // x }}", "a value is expected"),
        ("${{ Message{a: 1} }}", "not '{'"),
        ("${{ inputs.__class__ }}", "There is no 'inputs.__class__'"),
        ('${{ __import__("os") }}', "There is no function '__import__'"),
        ("${{ now() }}", "There is no function 'now'"),
    ],
)
def test_an_error_names_the_cause_and_the_remedy(text: str, said: str) -> None:
    assert said in error_of(text)


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("1" + " + 1" * 300, "1,201 characters; 1,024 are allowed"),
        ("a" * 40_000, "1,024 are allowed"),
        ("(" * 33 + "1" + ")" * 33, "deeper than 32"),
        ("[" * 40 + "]" * 40, "deeper than 32"),
        ("!" * 500 + "true", "too many signs"),
        ("-" * 500 + "1", "too many signs"),
        ("true ? 1 : " * 60 + "2", "deeper than 32"),
        ("inputs.l.map(a, inputs.l.map(b, inputs.l.map(c, 1)))", "nested deeper than 2 levels"),
        ("inputs.l" + ".map(a, a)" * 6, "6 macros; 5 are allowed"),
    ],
)
def test_limits_on_the_text_hold_before_the_engine_sees_it(expression: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        compile_expression(expression)
    assert said in str(caught.value)


def test_nested_macros_run_ten_thousand_times_and_not_more() -> None:
    text = "${{ inputs.l.map(x, inputs.l.map(y, x * y)).size() }}"
    assert value_of(text, l=list(range(100))) == 100
    assert "could run 10,201 times" in error_of(text, l=list(range(101)))
    assert "could run 10,001 times" in error_of("${{ inputs.l.exists(x, x == 1) }}", l=list(range(10_001)))


def test_only_the_parts_that_are_walked_count() -> None:
    rows = [{"tags": ["a", "b"], "text": "x" * 10_000} for _ in range(80)]
    assert value_of("${{ inputs.rows.map(r, r.tags.map(t, t + '!')) }}", rows=rows)[0] == ["a!", "b!"]


@pytest.mark.parametrize(
    "expression",
    [
        "inputs.l.map(x, inputs.s)",
        "inputs.l.map(x, inputs.s + inputs.s)",
        "inputs.l.map(x, inputs.s.matches('(a|b)*c'))",
        "inputs.l.map(x, x).map(x, inputs.s == inputs.s)",
        "[inputs.s]" + (".map(x, x" + " + x" * 40 + ")") * 5,
        "[[inputs.l]]" + (".map(x, [" + "x[0] + " * 18 + "x[0]])") * 5,
    ],
)
def test_an_expression_that_could_blow_up_is_refused_before_it_runs(expression: str) -> None:
    said = error_of("${{ " + expression + " }}", l=list(range(1000)), s="a" * 1_000_000)
    assert "too large" in said or "too long" in said


def test_a_result_has_at_most_one_mebibyte() -> None:
    s = "a" * 1_000_000
    assert len(value_of("${{ inputs.s }}", s=s)) == 1_000_000
    assert "1,048,576 are allowed" in error_of("${{ inputs.s + inputs.s }}", s=s)
    assert "1,048,576 are allowed" in error_of("${{ inputs.s }}${{ inputs.s }}", s=s)
    assert "1,048,576 are allowed" in error_of("${{ inputs.s }}", s="a" * 1_100_000)


def test_very_deep_values_are_refused_and_crash_nothing() -> None:
    deep: Any = 1
    for _ in range(50_000):
        deep = [deep]
    assert "nested deeper" in error_of("${{ inputs.deep }}", deep=deep)
    assert "nested deeper" in error_of("${{ size(inputs.deep) }}", deep=deep)


def test_the_paths_of_an_expression_are_found_behind_every_construct() -> None:
    expression = compile_expression('inputs.l.filter(x, x > steps["a"].output.n)[run.id == "" ? 0 : inputs.i]')
    assert set(expression.paths) == {("inputs", "l"), ("steps", "a", "output", "n"), ("run", "id"), ("inputs", "i")}


@given(st.text(alphabet="inputs.nl()[]{}?:+-*/%!<>=&|'\",0123456789 \\$rbuxmape", max_size=60))
def test_any_text_is_an_expression_or_a_clear_refusal(source: str) -> None:
    with contextlib.suppress(InvalidInput):
        parse(source)
        value_of("${{ " + source + " }}")
