"""An app that needs no model: what the tests of the MCP server offer to clients."""

import asyncio
from pathlib import Path

from opspawn import Agent, App, tool
from opspawn.contracts.planner import PlannerResult
from opspawn.testing import ScriptedModel

print("an app that prints while it is imported")
NOTES = Path(__file__).with_name("notes.txt")


def note(line):
    with NOTES.open("a") as file:
        file.write(line + "\n")


@tool(effect="read")
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool(effect="once")
async def pay(amount: int) -> dict:
    """Pay an amount."""
    note(f"paid {amount}")
    return {"paid": amount}


class Planner:
    def __init__(self, run):
        self.run_it = run

    async def run(self, context):
        return PlannerResult(await self.run_it(context))


async def echo(context):
    await context.progress("half way", done=1, total=2)
    return f"you said: {context.input}"


async def paint(context):
    return str(await context.ask("Which colour?", choices=["red", "blue"]))


async def name_it(context):
    return str(await context.ask("What is it called?", schema={"type": "string"}))


async def nap(context):
    note("asleep")
    try:
        await context.step("nap", asyncio.sleep, 3600)
    except asyncio.CancelledError:
        note("woken")
        raise


def agent(name, run, **more):
    return Agent(name, model=ScriptedModel([]), planner=Planner(run), **more)


app = App(
    agents=[
        agent("echo", echo, description="Says it again."),
        agent("painter", paint),
        agent("namer", name_it),
        agent("sleeper", nap),
    ],
    tools=[add, pay],
    workflows=["triage.yaml"],
)
