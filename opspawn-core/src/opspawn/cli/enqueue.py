"""`opspawn tasks enqueue` and `dispatch`: give work to the workers that serve the same store."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, TypeVar

import click

from opspawn.cli.assemble import find_app, run, start_logs
from opspawn.cli.budgets import budget_of, budget_option
from opspawn.cli.deciding import tell
from opspawn.cli.lazy import FAILED, OK, one_line
from opspawn.cli.naming import check_input, check_known, handler_of, input_of, names_app
from opspawn.cli.output import configuration, json_option, print_text, say
from opspawn.cli.views import cause_of, tell_halt
from opspawn.contracts.options import TaskOptions
from opspawn.contracts.store import Task, TaskState
from opspawn.errors import InvalidInput
from opspawn.host import Host
from opspawn.ops.engine.checks import plain_json
from opspawn.ops.engine.reading import SETTLED

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--queue", default="default", show_default=True, help="Which workers take it."),
    click.option("--session", help="The session that it belongs to; a new one by default."),
    click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="A mark to find it by; repeatable."),
    click.option("--priority", type=int, default=0, help="A head start of 60 seconds per unit."),
    click.option("--strict", is_flag=True, help="Let priority count before any waiting time."),
    click.option("--delay", "delay_s", type=float, default=0.0, metavar="S", help="Earliest start, in seconds."),
    click.option("--timeout", "timeout_s", type=float, metavar="S", help="Seconds for one attempt."),
    click.option("--idle-timeout", "idle_timeout_s", type=float, metavar="S", help="Seconds without progress."),
    click.option("--deadline", "deadline_s", type=float, metavar="S", help="Seconds for it and all under it."),
    budget_option,
    click.option("--idempotency-key", help="The same key with the same request gives the task of the first time."),
    json_option,
)


def _options(command: F) -> F:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command()
@click.argument("words", nargs=-1, metavar="[APP] HANDLER [INPUT]")
@_options
@click.pass_context
def enqueue(context: click.Context, /, words: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Accept a task for the workers of this store, and print its id.

    HANDLER and INPUT are those of `opspawn run`. 'opspawn serve' or 'opspawn worker' runs it.
    """

    def tell_of(task: Task) -> int:
        if not as_json:
            print_text(task.id)
        tell(task, f"Task {task.id} {task.state.words}.", as_json)
        return OK

    context.exit(run(_accept(list(words), options, 0.0, tell_of)))


@click.command()
@click.argument("words", nargs=-1, metavar="[APP] HANDLER [INPUT]")
@click.option("--wait", "wait_s", type=click.FloatRange(min=0), default=math.inf, metavar="S", help="Wait no longer.")
@_options
@click.pass_context
def dispatch(context: click.Context, /, words: tuple[str, ...], wait_s: float, as_json: bool, **options: Any) -> None:
    """Accept a task for the workers of this store, wait for its end, and print its result."""
    context.exit(run(_accept(list(words), options, wait_s, lambda task: _report(task, as_json))))


async def _accept(words: list[str], options: dict[str, Any], wait_s: float, tell_of: Callable[[Task], int]) -> int:
    loaded = configuration()
    start_logs(loaded)
    named = words.pop(0) if words and names_app(words[0]) else None
    if not words:
        raise InvalidInput("Nothing is named to run.", remedy="Write: opspawn tasks enqueue [APP] HANDLER [INPUT].")
    app = find_app(named, loaded)
    handler = handler_of(words[0])
    check_known(app, handler)
    input = plain_json(handler, input_of(words))
    asked: TaskOptions = {**options, "labels": labels_of(options["labels"]), "budget": budget_of(options["budget"])}  # type: ignore[typeddict-item]
    async with Host.open(app, loaded=loaded, worker=False, check=lambda all: check_input(all, handler, input)) as host:
        return tell_of(await host.dispatch(handler, input, wait_s=wait_s, **asked))


def labels_of(words: tuple[str, ...]) -> dict[str, str]:
    """Labels written as NAME=VALUE. Raises: InvalidInput."""
    labels = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not name or not sign:
            raise InvalidInput(f"{word!r} is not a label.", remedy="Write --label NAME=VALUE.")
        labels[name] = value
    return labels


def _report(task: Task, as_json: bool) -> int:
    if as_json:
        tell(task, "", as_json)
    elif task.state is TaskState.SUCCEEDED:
        result = task.result
        print_text(result if isinstance(result, str) else json.dumps(result, ensure_ascii=False, indent=2))
    elif task.state not in SETTLED:
        say(f"So far task {task.id} {task.state.words}. Look again with: opspawn tasks show {task.id}")
    elif task.state.terminal:
        say(one_line(f"Error: task {task.id} {task.state.words}: {cause_of(task)}"))
    else:
        say(tell_halt(task))
    return OK if task.state is TaskState.SUCCEEDED else FAILED
