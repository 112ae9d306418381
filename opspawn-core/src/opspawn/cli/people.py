"""Questions of a run, put to whoever sits at the terminal; their answers go to the engine, as those of anybody do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from opspawn.cli.deciding import who
from opspawn.cli.keyboard import typed_line
from opspawn.cli.questions import meant
from opspawn.cli.screen import Screen
from opspawn.contracts.question import AskedQuestion
from opspawn.contracts.store import Query
from opspawn.errors import InvalidInput, InvalidTransition, OpspawnError
from opspawn.host import Host


class People:
    """Asks one question after another. One that was answered elsewhere meanwhile is asked no more."""

    def __init__(self, host: Host, screen: Screen, typed: Callable[[], Awaitable[str | None]] = typed_line) -> None:
        """Take where to ask; `typed` gives the next line that was typed, None when there will be no more."""
        self._host = host
        self._typed = typed
        self._screen = screen
        self._waiting: asyncio.Queue[str] = asyncio.Queue()
        self._over: set[str] = set()
        self._now: str | None = None
        self._asking: asyncio.Task[None] | None = None

    def ask(self, question: str) -> None:
        """Put a question, by its id, when those before it are over."""
        self._waiting.put_nowait(question)

    def over(self, question: str) -> None:
        """A question needs no answer any more."""
        self._over.add(question)
        if self._now == question and self._asking is not None:
            self._asking.cancel()

    async def ask_what_is_open(self, root: str) -> None:
        """Put the questions that the tasks of a tree asked before."""
        page = await self._host.questions(Query(where={"root": root, "state": "open"}, limit=200))
        for asked in reversed(page.items):
            self.ask(asked.id)

    async def serve(self) -> None:
        """Ask until cancelled."""
        while True:
            self._now = await self._waiting.get()
            if self._now in self._over:
                continue
            self._asking = asyncio.ensure_future(self._put(self._now))
            try:
                await asyncio.wait({self._asking})
                if self._asking.cancelled():
                    self._screen.answered(typed=False)
                else:
                    self._asking.result()
            finally:
                self._asking.cancel()
                self._screen.answered(typed=False)

    async def _put(self, id: str) -> None:
        asked = await self._host.question(id)
        if asked.state != "open":
            return
        try:
            if asked.question.kind == "approval":
                await self._approval(asked)
            elif asked.question.kind == "plan":
                await self._plan(asked)
            else:
                await self._question(asked)
        except InvalidTransition:  # somebody else was faster, or it is too late
            return
        except _NobodyAnswers:
            self._screen.line((how_to_answer(asked), "dim"))

    async def _approval(self, asked: AskedQuestion) -> None:
        self._screen.line(("? ", "yellow"), (asked.question.text, "bold"))
        while True:
            said = (await self._line("  Allow it? [y]es, [n]o, [a]lways in this run, [e]dit: ")).lower()
            if said in ("y", "yes", "a", "always"):
                await self._host.approve(asked.id, always=said.startswith("a"), by=who())
                return
            if said in ("n", "no"):
                await self._host.deny(asked.id, await self._line("  Why? (the model is told) "), by=who())
                return
            if said in ("e", "edit") and await self._edited(asked):
                return

    async def _plan(self, asked: AskedQuestion) -> None:
        self._screen.line(("? ", "yellow"), (asked.question.text, "bold"))
        while True:
            said = (await self._line("  Carry it out? [y]es, [n]o, [r]evise, [e]dit: ")).lower()
            answer: dict[str, Any] | None = None
            if said in ("y", "yes", "approve"):
                answer = {"decision": "approve"}
            elif said in ("n", "no", "reject"):
                words = await self._line("  Why? (the run ends with it) ")
                answer = {"decision": "reject", "words": words} if words else {"decision": "reject"}
            elif said in ("r", "revise") and (words := await self._line("  What is to be different? ")):
                answer = {"decision": "revise", "words": words}
            elif said in ("e", "edit"):
                answer = await self._other_plan(asked)
            if answer is not None and await self._taken(asked, answer):
                return

    async def _other_plan(self, asked: AskedQuestion) -> dict[str, Any] | None:
        """The plan that is typed instead, as an answer; None where none was. The one that there is stands above it."""
        plan = (asked.question.call or {}).get("plan") or {}
        self._screen.line((f"  {_json(plan)}", "dim"))
        text = await self._line("  Another plan, as JSON: ")
        if not text:
            return None
        try:
            changed = json.loads(text)
        except ValueError as error:
            self._screen.line((f"  That is no JSON: {error}", "red"))
            return None
        changed = {"steps": changed} if isinstance(changed, list) else changed
        if not isinstance(changed, dict) or not isinstance(changed.get("steps"), list):
            self._screen.line(('  A plan is an object with its steps: {"steps": [{"id": "…", "tool": "…"}]}', "red"))
            return None
        return {"decision": "approve", "plan": changed}

    async def _taken(self, asked: AskedQuestion, answer: Any) -> bool:
        """Whether the answer was taken; of one that does not fit it is said why."""
        try:
            await self._host.answer(asked.id, answer, by=who())
        except InvalidTransition:
            raise
        except OpspawnError as error:
            self._screen.line((f"  {error}", "red"))
            return False
        return True

    async def _edited(self, asked: AskedQuestion) -> bool:
        text = await self._line("  Other arguments, as JSON: ")
        if not text:
            return False
        try:
            changed = json.loads(text)
            if not isinstance(changed, dict):
                raise InvalidInput("The arguments are no JSON object.", remedy='Write e.g. {"amount": 10}.')
            await self._host.approve(asked.id, arguments=changed, by=who())
        except InvalidTransition:
            raise
        except (ValueError, OpspawnError) as error:
            self._screen.line((f"  {error}", "red"))
            return False
        return True

    async def _question(self, asked: AskedQuestion) -> None:
        question = asked.question
        choices = list(question.choices)
        self._screen.line(("? ", "yellow"), (question.text, "bold"))
        for number, choice in enumerate(choices, start=1):
            self._screen.line((f"  {number}) {choice if isinstance(choice, str) else _json(choice)}", ""))
        while True:
            text = await self._line("  > ")
            if not text and (choices or question.schema):
                continue
            try:
                said = _said(asked, choices, text)
            except OpspawnError as error:
                self._screen.line((f"  {error}", "red"))
                continue
            if await self._taken(asked, said):
                return

    async def _line(self, prompt: str) -> str:
        self._screen.ask((prompt, "yellow"))
        text = await self._typed()
        self._screen.answered(typed=text is not None)
        if text is None:
            raise _NobodyAnswers
        return text.strip()


def _said(asked: AskedQuestion, choices: list[Any], text: str) -> Any:
    """What a line means: the number of a choice, or the answer itself. Raises: InvalidInput."""
    if text.isdigit() and 1 <= int(text) <= len(choices) and text not in choices:
        chosen = choices[int(text) - 1]
        return meant(asked, chosen) if isinstance(chosen, str) else chosen
    return meant(asked, text)


class _NobodyAnswers(Exception):
    """The input has ended: whoever sat there has gone."""


def how_to_answer(asked: AskedQuestion) -> str:
    """How to answer from elsewhere."""
    if asked.question.kind == "approval":
        return f"  opspawn approvals approve|deny {asked.id}"
    if str(asked.question.kind) == "plan":
        return f"  opspawn questions answer {asked.id} approve|revise|reject"
    choices = "|".join(str(choice) for choice in asked.question.choices)
    return f"  opspawn questions answer {asked.id} {choices or 'VALUE'}"


def _json(value: Any) -> str:
    if isinstance(value, Mapping):
        value = dict(value)
    return json.dumps(value, ensure_ascii=False, default=str)
