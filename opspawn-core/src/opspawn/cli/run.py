"""`opspawn run`: one durable run in the terminal, streamed; cut off, it can be resumed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import click

from opspawn.cli import assemble
from opspawn.cli.assemble import existing_store, find_app, on_signals, start_logs, stopping_words
from opspawn.cli.budgets import budget_of, budget_option
from opspawn.cli.follow import Follower, Lines, Warnings
from opspawn.cli.lazy import FAILED, INTERRUPTED, OK, one_line
from opspawn.cli.naming import check_input, check_known, handler_of, input_of, names_app
from opspawn.cli.narrate import Narrator
from opspawn.cli.output import configuration, json_option, print_text, say
from opspawn.cli.overrides import overrides_of, set_option
from opspawn.cli.screen import Screen
from opspawn.cli.views import cause_of, task_json, tell_halt
from opspawn.config import Loaded
from opspawn.contracts.store import Task, TaskState
from opspawn.errors import InvalidInput, InvalidTransition, NotFound
from opspawn.host import Host
from opspawn.ops.answers import answered
from opspawn.ops.engine.checks import plain_json
from opspawn.ops.ids import new_id

#: A run started here waits in a queue of its own, so that no server takes it over while it can be resumed here.
QUEUE = "run-"
Form = Literal["text", "json", "events"]


@click.command("run")
@click.argument("words", nargs=-1, metavar="[APP] AGENT INPUT")
@click.option("--resume", metavar="ID", help="Go on with a run that was cut off.")
@click.option("--session", metavar="ID", help="The conversation that it goes on with; a new one by default.")
@budget_option
@click.option("--model", metavar="PROVIDER:MODEL", help="Another model than the agent's; short for --set model=….")
@set_option
@json_option
@click.option("--events", is_flag=True, help="Print each event as one line of JSON, as it happens.")
@click.pass_context
def run(
    context: click.Context,
    words: tuple[str, ...],
    resume: str | None,
    session: str | None,
    budget: tuple[str, ...],
    model: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
    events: bool,
) -> None:
    """Run AGENT (or workflow/NAME, function/NAME) of APP on INPUT and print its result.

    APP may be left out where opspawn.toml names it. INPUT is a text for an agent, a JSON value for workflows and
    functions, and "-" reads it from standard input. On a terminal you are asked what the run asks.

    \b
    opspawn run app:app helper "How do I reset a token?"
    opspawn run helper "And on a phone?" --session tokens
    opspawn run workflow/triage '{"report": "reports/today.md"}'
    """
    overrides = overrides if model is None else (*overrides, f"model={json.dumps(model)}")
    form: Form = "json" if as_json else "events" if events else "text"
    context.exit(assemble.run(_run(configuration(), list(words), resume, session, budget, overrides, form)))


async def _run(
    loaded: Loaded,
    words: list[str],
    resume: str | None,
    session: str | None,
    budget: tuple[str, ...],
    overrides: tuple[str, ...],
    form: Form,
) -> int:
    start_logs(loaded)
    named = words.pop(0) if words and names_app(words[0]) else None
    if resume is not None and session is not None:
        raise InvalidInput("--session goes with a new run.", remedy="A run that is resumed has its session.")
    allowed, changes = budget_of(budget), overrides_of(overrides)
    if resume is not None and allowed is not None:
        raise InvalidInput("--budget goes with a new run.", remedy="A run that is resumed keeps what it was given.")
    if resume is not None and changes is not None:
        raise InvalidInput("--set goes with a new run.", remedy="A run that is resumed goes on as it began.")
    if resume is None and not words:
        raise InvalidInput("Nothing is named to run.", remedy='Write: opspawn run [APP] AGENT "INPUT", or --resume ID.')
    app = find_app(named, loaded)
    id = resume or new_id()
    handler, input = "", None
    if resume is None:
        handler = handler_of(words[0])
        check_known(app, handler)
        input = input_of(words)
    queue = await _queue_of(loaded, id) if resume else f"{QUEUE}{id}"
    check = None if resume else lambda catalog: check_input(catalog, handler, plain_json(handler, input))
    async with Host.open(app, loaded=loaded, queues=[queue], check=check) as host:
        screen = Screen() if form == "text" else None
        narrator = Narrator(screen) if screen is not None else None
        follower = Follower(host, id, narrator or (Lines() if form == "events" else Warnings()), screen)

        def stop() -> None:
            host.stop()
            follower.stop(stopping_words(loaded))

        on_signals(stop)
        submit = partial(
            host.submit, handler, input, id=id, queue=queue, session=session, budget=allowed, overrides=changes
        )
        task = await follower.follow(submit if resume is None else None)
        return _report(task, form, narrator, await answered(host.events, task))


async def _queue_of(loaded: Loaded, id: str) -> str:
    async with existing_store(loaded) as store:
        task = await store.get_task(id)
    if task is None:
        raise NotFound("task", id, remedy="See 'opspawn tasks list'.")
    if not task.queue.startswith(QUEUE):
        raise InvalidTransition(
            f"Task {id} is in the queue {task.queue!r}.", remedy="'opspawn serve' and 'opspawn worker' run it."
        )
    return task.queue


def _report(task: Task, form: Form, narrator: Narrator | None, ended: Mapping[str, Any] | None) -> int:
    if form == "json":
        click.echo(json.dumps(task_json(task, ended), ensure_ascii=False))
    elif narrator is not None and task.state is TaskState.SUCCEEDED and not narrator.printed(task.result):
        print_result(task.result)
    return tell_end(task)


def print_result(result: Any) -> None:
    """Print the result of a run on stdout."""
    print_text(result if isinstance(result, str) else json.dumps(result, ensure_ascii=False, indent=2))


def tell_end(task: Task) -> int:
    """Say how a run ended that did not succeed, and how to go on; the answer is the exit code."""
    if task.state is TaskState.SUCCEEDED:
        return OK
    if task.state in (TaskState.FAILED, TaskState.CANCELLED):
        say(
            one_line(
                f"Error: the run {'failed' if task.state is TaskState.FAILED else 'was cancelled'}: {cause_of(task)}"
            )
        )
        say(f"Try again, keeping what succeeded: opspawn tasks retry {task.id}")
    elif task.state in (TaskState.IN_DOUBT, TaskState.PAUSED):
        say(tell_halt(task))
    else:
        say(f"The run was cut off. Go on with: opspawn run --resume {task.id}")
        return INTERRUPTED
    return FAILED
