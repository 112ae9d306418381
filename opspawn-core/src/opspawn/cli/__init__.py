"""The command line. Imports click and nothing heavier; a command's own module is imported when it is called."""

from __future__ import annotations

import click

from opspawn.cli.guests import GuestGroup
from opspawn.cli.lazy import print_version

#: Command to where it lives and what it does.
COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("opspawn.cli.init:init", "Write a first app and its opspawn.toml into a folder."),
    "run": ("opspawn.cli.run:run", "Run an agent once, durably, and stream its answer."),
    "chat": ("opspawn.cli.chat:chat", "Talk to an agent in the terminal; the conversation is kept."),
    "eval": ("opspawn.cli.evaluate:evaluation", "Score how an agent answers, case by case."),
    "serve": ("opspawn.cli.serve:serve", "Serve an app: REST, worker and store in one process."),
    "worker": ("opspawn.cli.serve:worker", "Run tasks of an app, without a way in."),
    "tasks": ("opspawn.cli.tasks:tasks", "Enqueue, list, explain, signal, cancel, retry tasks."),
    "why": ("opspawn.cli.seeing:why", "Say what a task waits for: short for tasks why."),
    "agents": ("opspawn.cli.agents:agents", "List, register, pause and resume agents."),
    "sessions": ("opspawn.cli.sessions:sessions", "List, show, start and update sessions."),
    "workflows": ("opspawn.cli.workflows:workflows", "List, show, store and trigger workflows."),
    "schedules": ("opspawn.cli.schedules:schedules", "Let work come by the clock: list, add, pause, run."),
    "workers": ("opspawn.cli.seeing:workers", "List the workers, what each takes, and how busy it is."),
    "questions": ("opspawn.cli.questions:questions", "List and answer what runs ask people."),
    "store": ("opspawn.cli.store:store", "Look at the store, back it up, delete what is old."),
    "doctor": ("opspawn.cli.doctor:doctor", "Look at everything, and say what is wrong and what to do."),
    "approvals": ("opspawn.cli.approvals:approvals", "List, approve and deny what runs want to do."),
    "memory": ("opspawn.cli.memory:memory", "See, search, add and forget what agents remember."),
    "logs": ("opspawn.cli.logs:logs", "Show what happened, filtered, or follow it live."),
    "config": ("opspawn.cli.config:config", "Show the configuration and where it comes from."),
    "plugins": ("opspawn.cli.plugins:plugins", "List the installed plugins and what they give."),
}


@click.group(cls=GuestGroup, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    metavar="FILE",
    help="The configuration file; by default that of OPSPAWN_CONFIG, else opspawn.toml in the current folder.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=print_version,
    help="Show the version and exit.",
)
def main(config: str | None) -> None:
    """Run LLM agents and workflows that survive crashes.

    Data goes to stdout, talk to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 130 interrupted.
    """
