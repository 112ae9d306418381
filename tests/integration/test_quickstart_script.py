"""The scripted server of the quickstart: what stands in for a model when the recording is made."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from opspawn.testing.openai_server import CallTools, Fail, Say

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "quickstart"
TICKETS = sorted(file.stem for file in (EXAMPLE / "tickets").iterdir())
QUESTION = f"Triage the tickets of the folder tickets: {json.dumps(TICKETS)}"


@pytest.fixture(scope="module")
def quickstart() -> ModuleType:
    spec = importlib.util.spec_from_file_location("quickstart_script", EXAMPLE / "script.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _request(question: str, tools: list[str], steps: list[CallTools]) -> dict[str, Any]:
    messages: list[dict[str, Any]] = [{"role": "system", "content": "..."}, {"role": "user", "content": question}]
    for step in steps:
        calls = [{"id": "c", "name": name, "arguments": json.dumps(arguments)} for name, arguments in step.calls]
        messages += [{"role": "assistant", "content": "", "tool_calls": calls}]
        messages += [{"role": "tool", "content": "...", "tool_call_id": "c"} for _ in calls]
    return {"messages": messages, "tools": [{"name": name} for name in tools]}


def _play(quickstart: ModuleType, question: str, tools: list[str]) -> tuple[list[CallTools], Say]:
    """Ask on until there is an answer; the calls on the way, and the answer."""
    steps: list[CallTools] = []
    while True:
        step = quickstart.script(_request(question, tools, steps))
        if not isinstance(step, CallTools):
            assert isinstance(step, Say)
            return steps, step
        steps.append(step)


def test_the_triage_reads_every_ticket_once_and_answers_with_every_verdict(quickstart: ModuleType) -> None:
    steps, answer = _play(quickstart, QUESTION, ["read_ticket", "search_handbook"])

    calls = [call for step in steps for call in step.calls]
    assert [arguments["id"] for name, arguments in calls if name == "read_ticket"] == TICKETS
    assert [verdict["id"] for verdict in json.loads(answer.text)] == TICKETS


def test_the_triage_reads_in_batches_looks_up_now_and_then_and_never_the_same_twice(quickstart: ModuleType) -> None:
    steps, _ = _play(quickstart, QUESTION, ["read_ticket", "search_handbook"])

    assert max(sum(name == "read_ticket" for name, _ in step.calls) for step in steps) == 3
    lookups = [arguments["query"] for step in steps for name, arguments in step.calls if name == "search_handbook"]
    assert len(lookups) == len(set(lookups)) > 10
    assert 12 <= len(steps) + 1 <= 16


def test_the_helper_looks_up_before_it_answers(quickstart: ModuleType) -> None:
    for question in quickstart.ANSWERS:
        steps, answer = _play(quickstart, question, ["search_handbook"])

        assert [name for step in steps for name, _ in step.calls][:1] == ["search_handbook"]
        assert answer.text.endswith(")")


def test_the_same_conversation_gets_the_same_answer(quickstart: ModuleType) -> None:
    tools = ["read_ticket", "search_handbook"]

    assert _play(quickstart, QUESTION, tools) == _play(quickstart, QUESTION, tools)


@pytest.mark.parametrize(
    ("question", "tools", "reason"),
    [
        ("What is the weather?", ["search_handbook"], "no answer to 'What is the weather?'"),
        ("Triage HD-1001 and HD-9999", ["read_ticket"], "no verdict on HD-9999"),
        ("Triage them", ["read_ticket"], "no verdict on 'Triage them'"),
    ],
)
def test_what_was_never_scripted_is_refused_with_the_reason(
    quickstart: ModuleType, question: str, tools: list[str], reason: str
) -> None:
    step = quickstart.script(_request(question, tools, []))

    assert isinstance(step, Fail)
    assert step.status == 400
    assert isinstance(step.body, dict)
    assert reason in step.body["error"]["message"]
