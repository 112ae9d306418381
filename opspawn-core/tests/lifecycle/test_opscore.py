"""The engine's Python API: the names of the brief, for code with and without an event loop."""

from __future__ import annotations

import asyncio
import inspect
import threading
from pathlib import Path
from typing import Any

import pytest

from opspawn import Agent, App
from opspawn.contracts.lifecycle import AgentState, SessionState
from opspawn.contracts.planner import PlannerResult
from opspawn.contracts.run import AgentContext, RunContext
from opspawn.contracts.store import Query, TaskState
from opspawn.errors import InvalidInput, InvalidTransition, NotFound, OpspawnError
from opspawn.opscore import OpsCore
from opspawn.sync_opscore import SyncOpsCore
from opspawn.testing import ScriptedModel

PATIENCE_S = 30.0
FLOW = """\
opspawn: "1"
name: greet
inputs:
  who: {type: string}
steps:
  say: {uses: agent/echo, with: {input: "${{ inputs.who }}"}}
output: ${{ steps.say.output }}
"""


class Echo:
    """Answers with its input."""

    async def run(self, context: AgentContext) -> PlannerResult:
        return PlannerResult(context.input)


async def parent(ctx: RunContext) -> Any:
    await ctx.step("look", lambda: "seen")
    return await ctx.spawn("agent/echo", "from below")


async def fails(ctx: RunContext) -> None:
    raise ValueError("no")


async def asks(ctx: RunContext) -> Any:
    return [await ctx.wait("ready"), await ctx.ask("Which colour?", choices=["red", "blue"])]


async def backup(ctx: RunContext) -> str:
    return "saved"


def app() -> App:
    return App(
        agents=[Agent("echo", model=ScriptedModel([]), planner=Echo())],
        functions={"parent": parent, "fails": fails, "asks": asks, "backup": backup},
    )


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def test_the_verbs_of_the_brief() -> None:
    async with OpsCore.open(app()) as ops:
        assert (await ops.get_state("echo")).state is AgentState.IDLE
        await ops.register_agent("far", name="Far", contact_endpoint="https://agents.example/")
        assert (await ops.set_state("far", "idle", {"n": 1})).details == {"n": 1}

        session = await ops.start_session("echo", "greet")
        task = await ops.dispatch_task("echo", {"input": "hi", "session": session.id}, wait_s=PATIENCE_S)
        assert (task.state, task.result) == (TaskState.SUCCEEDED, "hi")
        assert (await ops.get_session(session.id)).state is SessionState.COMPLETED
        closed = await ops.update_session("echo", session.id, {"status": "completed"})
        assert closed.result == "hi"
        with pytest.raises(InvalidTransition, match="is completed"):
            await ops.dispatch_task("echo", {"input": "more", "session": session.id})

        kept = await ops.create_workflow(FLOW)
        run = await ops.trigger_workflow("greet", {"who": "world"}, agent_id="echo")
        assert (await ops.wait_for(run.id, PATIENCE_S)).result == "world"
        assert run.input["definition"] == kept.digest

        queued = await ops.enqueue_task({"function": "backup"})
        assert (await ops.wait_for(queued.id, PATIENCE_S)).result == "saved"
        later = await ops.schedule_task({"agent": "echo", "input": "later"}, 3600)
        assert later.due is not None
        assert (await ops.wait_for(later.id, 0.1)).state is TaskState.QUEUED
        assert (await ops.cancel_task(later.id)).state is TaskState.CANCELLED

        failed = await ops.wait_for((await ops.enqueue_task({"function": "fails"})).id, PATIENCE_S)
        assert failed.state is TaskState.FAILED
        again = await ops.retry_task(failed.id)
        assert again.retry_of == failed.id
        dead = await ops.wait_for(again.id, PATIENCE_S)
        saved = await ops.fallback_task(dead.id, "function/backup")
        assert (await ops.wait_for(saved.id, PATIENCE_S)).result == "saved"


async def test_people_and_programs_talk_to_tasks() -> None:
    async with OpsCore.open(app()) as ops:
        asking = await ops.enqueue_task({"function": "asks"})
        await ops.signal_task(asking.id, "ready", 7, signal_id="s-1")
        while not (open_ones := (await ops.list_questions(Query(where={"state": "open"}))).items):
            await ops.wait_for(asking.id, 0.05)
        await ops.answer_question(open_ones[0].id, "blue", by="ada")

        assert (await ops.wait_for(asking.id, PATIENCE_S)).result == [7, "blue"]


async def test_dead_and_doubtful_tasks_are_listed_and_decided() -> None:
    async with OpsCore.open(app()) as ops:
        dead = await ops.enqueue_task({"function": "fails"})
        await ops.wait_for(dead.id, PATIENCE_S)

        assert [task.id for task in (await ops.dead_tasks()).items] == [dead.id]
        assert [task.id for task in (await ops.list_tasks(Query(where={"state": "failed"}))).items] == [dead.id]
        with pytest.raises(InvalidTransition, match="there is nothing to resolve"):
            await ops.resolve_task(dead.id, "happened", "paid", by="ada")


async def test_a_trace_is_the_tree_of_what_a_task_did() -> None:
    async with OpsCore.open(app()) as ops:
        task = await ops.enqueue_task({"function": "parent"})
        assert (await ops.start_trace(task.id)).task == task.id
        await ops.wait_for(task.id, PATIENCE_S)
        trace = await ops.end_trace(task.id)

        assert trace.whole
        assert trace.duration_s is not None
        root = trace.root
        assert (root.kind, root.name, root.ok) == ("task", "function/parent", True)
        kinds = [span.kind for span in root.children]
        assert kinds[0] == "queued"
        assert kinds.count("run") >= 1
        (step,) = [span for span in trace.spans() if span.kind == "step"]
        assert (step.name, step.ok, step.key) == ("look", True, "look")
        (child,) = [span for span in root.children if span.kind == "task"]
        assert (child.name, child.ok) == ("agent/echo", True)
        assert all(span.end is not None and span.start <= span.end for span in trace.spans())
        assert root.start <= child.start
        assert child.end is not None
        assert root.end is not None
        assert child.end <= root.end
        assert trace.to_json()["root"]["children"][0]["kind"] == "queued"


async def test_the_trace_of_a_failure_says_which_and_why() -> None:
    async with OpsCore.open(app()) as ops:
        task = await ops.enqueue_task({"function": "fails"})
        await ops.wait_for(task.id, PATIENCE_S)
        root = (await ops.end_trace(task.id)).root

        assert root.ok is False
        assert root.error is not None
        assert root.error["message"] == "ValueError: no"
        with pytest.raises(NotFound):
            await ops.end_trace("t-nobody")


async def test_a_stored_workflow_has_versions_and_outlives_the_process() -> None:
    async with OpsCore.open(app()) as ops:
        first = await ops.create_workflow(FLOW)
        assert (await ops.create_workflow(FLOW)).versions == (first.digest,)
        second = await ops.create_workflow(FLOW.replace("inputs.who }}", "inputs.who + '!' }}"))
        assert second.versions == (first.digest, second.digest)
    async with OpsCore.open(app()) as ops:
        task = await ops.trigger_workflow("greet", {"who": "you"})
        assert (await ops.wait_for(task.id, PATIENCE_S)).result == "you!"
        assert ops.host.workflows() == ["greet"]


async def test_a_workflow_that_is_stored_while_a_worker_runs_is_run_by_it(folder: Path) -> None:
    async with OpsCore.open(app()) as worker, OpsCore.open(app(), worker=False) as api:
        await api.create_workflow(FLOW)
        task = await api.trigger_workflow("greet", {"who": "you"})

        assert (await worker.wait_for(task.id, PATIENCE_S)).result == "you"


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ({"opspawn": "1", "name": "x"}, "steps"),
        ("opspawn: [", "workflowDefinition"),
        (FLOW.replace("agent/echo", "agent/nobody"), "there is no agent 'nobody'"),
        (7, "mapping"),
    ],
)
async def test_a_workflow_that_does_not_do_is_not_stored(template: Any, told: str) -> None:
    async with OpsCore.open(app(), worker=False) as ops:
        with pytest.raises(InvalidInput) as error:
            await ops.create_workflow(template)

        assert told in f"{error.value} {' '.join(error.value.faults)}"
        assert ops.host.workflows() == []


async def test_a_paused_agent_of_the_app_gets_no_task_until_it_is_resumed() -> None:
    async with OpsCore.open(app()) as ops:
        await ops.pause_agent("echo", {"reason": "lunch"})
        task = await ops.dispatch_task("echo", {"input": "hi"}, wait_s=0.3)
        assert (task.state, (await ops.get_state("echo")).details) == (TaskState.QUEUED, {"reason": "lunch"})

        await ops.resume_agent("echo")
        assert (await ops.wait_for(task.id, PATIENCE_S)).result == "hi"


async def test_a_cancel_reaches_the_task_of_a_paused_agent() -> None:
    async with OpsCore.open(app()) as ops:
        await ops.pause_agent("echo")
        task = await ops.enqueue_task({"agent": "echo", "input": "hi"})

        assert (await ops.cancel_task(task.id)).state is TaskState.CANCELLED


@pytest.mark.parametrize(
    ("task", "told"),
    [
        ({"input": 1}, "nobody to do it"),
        ({"agent": "echo", "function": "backup"}, "agent and function"),
        ({"agent": "echo", "imput": 1}, "Did you mean 'input'"),
        ({"agent": "echo", "input": "x", "colour": 1}, "no 'colour'"),
        (None, "A task is a mapping, not None"),
        ("echo", "A task is a mapping, not 'echo'"),
        ({"agent": "echo", "priority": 5000}, "priority is 5000; a whole number from -1000 to 1000 is meant"),
        ({"agent": "echo", "priority": "high"}, "priority is 'high'"),
        ({"agent": "echo", "queue": "b\0"}, r"queue is 'b\\x00'; an id is 1 to 200 letters"),
        ({"agent": "echo", "labels": ["a"]}, r"labels is \['a'\]; texts by name are meant"),
        ({"agent": "echo", "labels": {"a": 1}}, "labels is {'a': 1}"),
        ({"agent": "echo", "delay_s": "5"}, "delay_s is '5'; seconds from 0"),
        ({"agent": "echo", "timeout_s": "5"}, "timeout_s is '5'; seconds above 0"),
        ({"agent": "echo", "strict": "yes"}, "strict is 'yes'; True or False"),
        ({"agent": "echo", "fallback": 3}, "fallback is 3; the name of a handler"),
        ({"agent": "echo", "budget": {"tokens": 5}}, "budget is {'tokens': 5}; a Budget is meant"),
    ],
)
async def test_a_task_that_does_not_do_is_refused_in_words(task: Any, told: str) -> None:
    async with OpsCore.open(app(), worker=False) as ops:
        with pytest.raises(InvalidInput, match=told):
            await ops.enqueue_task(task)


@pytest.mark.parametrize("task", [None, "hi"])
async def test_what_is_dispatched_is_a_mapping(task: Any) -> None:
    async with OpsCore.open(app(), worker=False) as ops:
        with pytest.raises(InvalidInput, match="A task is a mapping"):
            await ops.dispatch_task("echo", task)


@pytest.mark.parametrize("wait", ["5", None, float("nan")])
async def test_one_waits_for_a_number_of_seconds(wait: Any) -> None:
    """And nothing is accepted before that is known."""
    async with OpsCore.open(app(), worker=False) as ops:
        before = await ops.list_tasks(Query())
        with pytest.raises(InvalidInput, match="a number of seconds"):
            await ops.dispatch_task("echo", {"input": "x"}, wait_s=wait)
        assert await ops.list_tasks(Query()) == before
        with pytest.raises(InvalidInput, match="a number of seconds"):
            await ops.wait_for("t-any", wait)


async def test_tasks_are_found_by_a_query() -> None:
    async with OpsCore.open(app(), worker=False) as ops:
        with pytest.raises(InvalidInput, match="by a Query, not by 'failed'"):
            await ops.list_tasks("failed")  # type: ignore[arg-type]


@pytest.mark.parametrize("delay", [-1, float("nan"), "1"])
async def test_a_delay_that_is_none_is_refused(delay: Any) -> None:
    async with OpsCore.open(app(), worker=False) as ops:
        with pytest.raises(InvalidInput, match="cannot be delayed"):
            await ops.schedule_task({"agent": "echo", "input": "x"}, delay)


# -- without an event loop ---------------------------------------------------------------------------------------------


def test_every_verb_has_its_sync_form_with_the_same_arguments() -> None:
    verbs = {name for name, one in vars(OpsCore).items() if inspect.iscoroutinefunction(one)}

    assert len(verbs) > 15
    for name in verbs:
        here, there = inspect.signature(getattr(OpsCore, name)), inspect.signature(getattr(SyncOpsCore, name))
        assert here.parameters == there.parameters, name


def test_the_sync_form_does_the_same() -> None:
    before = set(threading.enumerate())
    with SyncOpsCore(app()) as ops:
        task = ops.dispatch_task("echo", {"input": "hi"}, wait_s=PATIENCE_S)
        assert task.result == "hi"
        session = ops.start_session("echo")
        assert ops.update_session("echo", session.id, {"status": "processing"}).state is SessionState.PROCESSING
        assert ops.end_trace(task.id).root.ok
        with pytest.raises(NotFound):
            ops.get_state("nobody")
    ops.close()

    with pytest.raises(OpspawnError, match="is closed"):
        ops.get_state("echo")
    assert {thread for thread in threading.enumerate() if thread.name == "opspawn-opscore"} <= before


@pytest.mark.parametrize("end", [SystemExit(3), KeyboardInterrupt()])
def test_code_that_ends_the_process_does_not_end_the_sync_form(end: BaseException) -> None:
    async def leave() -> None:
        raise end

    async def lets_go(ctx: RunContext) -> str:
        await asyncio.wait({asyncio.create_task(leave())})
        return "done"

    with SyncOpsCore(App(functions={"lets_go": lets_go})) as ops:
        task = ops.enqueue_task({"function": "lets_go"})
        assert ops.wait_for(task.id, PATIENCE_S).result == "done"


async def test_the_sync_form_works_where_a_loop_runs_as_in_a_notebook() -> None:
    with SyncOpsCore(app()) as ops:
        assert ops.dispatch_task("echo", {"input": "hi"}, wait_s=PATIENCE_S).result == "hi"
        results = await asyncio.gather(
            *(asyncio.to_thread(ops.dispatch_task, "echo", {"input": n}, wait_s=PATIENCE_S) for n in range(1, 5))
        )

    assert [task.result for task in results] == [1, 2, 3, 4]


def test_the_sync_form_refuses_to_wait_for_itself() -> None:
    said: list[str] = []

    async def inside(ctx: RunContext) -> None:
        try:
            ops.get_state("echo")
        except OpspawnError as error:
            said.append(error.message)

    with SyncOpsCore(App(functions={"inside": inside})) as ops:
        ops.wait_for(ops.enqueue_task({"function": "inside"}).id, PATIENCE_S)

    assert said == ["SyncOpsCore was called from its own event loop, which would wait for itself."]


def test_what_cannot_be_opened_leaves_no_thread(folder: Path) -> None:
    (folder / "opspawn.toml").write_text('store = "nowhere"\n')
    before = threading.active_count()

    with pytest.raises(OpspawnError):
        SyncOpsCore(app())
    assert threading.active_count() <= before
