"""Evaluations: cases, scorers, results that are kept, comparisons, and the command."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from opspawn import Agent
from opspawn.agentkit import FunctionModel
from opspawn.app import load_app
from opspawn.cli import main
from opspawn.contracts.model import ModelRequest, ModelResponse, ToolCall, Usage
from opspawn.errors import ConfigError, InvalidInput
from opspawn.testing import LoopPlanner, ScriptedModel
from opspawn.testing.evals import (
    Case,
    Evaluation,
    Outcome,
    Score,
    compare,
    contains,
    evaluate,
    exact,
    function,
    json_subset,
    judge,
    regex,
)
from opspawn.testing.evals.files import load_evaluation
from opspawn.testing.evals.report import read_results


class Echo(ScriptedModel):
    """Says the last word of the question, and fails where that is "fail"."""

    def __init__(self) -> None:
        super().__init__(self.answer)

    def answer(self, request: ModelRequest) -> ModelResponse:
        word = request.messages[-1].content.split()[-1]
        if word == "fail":
            raise LookupError("kaputt")
        return ModelResponse(word, usage=Usage(10, 1, requests=1))


def of(*cases: Case, scorers: Any = None, model: Any = None) -> Evaluation:
    agent = Agent("echo", model=model or Echo(), planner=LoopPlanner())
    return Evaluation(cases or (Case("a", "say yes", "yes"),), scorers or [exact()], agent)


async def test_cases_are_asked_scored_and_counted() -> None:
    report = await evaluate(
        of(Case("right", "say yes", "yes"), Case("wrong", "say no", "yes"), Case("bad", "fail", ""))
    )

    assert [(one.name, one.passed, one.score) for one in report.results] == [
        ("right", True, 1.0),
        ("wrong", False, 0.0),
        ("bad", False, 0.0),
    ]
    assert [one.why for one in report.results] == ["", 'exact: expected "yes"', "StepFailed: LookupError: kaputt"]
    assert (report.passed, round(report.rate, 2), report.usage) == (1, 0.33, Usage(20, 2, requests=2))


@pytest.mark.parametrize(
    ("scorer", "expected", "output", "value"),
    [
        (exact(), "Yes", " Yes\n", 1),
        (exact(), "Yes", "yes", 0),
        (exact(ignore_case=True), "Yes", "yes", 1),
        (exact(), {"a": 1}, {"a": 1}, 1),
        (contains(), "token", "Reset the TOKEN.", 1),
        (contains(), ["token", "moon"], "Reset the token.", 0.5),
        (contains("token", ignore_case=False), None, "Token", 0),
        (regex(), r"\d+ euro", "That is 12 euro.", 1),
        (regex(r"^no"), None, "yes", 0),
        (json_subset(), {"a": {"b": 1}, "c": [1]}, {"a": {"b": 1, "x": 2}, "c": [1, 2]}, 1),
        (json_subset(), {"a": 1, "b": 2}, '{"a": 1, "b": 3}', 0.5),
        (json_subset(), {"a": 1}, "no json", 0),
        (function(lambda outcome: len(outcome.text) < 5), None, "long enough", 0),
        (function(lambda outcome: (0.25, "so so")), None, "x", 0.25),
    ],
)
async def test_scorers_say_how_right_an_output_is(scorer: Any, expected: Any, output: Any, value: float) -> None:
    score = await scorer.score(Outcome(Case("a", "?", expected), output), None)

    assert (score.value, score.passed) == (value, value == 1)
    assert value == 1 or scorer.name == "<lambda>" or score.why


async def test_a_model_judges_by_a_rubric_and_its_usage_counts() -> None:
    def say(request: ModelRequest) -> ModelResponse:
        assert "polite" in request.messages[0].content
        calls = (ToolCall("1", "final_answer", {"score": 0.8, "why": "Quite."}),)
        return ModelResponse(tool_calls=calls, usage=Usage(100, 10, requests=1), finish_reason="tool_calls")

    for pass_at, passed in ((0.7, True), (0.9, False)):
        scorer = judge("Is it polite?", model=ScriptedModel(say), pass_at=pass_at)
        report = await evaluate(of(scorers=[scorer]))

        [result] = report.results
        assert (result.scores[0].value, result.scores[0].why, result.passed) == (0.8, "Quite.", passed)
        assert report.usage == Usage(110, 11, requests=2)


async def test_a_scorer_sees_what_happened() -> None:
    def thrifty(outcome: Outcome) -> Score:
        return Score("thrifty", 1.0, outcome.events.usage.requests == 1)

    assert (await evaluate(of(scorers=[function(thrifty)]))).passed == 1


async def test_a_scorer_that_fails_is_an_error_of_its_case_alone() -> None:
    def strict(outcome: Outcome) -> bool:
        return 1 / len(str(outcome.output).replace("a", "")) > 0

    report = await evaluate(of(Case("one", "say a"), Case("other", "say b"), scorers=[function(strict)]))

    assert [result.error for result in report.results] == [
        "The scorer 'strict' failed: ZeroDivisionError: division by zero",
        None,
    ]


def test_what_is_no_agent_is_told_at_once() -> None:
    with pytest.raises(InvalidInput, match="'helper' is no agent"):
        Evaluation(cases=[Case("a", "b")], scorers=[contains()], agent="helper")  # type: ignore[arg-type]


async def test_no_more_cases_run_at_once_than_may() -> None:
    running, most = 0, 0

    async def answer(request: ModelRequest) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        return "yes"

    cases = [Case(str(n), "say yes", "yes") for n in range(9)]
    report = await evaluate(of(*cases, model=FunctionModel(answer)), parallel=3)

    assert (report.passed, most) == (9, 3)


async def test_finished_cases_are_not_run_again_and_failed_ones_are(tmp_path: Path) -> None:
    file, model = tmp_path / "results" / "r.jsonl", Echo()
    cases = (Case("right", "say yes", "yes"), Case("wrong", "say no", "yes"), Case("bad", "fail", ""))
    await evaluate(of(*cases, model=model), results=file)

    again = await evaluate(of(*cases, model=model), results=file)

    assert [request.messages[-1].content for request in model.requests[3:]] == ["fail"]
    assert [one.kept for one in again.results] == [True, True, False]
    assert again.usage == Usage(20, 2, requests=2)


async def test_a_case_or_a_scorer_that_changed_is_run_again(tmp_path: Path) -> None:
    file, model = tmp_path / "r.jsonl", Echo()
    await evaluate(of(Case("a", "say yes", "yes"), model=model), results=file)

    await evaluate(of(Case("a", "say yes", "YES"), model=model), results=file)
    await evaluate(of(Case("a", "say yes", "YES"), model=model, scorers=[exact(ignore_case=True)]), results=file)
    await evaluate(of(Case("a", "say yes", "YES"), model=model, scorers=[exact(ignore_case=True)]), results=file)

    assert len(model.requests) == 3


async def test_a_line_that_was_cut_off_costs_one_case(tmp_path: Path) -> None:
    file, model = tmp_path / "r.jsonl", Echo()
    cases = (Case("a", "say yes", "yes"), Case("b", "say no", "no"))
    await evaluate(of(*cases, model=model), results=file, parallel=1)
    file.write_bytes(file.read_bytes()[:-20])

    report = await evaluate(of(*cases, model=model), results=file)
    assert (len(model.requests), report.passed) == (3, 2)
    await evaluate(of(*cases, model=model), results=file)
    assert len(model.requests) == 3


async def test_a_comparison_tells_what_got_worse_first(tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    before = [Case("same", "say yes", "yes"), Case("fell", "say yes", "yes"), Case("rose", "say no", "yes")]
    await evaluate(of(*before), results=file)
    after = [Case("same", "say yes", "yes"), Case("fell", "say no", "yes"), Case("rose", "say yes", "yes")]

    changes = compare(read_results(file), await evaluate(of(*after, Case("new", "say yes", "yes"))))

    assert [(one.name, one.before, one.after, one.worse) for one in changes] == [
        ("fell", 1.0, 0.0, True),
        ("rose", 0.0, 1.0, False),
        ("new", None, 1.0, False),
    ]


def test_what_is_no_evaluation_or_no_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="Two cases are named 'a'"):
        of(Case("a", "1"), Case("a", "2"))
    with pytest.raises(InvalidInput, match="either agent= or run="):
        Evaluation([Case("a", "1")], [exact()])
    (tmp_path / "r.jsonl").write_text('{"some": "thing"}\n')
    with pytest.raises(ConfigError, match=r"r\.jsonl:1 is no result of an evaluation"):
        read_results(tmp_path / "r.jsonl")


APP = """
from opspawn import Agent, App
from opspawn.agentkit import FunctionModel
from opspawn.testing import LoopPlanner
from opspawn.testing.evals import Case, Evaluation, exact

helper = Agent("helper", model=FunctionModel(lambda r: r.messages[-1].content.split()[-1]), planner=LoopPlanner())
app = App(agents=[helper])
words = Evaluation([Case("yes", "say yes", "yes"), Case("no", "say no", "yes", ["hard"])], [exact()], helper)
"""
FILE = """
scorers: [exact, {contains: y}]
cases:
  - {name: easy, input: say yes, expected: yes, labels: [smoke]}
  - {name: hard, input: say no, expected: yes}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "eval_app.py").write_text(APP)
    (tmp_path / "words.yaml").write_text(FILE)
    (tmp_path / "opspawn.toml").write_text('app = "eval_app:app"\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def opspawn(*words: str) -> Result:
    return CliRunner().invoke(main, ["eval", *words])


def test_the_command_prints_a_table_and_fails_below_the_threshold(folder: Path) -> None:
    done = opspawn("words.yaml")

    assert done.exit_code == 1
    assert [line.split("\t")[:3] for line in done.stdout.splitlines()] == [
        ["RESULT", "CASE", "SCORE"],
        ["passed", "easy", "1.00"],
        ["failed", "hard", "0.00"],
    ]
    assert "1 of 2 passed (50%), mean score 0.50; 0 tokens in, 0 out." in done.stderr
    assert opspawn("words.yaml", "--threshold", "0.5").exit_code == 0
    assert opspawn("words.yaml", "--label", "smoke").exit_code == 0


def test_the_command_keeps_results_and_compares(folder: Path) -> None:
    opspawn("eval_app:words", "--results", "r.jsonl")
    told = json.loads(opspawn("eval_app.py:words", "--results", "r.jsonl", "--compare", "r.jsonl", "--json").stdout)

    assert (told["cases"], told["passed"], told["changes"]) == (2, 1, [])
    assert len((folder / "r.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nope.yaml"], "nope.yaml cannot be read: No such file or directory."),
        (["nope"], "There is no module 'nope'"),
        (["eval_app:app"], "eval_app:app is no Evaluation."),
        (["words.yaml", "--case", "nope"], "There is no case 'nope'."),
        (["words.yaml", "--label", "nope"], "No case has the label 'nope'."),
        (["words.yaml", "--compare", "nope.jsonl"], "The results in 'nope.jsonl' cannot be read"),
        (["bad.yaml"], "bad.yaml: there is no scorer 'exactly'."),
        (["words.yaml", "--model", "nope:m"], "There is no model 'nope'."),
    ],
)
def test_what_cannot_be_run_is_said_in_one_line(folder: Path, words: list[str], said: str) -> None:
    (folder / "bad.yaml").write_text("scorers: [exactly]\ncases: [{input: hi}]\n")

    done = opspawn(*words)

    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_what_init_writes_is_an_app_with_an_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(main, ["init", "first"]).exit_code == 0
    (tmp_path / "first" / "app.py").rename(tmp_path / "first" / "first_app.py")

    written = load_evaluation("first/evals.yaml", tmp_path, lambda: load_app("first_app:app", tmp_path / "first"))

    assert written.agent is not None
    assert (written.agent.name, written.agent.tool_names, len(written.cases)) == ("helper", ("multiply",), 2)
