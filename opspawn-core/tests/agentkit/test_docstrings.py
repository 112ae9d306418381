"""How a docstring is read for a model."""

from __future__ import annotations

from opspawn.agentkit.docstrings import parse


def test_no_docstring_says_nothing():
    assert parse(None) == ("", {})


def test_several_names_share_one_text():
    _, arguments = parse("Move.\n\n    Args:\n        x, y: metres, -10 to 10.\n        **rest: ignored")

    assert arguments == {"x": "metres, -10 to 10.", "y": "metres, -10 to 10.", "rest": "ignored"}


def test_a_text_on_the_next_line_counts():
    _, arguments = parse(
        "Move.\n\nArgs:\n    x (dict[str, tuple(int, int)]):\n        metres,\n\n        east positive\n    y: north"
    )

    assert arguments == {"x": "metres, east positive", "y": "north"}


def test_a_list_in_the_prose_keeps_its_lines():
    description, _ = parse("Choose.\n\nOne of:\n- red\n- blue\n\nReturns:\n    It.")

    assert description == "Choose.\n\nOne of:\n- red\n- blue"


def test_a_sentence_that_ends_in_a_colon_is_not_a_section():
    description, _ = parse("Returns what follows:\na number.")

    assert description == "Returns what follows: a number."
