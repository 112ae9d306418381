"""`opspawn run`: one durable run in the terminal, streamed; cut off, it can be resumed."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from opspawn.app import App
from opspawn.cli import assemble
from opspawn.cli.assemble import existing_store, find_app, on_signals, start_logs, stopping_words
from opspawn.cli.follow import Follower
from opspawn.cli.lazy import FAILED, INTERRUPTED, OK
from opspawn.cli.output import configuration, json_option, print_text, say
from opspawn.cli.views import task_json, tell_halt
from opspawn.config import Loaded
from opspawn.contracts.store import Task, TaskState
from opspawn.errors import InvalidInput, InvalidTransition, NotFound
from opspawn.host import Host
from opspawn.ops.accepting import plain_json
from opspawn.ops.ids import new_id

#: A run started here waits in a queue of its own, so that no server takes it over while it can be resumed here.
_QUEUE = "run-"


@click.command("run")
@click.argument("words", nargs=-1, metavar="[APP] AGENT INPUT")
@click.option("--resume", metavar="ID", help="Go on with a run that was cut off.")
@json_option
@click.pass_context
def run(context: click.Context, words: tuple[str, ...], resume: str | None, as_json: bool) -> None:
    """Run AGENT (or workflow/NAME, function/NAME) of APP on INPUT and print its result.

    APP may be left out where opspawn.toml names it. INPUT is a text for an agent, a JSON value for workflows and
    functions, and "-" reads it from standard input.

    \b
    opspawn run app:app helper "How do I reset a token?"
    opspawn run workflow/triage '{"report": "reports/today.md"}'
    """
    context.exit(assemble.run(_run(configuration(), list(words), resume, as_json)))


async def _run(loaded: Loaded, words: list[str], resume: str | None, as_json: bool) -> int:
    start_logs(loaded)
    named = words.pop(0) if words and _names_app(words[0]) else None
    if resume is None and not words:
        raise InvalidInput("Nothing is named to run.", remedy='Write: opspawn run [APP] AGENT "INPUT", or --resume ID.')
    app = find_app(named, loaded)
    id = resume or new_id()
    handler, input = "", None
    if resume is None:
        handler = _handler(words[0])
        _check_known(app, handler)
        input = _input(words)
    queue = await _queue_of(loaded, id) if resume else f"{_QUEUE}{id}"
    check = None if resume else lambda catalog: catalog.accept(handler, plain_json(handler, input))
    async with Host.open(app, loaded=loaded, queues=[queue], check=check) as host:
        follower = Follower(host, id, quiet=as_json)

        def stop() -> None:
            host.stop()
            follower.stop()

        on_signals(stop, first=stopping_words(loaded))
        if resume is None:
            await host.submit(handler, input, id=id, queue=queue)
        task = await follower.follow()
        return _report(task, follower, as_json)


async def _queue_of(loaded: Loaded, id: str) -> str:
    async with existing_store(loaded) as store:
        task = await store.get_task(id)
    if task is None:
        raise NotFound("task", id, remedy="See 'opspawn tasks list'.")
    if not task.queue.startswith(_QUEUE):
        raise InvalidTransition(
            f"Task {id} is in the queue {task.queue!r}.", remedy="'opspawn serve' and 'opspawn worker' run it."
        )
    return task.queue


def _names_app(word: str) -> bool:
    return ":" in word or word.endswith(".py")


def _handler(word: str) -> str:
    return word if "/" in word else f"agent/{word}"


def _check_known(app: App, handler: str) -> None:
    """Refuse what is misspelt before a missing model or a wrong input is."""
    kind, _, name = handler.partition("/")
    if kind == "agent" and name not in app.agents:
        workflows = [f"workflow/{path.stem}" for path in app.workflows]
        raise NotFound("agent", name, known=[*app.agents, *workflows, *(f"function/{each}" for each in app.functions)])
    if kind == "function" and name not in app.functions:
        raise NotFound("function", name, known=list(app.functions))
    if kind not in ("agent", "workflow", "function"):
        raise NotFound("handler", handler, remedy="A handler is agent/…, workflow/… or function/….")


def _input(words: list[str]) -> Any:
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


def _report(task: Task, follower: Follower, as_json: bool) -> int:
    if as_json:
        click.echo(json.dumps(task_json(task), ensure_ascii=False))
    elif task.state is TaskState.SUCCEEDED and not follower.printed(task.result):
        print_text(
            task.result if isinstance(task.result, str) else json.dumps(task.result, ensure_ascii=False, indent=2)
        )
    if task.state is TaskState.SUCCEEDED:
        return OK
    if task.state in (TaskState.FAILED, TaskState.CANCELLED):
        say(f"Error: the run {task.state}: {(task.error or {}).get('message', 'it was cancelled')}")
        say(f"Try again, keeping what succeeded: opspawn tasks retry {task.id}")
    elif task.state in (TaskState.IN_DOUBT, TaskState.PAUSED):
        say(tell_halt(task))
    else:
        say(f"The run was cut off. Go on with: opspawn run --resume {task.id}")
        return INTERRUPTED
    return FAILED
