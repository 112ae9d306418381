"""How commands that start something name it: `[APP] HANDLER INPUT`."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from opspawn.app import App
from opspawn.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from opspawn.catalog import Catalog


def names_app(word: str) -> bool:
    """Whether a word of the command line is an app, and no handler."""
    return ":" in word or word.endswith(".py")


def handler_of(word: str) -> str:
    """The handler that a word means: an agent, unless it says otherwise."""
    return word if "/" in word else f"agent/{word}"


def check_known(app: App, handler: str) -> None:
    """Refuse what is misspelt before a missing model or a wrong input is."""
    kind, _, name = handler.partition("/")
    if kind == "agent" and name not in app.agents:
        workflows = [f"workflow/{path.stem}" for path in app.workflows]
        raise NotFound("agent", name, known=[*app.agents, *workflows, *(f"function/{each}" for each in app.functions)])
    if kind == "function" and name not in app.functions:
        raise NotFound("function", name, known=list(app.functions))
    if kind not in ("agent", "workflow", "function"):
        raise NotFound("handler", handler, remedy="A handler is agent/…, workflow/… or function/….")


def check_input(catalog: Catalog, handler: str, input: Any) -> None:
    """Refuse what no run of the handler could begin with, before the store is opened.

    Raises: NotFound, InvalidInput.
    """
    try:
        catalog.accept(handler, input)
    except NotFound as error:
        if error.what != "workflow":
            raise
        stored = f"One that was stored is started with: opspawn workflows trigger {error.name}"
        known = f"{error.remedy} {stored}" if error.known else stored
        raise NotFound("workflow", error.name, known=error.known, remedy=known) from None


def input_of(words: list[str]) -> Any:
    """The input for the handler that the first word names. Raises: InvalidInput."""
    if len(words) > 2:
        raise InvalidInput(
            f"{words[2]!r} is one word too many.", remedy='Put the input in quotes: opspawn run AGENT "the input".'
        )
    text = words[1] if len(words) == 2 else None
    if text == "-":
        text = sys.stdin.read().strip()
    if text is not None and not _is_unicode(text):
        raise InvalidInput("The input is not text in UTF-8.", remedy="Give it in UTF-8; iconv converts files.")
    if "/" not in words[0] or text is None:
        if "/" not in words[0] and not text:
            raise InvalidInput(
                f"The agent {words[0]!r} needs an input.", remedy=f'Write: opspawn run {words[0]} "your question".'
            )
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidInput(
            f"The input of {words[0]} is not JSON: {error}.", remedy="""Write e.g. '{"key": "value"}'."""
        ) from error


def _is_unicode(text: str) -> bool:
    """Whether no byte of it was smuggled in as half of a surrogate pair, as Python does with what is not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
