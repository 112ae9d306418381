"""Remote agents: real ones, behind real sockets, that take tasks and report."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from opspawn import Agent, App
from opspawn.config import load_settings
from opspawn.contracts.planner import PlannerResult
from opspawn.contracts.run import AgentContext, RetryPolicy
from opspawn.contracts.store import Query, Task, TaskState
from opspawn.errors import InvalidInput, InvalidTransition, NotFound
from opspawn.host import Host
from opspawn.ops.agents import remote
from opspawn.ops.agents.directory import Directory
from opspawn.ops.agents.signing import verify
from opspawn.testing import ScriptedModel

PATIENCE_S = 30.0
SECRET = "s3cret"
Work = Callable[["RemoteAgent", dict[str, Any]], Awaitable[None]]


class RemoteAgent:
    """An agent of somebody else: takes messages at its endpoint, answers at once, and then does `work`."""

    def __init__(self, work: Work | None = None) -> None:
        self.work = work
        self.messages: list[dict[str, Any]] = []
        self.signatures: list[float] = []
        self.answers: list[int] = []
        self.url = ""
        self.host: Host
        self._working: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
        body = await reader.readexactly(int(headers["Content-Length"]))
        status = self.answers.pop(0) if self.answers else 202
        if "X-AgentKit-Signature" in headers:
            self.signatures.append(verify(SECRET, headers, body, time.time()))
        self.messages.append(json.loads(body))
        writer.write(f"HTTP/1.1 {status} Whatever\r\nContent-Length: 2\r\n\r\nno".encode())
        writer.close()
        if status < 300 and self.work is not None:
            working = asyncio.create_task(self.work(self, self.messages[-1]))
            self._working.add(working)

    @asynccontextmanager
    async def listening(self, host: Host, id: str = "worker-1", **more: Any) -> AsyncIterator[RemoteAgent]:
        """Listen, and be registered with a host."""
        self.host = host
        server = await asyncio.start_server(self.take, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/task"
        await host.registry.register(id, name="Worker", contact_endpoint=self.url, **more)
        yield self
        server.close()
        await asyncio.gather(*self._working)
        for writer in self._writers:
            writer.transport.abort()


async def doubles(agent: RemoteAgent, message: dict[str, Any]) -> None:
    """Report twice the number of the payload."""
    await agent.host.report_result(message["opscore_task_id"], result=message["payload"]["n"] * 2)


class Echo:
    """Answers with its input."""

    async def run(self, context: AgentContext) -> PlannerResult:
        return PlannerResult(context.input)


@asynccontextmanager
async def opened(folder: Path, **agents: Any) -> AsyncIterator[Host]:
    settings = {"webhook_secret": SECRET, "allow_private": True, **agents}
    overrides = {"worker.poll_s": 0.05, **{f"agents.{name}": value for name, value in settings.items()}}
    app = App(agents=[Agent("echo", model=ScriptedModel([]), planner=Echo())])
    async with Host.open(app, loaded=load_settings(cwd=folder, environ={}, overrides=overrides)) as host:
        yield host


async def reaches(host: Host, id: str, *states: str) -> Task:
    deadline = time.monotonic() + PATIENCE_S
    while (task := await host.task(id)).state not in states:
        assert time.monotonic() < deadline, f"the task is {task.state} for long: {task.error}"
        await asyncio.sleep(0.01)
    return task


async def test_a_remote_agent_gets_its_task_signed_and_hands_in_the_result(tmp_path: Path) -> None:
    async with opened(tmp_path) as host, RemoteAgent(doubles).listening(host) as agent:
        task = await host.dispatch("remote/worker-1", {"n": 21}, wait_s=PATIENCE_S)

        assert (task.state, task.result, task.agent) == (TaskState.SUCCEEDED, 42, "worker-1")
        (message,) = agent.messages
        assert (message["messageType"], message["payload"]) == ("workflow_task", {"n": 21})
        assert message["sessionContext"] == {"sessionId": task.session, "taskId": task.id}
        assert len(agent.signatures) == 1


async def test_an_agent_that_is_registered_while_the_worker_runs_is_served(tmp_path: Path) -> None:
    async with opened(tmp_path) as host, opened(tmp_path) as other, RemoteAgent(doubles).listening(other):
        task = await host.dispatch("remote/worker-1", {"n": 1}, wait_s=PATIENCE_S)

        assert task.result == 2


async def test_while_the_agent_works_its_task_holds_no_slot_and_survives_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as host, RemoteAgent().listening(host):
        task = await host.submit("remote/worker-1", {"n": 1})
        await reaches(host, task.id, "waiting")
        assert host.worker is not None
        assert host.worker.running == 0
    async with opened(tmp_path) as host:
        await host.report_result(task.id, result="late but fine")

        assert (await host.wait(task.id, PATIENCE_S)).result == "late but fine"


async def test_an_agent_that_reports_before_its_answer_is_read_is_heard(tmp_path: Path) -> None:
    async with opened(tmp_path) as host, RemoteAgent().listening(host) as agent:
        task = await host.submit("remote/worker-1", {"n": 1}, delay_s=3600)
        await host.report_result(task.id, result="early")
        assert agent.messages == []
        with pytest.raises(NotFound):
            await host.report_result("t-nobody", result=1)

        assert (await host.journal(task.id))[-1].type == "signal.received"


async def test_a_second_report_changes_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as host, RemoteAgent(doubles).listening(host):
        task = await host.dispatch("remote/worker-1", {"n": 1}, wait_s=PATIENCE_S)

        assert (await host.report_result(task.id, result="again")).result == 2


async def test_a_reported_failure_fails_the_task_with_its_words_and_type(tmp_path: Path) -> None:
    async def refuses(agent: RemoteAgent, message: dict[str, Any]) -> None:
        error = {"type": "tool_error", "message": "The oven is cold."}
        await agent.host.report_result(message["opscore_task_id"], error=error, agent="worker-1")

    async with opened(tmp_path) as host, RemoteAgent(refuses).listening(host):
        task = await host.dispatch("remote/worker-1", {"n": 1}, wait_s=PATIENCE_S)

        assert task.state is TaskState.FAILED
        assert task.error is not None
        assert task.error["type"] == "tool_error"
        assert task.error["message"] == "The agent 'worker-1' reports: The oven is cold."


async def test_an_agent_that_fails_to_take_its_task_gets_it_again(tmp_path: Path) -> None:
    agent = RemoteAgent(doubles)
    agent.answers = [503, 503]
    retry = RetryPolicy(3, initial_s=0.01, when=("transient",))
    async with opened(tmp_path) as host, agent.listening(host):
        task = await host.dispatch("remote/worker-1", {"n": 4}, retry=retry, wait_s=PATIENCE_S)

        assert (task.result, len(agent.messages), task.attempt) == (8, 3, 2)
        assert {message["opscore_task_id"] for message in agent.messages} == {task.id}
        assert [message["attempt"] for message in agent.messages] == [0, 1, 2]


async def test_a_failure_that_is_worth_another_try_sends_the_task_anew(tmp_path: Path) -> None:
    async def first_fails(agent: RemoteAgent, message: dict[str, Any]) -> None:
        told = {"error": {"type": "transient", "message": "no"}} if message["attempt"] == 0 else {"result": "yes"}
        await agent.host.report_result(message["opscore_task_id"], **told)

    retry = RetryPolicy(2, initial_s=0.01, when=("transient",))
    async with opened(tmp_path) as host, RemoteAgent(first_fails).listening(host) as agent:
        task = await host.dispatch("remote/worker-1", {"n": 4}, retry=retry, wait_s=PATIENCE_S)

        assert (task.result, len(agent.messages)) == ("yes", 2)


async def test_a_failure_that_is_reported_twice_counts_once(tmp_path: Path) -> None:
    """The second report must not be taken for that of the next attempt."""

    async def stutters(agent: RemoteAgent, message: dict[str, Any]) -> None:
        id = message["opscore_task_id"]
        if message["attempt"]:
            await agent.host.report_result(id, result="yes")
            return
        for _ in range(2):
            await agent.host.report_result(id, error={"type": "transient", "message": "no"})

    retry = RetryPolicy(2, initial_s=3, jitter=False, when=("transient",))
    async with opened(tmp_path) as host, RemoteAgent(stutters).listening(host):
        task = await host.dispatch("remote/worker-1", {"n": 4}, retry=retry, wait_s=PATIENCE_S)

        assert (task.state, task.result) == (TaskState.SUCCEEDED, "yes")


async def test_an_attempt_after_a_failure_waits_until_the_agent_serves_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def breaks(agent: RemoteAgent, message: dict[str, Any]) -> None:
        id = message["opscore_task_id"]
        if message["attempt"]:
            await agent.host.report_result(id, result="yes")
            return
        details = {"taskId": id, "type": "transient", "message": "no"}
        await agent.host.set_state("worker-1", "error", details)

    monkeypatch.setattr(remote, "LOOK_AGAIN_S", 0.05)
    retry = RetryPolicy(2, initial_s=0.01, when=("transient",))
    async with opened(tmp_path) as host, RemoteAgent(breaks).listening(host) as agent:
        task = await host.submit("remote/worker-1", {"n": 4}, retry=retry)
        await _until(lambda: _asked(host, task.id, "look"))
        assert len(agent.messages) == 1

        await host.set_state("worker-1", "idle")
        assert (await host.wait(task.id, PATIENCE_S)).result == "yes"


async def _asked(host: Host, task: str, step: str) -> bool:
    return any(event.data.get("name") == step for event in await host.journal(task))


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not await holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_a_task_that_was_retried_by_hand_is_sent_again(tmp_path: Path) -> None:
    async def once(agent: RemoteAgent, message: dict[str, Any]) -> None:
        told = {"error": {"message": "no"}} if len(agent.messages) == 1 else {"result": "yes"}
        await agent.host.report_result(message["opscore_task_id"], **told)

    async with opened(tmp_path) as host, RemoteAgent(once).listening(host) as agent:
        task = await host.dispatch("remote/worker-1", {"n": 4}, wait_s=PATIENCE_S)
        again = await host.wait((await host.retry(task.id)).id, PATIENCE_S)

        assert (task.state, again.result, len(agent.messages)) == (TaskState.FAILED, "yes", 2)


async def test_an_agent_that_refuses_for_good_fails_the_task_at_once(tmp_path: Path) -> None:
    agent = RemoteAgent()
    agent.answers = [422]
    async with opened(tmp_path) as host, agent.listening(host):
        task = await host.dispatch("remote/worker-1", {"n": 4}, wait_s=PATIENCE_S)

        assert task.error is not None
        assert (task.error["message"], len(agent.messages)) == ("The agent 'worker-1' answered 422: no", 1)


async def test_an_agent_that_reports_nothing_runs_out_of_time(tmp_path: Path) -> None:
    async with opened(tmp_path, answer_timeout_s=0.1) as host, RemoteAgent().listening(host):
        task = await host.dispatch("remote/worker-1", {"n": 4}, retry=RetryPolicy(), wait_s=PATIENCE_S)

        assert task.error is not None
        assert (task.state, task.error["type"]) == (TaskState.FAILED, "timeout")


async def test_an_inner_address_is_not_called_unless_allowed(tmp_path: Path) -> None:
    async with opened(tmp_path, allow_private=False) as host, RemoteAgent(doubles).listening(host) as agent:
        task = await host.dispatch("remote/worker-1", {"n": 4}, wait_s=PATIENCE_S)

        assert task.error is not None
        assert (task.error["type"], agent.messages) == ("denied", [])
        assert "agents.allow_private = true" in task.error["message"]


async def test_a_paused_agent_gets_its_tasks_when_it_is_resumed(tmp_path: Path) -> None:
    async with opened(tmp_path) as host, RemoteAgent(doubles).listening(host) as agent:
        await host.set_state("worker-1", "paused")
        task = await host.dispatch("remote/worker-1", {"n": 4}, wait_s=0.3)
        assert (task.state, agent.messages) == (TaskState.QUEUED, [])

        await host.registry.resume("worker-1")
        assert (await host.wait(task.id, PATIENCE_S)).result == 8


async def test_an_agent_gets_one_task_after_the_other_unless_it_asks_for_more(tmp_path: Path) -> None:
    async with opened(tmp_path) as host, RemoteAgent().listening(host) as agent:
        tasks = [await host.submit("remote/worker-1", {"n": n}) for n in range(3)]
        seen: list[str] = []
        for number in range(1, 4):
            deadline = time.monotonic() + PATIENCE_S
            while len(agent.messages) < number:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            assert len(agent.messages) == number
            seen.append(agent.messages[-1]["opscore_task_id"])
            await host.report_result(seen[-1], result=number)
            await host.wait(seen[-1], PATIENCE_S)

        assert sorted(seen) == sorted(task.id for task in tasks)


async def test_an_agent_may_answer_by_its_state(tmp_path: Path) -> None:
    async def reports(agent: RemoteAgent, message: dict[str, Any]) -> None:
        task = message["sessionContext"]["taskId"]
        await agent.host.set_state("worker-1", "BUSY")
        if message["payload"]["n"]:
            await agent.host.set_state("worker-1", "IDLE", {"taskId": task, "result": "done"})
        else:
            await agent.host.set_state("worker-1", "error", {"taskId": task, "error_code": "E7", "message": "no"})

    async with opened(tmp_path) as host, RemoteAgent(reports).listening(host):
        good = await host.dispatch("remote/worker-1", {"n": 1}, wait_s=PATIENCE_S)
        bad = await host.dispatch("remote/worker-1", {"n": 0}, wait_s=PATIENCE_S)

        assert (good.result, bad.state) == ("done", TaskState.FAILED)
        assert bad.error is not None
        assert bad.error["message"] == "The agent 'worker-1' reports: no"
        assert (await host.registry.get_state("worker-1")).state == "error"


async def test_a_report_that_does_not_follow_is_an_error_and_no_log_line_in_library_use(tmp_path: Path) -> None:
    said: list[str] = []
    logger.enable("opspawn")
    sink = logger.add(lambda message: said.append(message.record["message"]), level="WARNING")
    try:
        async with opened(tmp_path) as host, RemoteAgent().listening(host):
            with pytest.raises(InvalidTransition, match="'worker-1' is unknown and cannot become finished"):
                await host.set_state("worker-1", "finished")
    finally:
        logger.remove(sink)

    assert said == []


async def test_a_report_must_be_of_the_agent_and_its_task(tmp_path: Path) -> None:
    async with opened(tmp_path) as host, RemoteAgent().listening(host):
        mine = await host.submit("remote/worker-1", {"n": 1})
        other = await host.submit("agent/echo", "hi")

        with pytest.raises(NotFound, match="none of the agent 'worker-2'"):
            await host.report_result(mine.id, result=1, agent="worker-2")
        with pytest.raises(InvalidTransition, match="no remote agent works on it"):
            await host.report_result(other.id, result=1)
        with pytest.raises(InvalidInput, match="not both"):
            await host.report_result(mine.id, result=1, error={"message": "no"})
        await host.cancel(mine.id)


async def test_a_capability_finds_the_agent_with_the_least_to_do(tmp_path: Path) -> None:
    """The original format says what must be able to do a task; nobody has to say who."""
    sequence = {
        "id": "bake",
        "tasks": [
            {"taskId": "mix", "agentCapability": "double", "parameters": {"n": 2}, "nextTaskId": "bake"},
            {"taskId": "bake", "agentCapability": "double", "parameters": {"n": 3}, "nextTaskId": None},
        ],
    }
    busy, free, odd = RemoteAgent(), RemoteAgent(doubles), RemoteAgent()
    async with (
        opened(tmp_path) as host,
        busy.listening(host, "a-busy", capabilities=["double"]),
        free.listening(host, "b-free", capabilities=["double"]),
        odd.listening(host, "c-odd", capabilities=["halve"]),
    ):
        await host.set_state("a-busy", "active")
        await host.set_state("b-free", "idle")
        task = await host.submit_definition(sequence, {})
        done = await host.wait(task.id, PATIENCE_S)

        assert (done.state, done.result) == (TaskState.SUCCEEDED, {"mix": 4, "bake": 6})
        assert (len(busy.messages), len(free.messages), len(odd.messages)) == (0, 2, 0)


async def test_who_was_registered_is_known_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By id and by capability, also where the news has not come by yet: here it never does."""
    monkeypatch.setattr(Directory, "_follow", lambda directory, tail: asyncio.sleep(3600))
    definition = {"id": "x", "tasks": [{"taskId": "a", "agentCapability": "double"}]}
    async with opened(tmp_path) as host, RemoteAgent(doubles).listening(host, "able", capabilities=["double"]):
        assert (await host.submit_definition(definition, {})).state is TaskState.QUEUED
    async with (
        opened(tmp_path / "other") as host,
        RemoteAgent(doubles).listening(host, "able", capabilities=["double"]),
    ):
        done = await host.dispatch("agent/double", {"n": 1}, wait_s=PATIENCE_S)
        assert (done.state, done.result) == (TaskState.SUCCEEDED, 2)


async def test_nobody_who_is_able_is_told_when_the_workflow_is_sent(tmp_path: Path) -> None:
    async with opened(tmp_path) as host:
        with pytest.raises(InvalidInput) as error:
            await host.submit_definition({"id": "x", "tasks": [{"taskId": "a", "agentCapability": "fly"}]}, {})

        assert error.value.faults == ("x: there is no agent 'fly'.",)


async def test_nobody_who_has_the_id_is_told_when_the_task_is_sent(tmp_path: Path) -> None:
    async with opened(tmp_path) as host:
        with pytest.raises(NotFound, match="no remote agent 'nobody'"):
            await host.submit("remote/nobody", {"n": 1})
        with pytest.raises(NotFound):
            await host.handler_of("nobody")
        assert (await host.tasks(Query())).items == []
