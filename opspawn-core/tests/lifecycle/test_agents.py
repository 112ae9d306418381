"""Who there is, what each does, and which moves are legal."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from opspawn.contracts.lifecycle import AgentState, RegisteredAgent
from opspawn.contracts.store import Batch, Claim, Put, Store, Task
from opspawn.errors import AppError, InvalidInput, InvalidTransition, NotFound
from opspawn.ops.agents.agents import Agents
from opspawn.ops.states import AGENT_MOVES

URL = "https://agents.example/run"
LOCAL = RegisteredAgent("helper", "helper", local=True)


async def register(agents: Agents, id: str = "remote-1", **more: Any) -> RegisteredAgent:
    return await agents.register(id, **{"name": "Demo", "contact_endpoint": URL, **more})


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(1_800_000_000 + seconds, UTC)


async def claims(store: Store, handler: str) -> int:
    """How many tasks of a handler a worker would get now; one is made, so 0 says that the lane is closed."""
    task = Task(f"t-{handler}-{asyncio.get_running_loop().time()}", handler, "t")
    await store.commit(Batch([Put(Task(task.id, handler, task.id), expect=0)]))
    return len(await store.claim(Claim("w", ("default",), (handler,), 10, 30.0)))


# -- registration ------------------------------------------------------------------------------------------------------


async def test_a_registered_agent_is_unknown_until_it_reports(agents: Agents) -> None:
    made = await register(agents, version="1.2", capabilities=["echo"], metadata={"team": "a"}, concurrency=3)

    found = await agents.get("remote-1")
    assert found == made
    assert (found.version, found.capabilities, found.metadata, found.concurrency) == (
        "1.2",
        ("echo",),
        {"team": "a"},
        3,
    )
    assert (await agents.get_state("remote-1")).state is AgentState.UNKNOWN


async def test_an_agent_without_an_id_gets_one(agents: Agents) -> None:
    made = await agents.register(name="Demo", contact_endpoint=URL)

    assert made.id.startswith("a-")
    assert await agents.get(made.id) == made


async def test_registering_again_keeps_state_history_and_the_first_time(agents: Agents, clock: Any) -> None:
    first = await register(agents)
    await agents.set_state("remote-1", "idle")
    clock.now += 60
    again = await register(agents, version="2")

    assert (again.version, again.registered) == ("2", first.registered)
    assert (await agents.get_state("remote-1")).state is AgentState.IDLE
    events = await agents.history("remote-1")
    assert [event.type for event in events] == ["agent.registered", "agent.state", "agent.registered"]
    assert (events[-1].data["again"], events[-1].data["state"]) == (True, "idle")


async def test_a_deregistered_agent_is_gone_and_its_history_stays(agents: Agents) -> None:
    await register(agents)
    await agents.deregister("remote-1")

    with pytest.raises(NotFound):
        await agents.get_state("remote-1")
    assert [event.type for event in await agents.history("remote-1")] == ["agent.registered", "agent.deregistered"]


async def test_an_agent_that_comes_back_begins_anew(agents: Agents) -> None:
    await register(agents)
    await agents.set_state("remote-1", "error")
    await agents.deregister("remote-1")
    await register(agents)

    assert (await agents.get_state("remote-1")).state is AgentState.UNKNOWN


async def test_the_history_of_nobody_is_not_found(agents: Agents) -> None:
    with pytest.raises(NotFound):
        await agents.history("nobody")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"id": "a b"}, "agentId"),
        ({"id": "x" * 201}, "agentId"),
        ({"name": " "}, "agentName"),
        ({"capabilities": [""]}, "capabilities"),
        ({"contact_endpoint": "ftp://a/b"}, "contactEndpoint"),
        ({"contact_endpoint": "http://"}, "contactEndpoint"),
        ({"contact_endpoint": "http://u:p@host/"}, "contactEndpoint"),
        ({"contact_endpoint": None}, "contactEndpoint"),
        ({"contact_endpoint": "http://host:99999/"}, "contactEndpoint"),
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": True}, "concurrency"),
        ({"metadata": {"a": float("nan")}}, "metadata"),
        ({"metadata": {"a": "x" * 70_000}}, "metadata"),
    ],
)
async def test_a_registration_that_does_not_fit_names_its_fault(agents: Agents, given: Any, told: str) -> None:
    with pytest.raises(InvalidInput) as error:
        await register(agents, **given)

    assert told in str(error.value) + " ".join(error.value.faults)


async def test_nobody_registers_under_the_name_of_an_agent_of_the_app(agents: Agents, store: Store) -> None:
    with pytest.raises(InvalidInput, match="agent of the app"):
        await register(agents, "helper")

    await agents.announce([LOCAL])
    elsewhere = Agents(store)
    with pytest.raises(InvalidInput, match="agent of an app"):
        await register(elsewhere, "helper")


async def test_an_app_whose_agent_has_the_id_of_a_remote_one_does_not_start(agents: Agents, store: Store) -> None:
    await register(Agents(store), "helper")

    with pytest.raises(AppError, match="id of a remote agent"):
        await agents.announce([LOCAL])


async def test_an_agent_that_is_announced_alike_again_is_no_news(agents: Agents) -> None:
    await agents.announce([LOCAL])
    await agents.announce([LOCAL])
    assert len(await agents.history("helper")) == 1

    await agents.announce([RegisteredAgent("helper", "helper", local=True, concurrency=2)])
    assert len(await agents.history("helper")) == 2


async def test_an_agent_of_the_app_is_not_deregistered(agents: Agents) -> None:
    await agents.announce([LOCAL])

    with pytest.raises(InvalidTransition):
        await agents.deregister("helper")


async def test_agents_are_found_by_state_and_capability(agents: Agents) -> None:
    await register(agents, "one", capabilities=["echo"])
    await register(agents, "two", capabilities=["sum"])
    await agents.set_state("two", "idle")

    assert [agent.id for agent, _ in (await agents.find(capability="echo")).items] == ["one"]
    assert [agent.id for agent, _ in (await agents.find(state=AgentState.IDLE)).items] == ["two"]
    assert [agent.id for agent, _ in (await agents.find(state="idle")).items] == [
        "two"
    ]  # as who writes no types says it
    with pytest.raises(InvalidInput, match="no state 'sleepy'"):
        await agents.find(state="sleepy")


async def test_the_way_of_tasks_reads_an_agent_once_in_a_while(store: Store, clock: Any) -> None:
    class Counting:
        reads = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

        async def get(self, kind: str, id: str) -> Any:
            self.reads += 1
            return await store.get(kind, id)

    counting = Counting()
    agents = Agents(counting, clock=clock)  # type: ignore[arg-type]
    await register(Agents(store, clock=clock))
    for _ in range(5):
        await agents.endpoint_of("remote-1")
    assert counting.reads == 1

    clock.now += 6
    await agents.endpoint_of("remote-1")
    assert counting.reads == 2
    agents.forget("remote-1")
    await agents.endpoint_of("remote-1")
    assert counting.reads == 3


# -- what is reported --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", list(AGENT_MOVES))
@pytest.mark.parametrize("after", [state for state in AgentState if state is not AgentState.PAUSED])
async def test_a_move_is_made_if_the_table_has_it_and_refused_if_not(
    agents: Agents, before: AgentState, after: AgentState
) -> None:
    await register(agents)
    paths = {
        AgentState.UNKNOWN: [],
        AgentState.INITIALIZING: ["initializing"],
        AgentState.IDLE: ["idle"],
        AgentState.ACTIVE: ["active"],
        AgentState.ERROR: ["error"],
        AgentState.FINISHED: ["idle", "finished"],
    }
    for step in paths[before]:
        await agents.set_state("remote-1", step)

    if after is before or after in AGENT_MOVES[before]:
        assert (await agents.set_state("remote-1", after)).state is after
    else:
        with pytest.raises(InvalidTransition, match=f"is {before} and cannot become {after}"):
            await agents.set_state("remote-1", after)
        assert (await agents.get_state("remote-1")).state is before


async def test_upper_case_and_busy_are_understood(agents: Agents) -> None:
    await register(agents)

    assert (await agents.set_state("remote-1", "BUSY")).state is AgentState.ACTIVE
    assert (await agents.set_state("remote-1", " Idle ")).state is AgentState.IDLE


async def test_a_word_that_is_no_state_is_refused_with_those_that_are(agents: Agents) -> None:
    await register(agents)

    with pytest.raises(InvalidInput, match=r"no state 'banana'.*idle, active, error"):
        await agents.set_state("remote-1", "banana")


async def test_details_and_time_of_a_report_are_shown(agents: Agents) -> None:
    await register(agents)
    status = await agents.set_state("remote-1", "error", {"errorCode": 7}, at(-5).isoformat())

    assert (status.details, status.timestamp) == ({"errorCode": 7}, at(-5))
    assert await agents.get_state("remote-1") == status


async def test_a_report_that_comes_late_goes_into_the_history_and_overwrites_nothing(agents: Agents) -> None:
    await register(agents)
    await agents.set_state("remote-1", "active", None, at(10))
    await agents.set_state("remote-1", "idle", None, at(20))
    late = await agents.set_state("remote-1", "error", {"old": True}, at(15))

    assert (late.late, late.state) == (True, AgentState.IDLE)
    assert (await agents.get_state("remote-1")).timestamp == at(20)
    last = (await agents.history("remote-1"))[-1]
    assert (last.data["reported"], last.data["late"], last.data["state"]) == ("error", True, "idle")


async def test_a_repeated_report_counts_as_news_of_its_time(agents: Agents) -> None:
    """Idle at 10 and idle at 20: a report from 15 is older than what is known."""
    await register(agents)
    await agents.set_state("remote-1", "idle", None, at(10))
    await agents.set_state("remote-1", "idle", None, at(20))
    await agents.set_state("remote-1", "active", None, at(15))

    assert (await agents.get_state("remote-1")).state is AgentState.IDLE


async def test_the_same_report_again_changes_nothing(agents: Agents, store: Store) -> None:
    await register(agents)
    await agents.set_state("remote-1", "idle", {"n": 1}, at(10))
    version = (await store.get("agent", "remote-1")).version  # type: ignore[union-attr]
    await agents.set_state("remote-1", "idle", {"n": 1}, at(10))

    assert (await store.get("agent", "remote-1")).version == version  # type: ignore[union-attr]
    assert len(await agents.history("remote-1")) == 2


async def test_reports_without_a_time_count_in_the_order_of_their_arrival(agents: Agents, clock: Any) -> None:
    await register(agents)
    await agents.set_state("remote-1", "active", None, at(100))
    clock.now -= 500
    status = await agents.set_state("remote-1", "idle")

    assert (status.late, status.state) == (False, AgentState.IDLE)


@pytest.mark.parametrize(
    "timestamp", ["yesterday", "", "2026-11-26T10:00:00", 12, at(400), (at(0) + timedelta(days=1)).isoformat()]
)
async def test_a_time_that_is_none_is_refused(agents: Agents, timestamp: Any) -> None:
    await register(agents)

    with pytest.raises(InvalidInput, match="timestamp"):
        await agents.set_state("remote-1", "idle", None, timestamp)
    assert (await agents.get_state("remote-1")).state is AgentState.UNKNOWN


async def test_reports_at_the_same_time_are_all_taken(agents: Agents) -> None:
    await register(agents)
    await agents.set_state("remote-1", "idle")
    await asyncio.gather(*(agents.set_state("remote-1", "idle", {"n": n}) for n in range(8)))

    assert len(await agents.history("remote-1")) == 10


async def test_nobody_reports_for_an_agent_that_is_not_there(agents: Agents) -> None:
    with pytest.raises(NotFound):
        await agents.set_state("nobody", "idle")


# -- what it means for tasks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["error", "paused", "initializing"])
async def test_an_agent_that_cannot_work_gets_no_task_until_it_can(agents: Agents, store: Store, state: str) -> None:
    await register(agents)
    await agents.set_state("remote-1", state)
    assert await claims(store, "remote/remote-1") == 0

    if state == "paused":
        await agents.resume("remote-1")
    else:
        await agents.set_state("remote-1", "idle")
    assert await claims(store, "remote/remote-1") == 2


async def test_the_tasks_of_a_deregistered_agent_wait_until_it_is_back(agents: Agents, store: Store) -> None:
    await register(agents)
    await agents.deregister("remote-1")
    assert await claims(store, "remote/remote-1") == 0

    await register(agents)
    assert await claims(store, "remote/remote-1") == 2


async def test_a_pause_outlasts_what_the_agent_reports(agents: Agents, store: Store) -> None:
    await register(agents)
    await agents.set_state("remote-1", "active")
    await agents.set_state("remote-1", "paused", {"by": "ops"})
    status = await agents.set_state("remote-1", "idle")

    assert (status.state, status.details) == (AgentState.PAUSED, {"by": "ops"})
    assert await claims(store, "remote/remote-1") == 0
    assert (await agents.resume("remote-1")).state is AgentState.IDLE


async def test_there_is_nothing_to_resume_where_nothing_is_paused(agents: Agents) -> None:
    await register(agents)

    with pytest.raises(InvalidTransition, match="nothing to resume"):
        await agents.resume("remote-1")


async def test_a_local_agent_is_active_while_a_worker_holds_a_task_of_its(agents: Agents, store: Store) -> None:
    agents = Agents(store, own=("helper",))
    await agents.announce([LOCAL])
    assert (await agents.get_state("helper")).state is AgentState.IDLE

    assert await claims(store, "agent/helper") == 1
    assert (await agents.get_state("helper")).state is AgentState.ACTIVE

    (lease,) = (await store.find_tasks(_all())).items
    await store.renew("w", [(lease.id, lease.token)], 0.0)
    assert (await agents.get_state("helper")).state is AgentState.IDLE


def _all() -> Any:
    from opspawn.contracts.store import Query

    return Query()


async def test_nobody_writes_that_a_local_agent_is_active(agents: Agents) -> None:
    await agents.announce([LOCAL])

    with pytest.raises(InvalidTransition, match="follows from its tasks"):
        await agents.set_state("helper", "active")


async def test_the_error_of_a_local_agent_closes_its_lane_until_it_is_lifted(agents: Agents, store: Store) -> None:
    await agents.announce([LOCAL])
    await agents.set_state("helper", "error", {"why": "no key"})
    assert await claims(store, "agent/helper") == 0
    assert (await agents.get_state("helper")).details == {"why": "no key"}

    await agents.set_state("helper", "idle")
    assert await claims(store, "agent/helper") == 2


async def test_a_pause_of_a_local_agent_survives_a_restart_of_its_app(agents: Agents, store: Store) -> None:
    await agents.announce([LOCAL])
    await agents.set_state("helper", "paused")
    with pytest.raises(InvalidTransition, match="is paused"):
        await agents.set_state("helper", "idle")
    await Agents(store, own=("helper",)).announce([LOCAL])

    assert (await agents.get_state("helper")).state is AgentState.PAUSED
    assert await claims(store, "agent/helper") == 0
    await agents.resume("helper")
    assert await claims(store, "agent/helper") == 2
