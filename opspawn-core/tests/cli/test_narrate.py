"""What a person sees of a run: lines, folded results, answers that flow, and nothing that obeys a terminal."""

from __future__ import annotations

import pytest

from opspawn.cli.flowing import Flow
from opspawn.cli.narrate import Narrator
from opspawn.cli.screen import Screen
from opspawn.contracts import run_events as told
from opspawn.contracts.model import ToolCall
from opspawn.contracts.run_events import Failure, RunEvent


@pytest.mark.parametrize(
    ("events", "lines"),
    [
        (
            [
                told.ToolCallStarted(call="1", tool="search", arguments={"query": "token"}),
                told.ToolCallEnded(call="1", tool="search", content="One.\nTwo.\nThree.", duration_s=0.5),
            ],
            ['→ search(query="token")', "✓ search (0.50 s): One. (+2 lines)"],
        ),
        (
            [told.ToolCallEnded(call="1", tool="search", content="No\nindex.", is_error=True, error_type="x")],
            ["✗ search failed: No index."],
        ),
        (
            [told.ActDenied(act="tool", name="pay", reason="Closed."),
             told.ToolCallEnded(call="1", tool="pay", content="…", is_error=True, error_type="denied")],
            ["✗ pay is not allowed. Closed."],
        ),
        (
            [told.SubAgentStarted(run="a", child="b", handler="agent/finder"),
             told.ToolCallStarted(run="b", call="1", tool="look", arguments={})],
            ["⤷ finder as b", "  → look()"],
        ),
        (
            [told.PlanMade(plan={"steps": [{"id": "find", "description": "Find it"}, {"id": "say", "tool": "tell"}]}),
             told.PlanStepEnded(step="find"),
             told.PlanStepEnded(step="say", failed=True)],
            ["Plan", "  ○ find Find it", "  ○ say tell", "  ● find (1 of 2 done)", "  ✗ say (1 of 2 done)"],
        ),
        ([told.Retrying(step="think", error=Failure("x", "Busy.\nSorry."))], ["↻ think: Busy. Sorry. Trying again."]),
        ([told.Handoff(to="billing", reason="money")], ["⇢ billing goes on: money"]),
        ([told.Progress(note="reading", done=1, total=3)], ["… 1/3 reading"]),
        (
            [told.Progress(tool="crawl", call="c", note="page", done=n, total=3) for n in (1, 2, 3)],
            ["… crawl 1/3 page", "… crawl 3/3 page"],
        ),
        ([told.Progress(tool="crawl", done=7)], ["… crawl 7"]),
        (
            [told.BudgetSpent(what="raised", data={"limits": {"tokens": 500}})],
            ["! the budget was used up, and raised: tokens=500"],
        ),
        (
            [told.MemoryUnavailable(what="recall", error=Failure("memory", "The disk\nis gone."))],
            ["! Without memory (recall): The disk is gone. 'opspawn doctor' looks at it."],
        ),
        ([told.StepEnded(name="think", error=Failure("x", "No."))], []),
        ([told.ReasoningDelta(text="Hm.")], []),
    ],
)  # fmt: skip
def test_an_event_is_told_in_a_line(
    events: list[RunEvent], lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    narrator = Narrator(Screen())
    for event in events:
        narrator.show(event)

    shown = capsys.readouterr()
    assert (shown.err.splitlines(), shown.out) == (lines, "")


def test_what_is_long_is_cut_where_the_line_ends(capsys: pytest.CaptureFixture[str]) -> None:
    Narrator(Screen()).show(told.ToolCallEnded(call="1", tool="search", content="word " * 100 + "\nmore"))

    [line] = capsys.readouterr().err.splitlines()
    assert len(line) <= 100
    assert line.endswith("… (+1 lines)")


class OnTerminal(Screen):
    """A screen that shows pieces as they come."""

    def __init__(self) -> None:
        super().__init__()
        self.streams = True


def test_a_streamed_answer_stands_there_once(capsys: pytest.CaptureFixture[str]) -> None:
    narrator = Narrator(OnTerminal())
    for event in (
        told.TextDelta(text="Half an"),
        told.DeltasVoid(),
        told.TextDelta(text="The "),
        told.TextDelta(text="whole."),
        told.ModelAnswered(text="The whole."),
    ):
        narrator.show(event)

    assert capsys.readouterr().out == "Half an\nThe whole.\n"
    assert narrator.printed("The whole.")


def test_a_piece_that_was_lost_is_made_up_for(capsys: pytest.CaptureFixture[str]) -> None:
    narrator = Narrator(OnTerminal())
    narrator.show(told.TextDelta(text="The "))
    narrator.show(told.ModelAnswered(text="The whole answer."))

    assert capsys.readouterr().out == "The whole answer.\n"


def test_words_beside_a_call_are_not_the_answer() -> None:
    narrator = Narrator(OnTerminal())
    narrator.show(told.TextDelta(text="Let me look."))
    narrator.show(told.ModelAnswered(text="Let me look.", calls=[ToolCall("1", "search")]))

    assert not narrator.printed("Let me look.")


@pytest.mark.parametrize(
    ("pieces", "shown"),
    [
        (["one two ", "three"], "one two\nthree"),
        (["one tw", "o thr", "ee four"], "one two\nthree four"),
        (["a\n\nb"], "a\n\nb"),
        (["  - a", " b"], "  - a b"),
        (["x" * 30], "x" * 30),
        (["12345 7890 x"], "12345 7890\nx"),
    ],
)
def test_text_is_broken_between_words(pieces: list[str], shown: str) -> None:
    written: list[str] = []
    flow = Flow(written.append, lambda: 10)
    for piece in pieces:
        flow.add(piece)
    flow.end()

    assert "".join(written) == shown
