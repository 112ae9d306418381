"""`opspawn chat`: a conversation with an agent in the terminal. Each turn is a durable run of one session."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from opspawn.app import App
from opspawn.cli.assemble import find_app, start_logs, stopping_words
from opspawn.cli.commands import Commands, tokens_of
from opspawn.cli.follow import Lines, Show
from opspawn.cli.lazy import FAILED, INTERRUPTED, OK, explain
from opspawn.cli.naming import check_known, handler_of, names_app
from opspawn.cli.narrate import Narrator
from opspawn.cli.output import configuration, json_option, say
from opspawn.cli.room import Beside, Room
from opspawn.cli.run import print_result, tell_end
from opspawn.cli.screen import Screen
from opspawn.config import Loaded
from opspawn.contracts.store import Task, TaskState
from opspawn.errors import InvalidInput, OpspawnError
from opspawn.ops.ids import new_id

_HISTORY = 1_000


@click.command("chat")
@click.argument("words", nargs=-1, metavar="[APP] [AGENT]")
@click.option("--session", metavar="ID", help="The conversation to go on with; a new one by default.")
@click.option("--model", metavar="PROVIDER:MODEL", help="Another model than the agent's.")
@json_option
@click.pass_context
def chat(context: click.Context, words: tuple[str, ...], session: str | None, model: str | None, as_json: bool) -> None:
    """Talk to AGENT of APP, line by line. /help lists what else you can type; Ctrl-D leaves.

    Each answer is a durable run, and the conversation is kept: --session goes on with it, also with an answer that was
    cut off. AGENT may be left out where the app has only one. From a pipe, each line is a turn; with --json each event
    of the runs is one line of JSON.

    \b
    opspawn chat helper
    opspawn chat app:app helper --session tokens
    echo "How do I reset a token?" | opspawn chat helper --json
    """
    loaded = configuration()
    start_logs(loaded)
    named = [*words]
    app = find_app(named.pop(0) if named and names_app(named[0]) else None, loaded)
    talk = Talk(loaded, app, _agent_of(app, named), session or f"s-{new_id().removeprefix('t-')}", model, as_json)
    context.exit(talk.hold())


def _agent_of(app: App, words: list[str]) -> str:
    if len(words) > 1:
        raise InvalidInput(f"{words[1]!r} is one word too many.", remedy="Write: opspawn chat [APP] [AGENT].")
    if words:
        handler = handler_of(words[0])
        check_known(app, handler)
        if not handler.startswith("agent/"):
            raise InvalidInput(f"{words[0]!r} is no agent, and only agents talk.", remedy="Use 'opspawn run'.")
        return handler.removeprefix("agent/")
    if len(app.agents) != 1:
        there = ", ".join(sorted(app.agents)) or "none"
        raise InvalidInput(f"Which agent? There are: {there}.", remedy="Write: opspawn chat AGENT.")
    return next(iter(app.agents))


class Talk:
    """One conversation, from the side of the keyboard."""

    def __init__(self, loaded: Loaded, app: App, agent: str, session: str, model: str | None, as_json: bool) -> None:
        self._loaded = loaded
        self._model = model
        self._json = as_json
        self._screen = None if as_json else Screen()
        self._live = sys.stdin.isatty() and not as_json
        self._beside = Beside()
        self._room = Room(loaded, app, agent, session)
        usual = app.agents[agent].model or loaded.settings.model or "no model"
        self._commands = Commands(self._beside, self._room, app.agents[agent], usual, model)

    def hold(self) -> int:
        """Talk until somebody leaves; the answer is the exit code."""
        try:
            self._beside.run(self._room.open(self._model))
            with _line_editing(self._loaded if self._live else None):
                return self._hold()
        finally:
            with suppress(KeyboardInterrupt):
                self._beside.run(self._room.aclose())
            self._beside.close()

    def _hold(self) -> int:
        if self._live:
            say(f"{self._room.agent} ({self._commands.model}), session {self._room.session}", dim=True)
            say("/help tells what else you can type, Ctrl-D leaves.", dim=True)
        cut_off = self._beside.run(self._room.unfinished())
        if cut_off is not None:
            say("Going on with what was cut off.", dim=True)
            if (code := self._turn(None, cut_off)) != OK and not self._live:
                return code
        while True:
            try:
                line = self._next_line()
            except KeyboardInterrupt:
                say("\nCtrl-D or /exit leaves.")
                continue
            if line is None:
                return OK
            if not line.strip():
                continue
            if self._live and line.startswith("/") and not line.startswith("//"):
                try:
                    if self._commands.obey(line) == "leave":
                        return OK
                except OpspawnError as error:
                    say(f"Error: {explain(error)[0]}")
                continue
            code = self._turn(line.removeprefix("/") if line.startswith("//") else line)
            if code == INTERRUPTED or (code != OK and not self._live):
                return code

    def _next_line(self) -> str | None:
        if not self._live:
            return next(iter(sys.stdin.readline, ""), None)
        try:
            return input("> ")
        except EOFError:
            print(file=sys.stderr)
            return None

    def _turn(self, text: str | None, cut_off: Task | None = None) -> int:
        """One run to its end."""
        narrator = Narrator(self._screen) if self._screen is not None else None
        show: Show = narrator or Lines()
        if cut_off is not None:
            work = self._room.follow(cut_off.id, show, self._screen)
        else:
            work = self._room.say((text or "").rstrip("\n"), show, self._screen)
        try:
            task = self._beside.run(work)
        except KeyboardInterrupt:
            return self._leave()
        except OpspawnError as error:
            if not self._live:
                raise
            say(f"Error: {explain(error)[0]}")
            return FAILED
        if narrator is not None and task.state is TaskState.SUCCEEDED:
            if not narrator.printed(task.result):
                print_result(task.result)
            if self._live:
                say(tokens_of(narrator.usage), dim=True)
        return OK if task.state is TaskState.SUCCEEDED else tell_end(task)

    def _leave(self) -> int:
        """Ctrl-C while an answer is made: it is given back, to be gone on with."""
        if self._screen is not None:
            self._screen.answered(typed=False)
            self._screen.line((stopping_words(self._loaded), ""))
        self._beside.run(self._room.aclose())
        say(f"The answer was cut off. Go on with: opspawn chat {self._room.agent} --session {self._room.session}")
        return INTERRUPTED


@contextmanager
def _line_editing(loaded: Loaded | None) -> Iterator[None]:
    """Arrow keys, and the lines of former conversations, where this Python can; nothing without a terminal."""
    if loaded is None:
        yield
        return
    try:
        import readline
    except ImportError:
        yield
        return
    file = Path(loaded.settings.data) / "chat_history"
    with suppress(OSError):
        readline.read_history_file(file)
    readline.set_history_length(_HISTORY)
    try:
        yield
    finally:
        with suppress(OSError):
            readline.write_history_file(file)
            file.chmod(0o600)
