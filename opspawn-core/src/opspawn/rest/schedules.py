"""Schedules over HTTP."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Depends, Response
from pydantic import Field

from opspawn.contracts.schedule import Schedule
from opspawn.rest.deps import HostDep, known_query
from opspawn.rest.schemas import Body, Id, Moment
from opspawn.schedule_views import ScheduleView
from opspawn.views import TaskView, Wire

router = APIRouter(prefix="/v1/opscore/schedules", tags=["opscore schedules"], dependencies=[Depends(known_query)])


class ScheduleRequest(Body):
    """Make a schedule, or change the one of that name. Exactly one of cron, everyS and at."""

    name: Id
    run: str = Field(max_length=200, description='The handler, e.g. "agent/helper" or "workflow/report".')
    input: Any = Field(None, description="What it gets: any JSON that the handler takes.")
    cron: str | None = Field(
        None, max_length=200, description='"MINUTE HOUR DAY MONTH WEEKDAY", and seconds as a sixth field before them.'
    )
    every_s: float | None = Field(None, ge=1, le=366 * 86400, description="Seconds between two times.")
    at: Moment | None = Field(None, description="One time, with its offset.")
    zone: str = Field("UTC", max_length=100, description="The time zone of cron, e.g. Europe/Berlin.")
    overlap: Literal["skip", "queue", "allow"] = Field(
        "skip", description="When the task before has not ended: leave this one out, queue it behind, or allow both."
    )
    catch_up: Literal["skip", "once", "all"] = Field(
        "once", description="What is made up for of the times that passed while no worker was there."
    )
    at_most: int = Field(100, ge=1, le=1000, description="How many catchUp all makes up for, the newest.")
    enabled: bool = Field(True, description="Whether it begins active.")
    queue: str = Field("default", max_length=200, description="Which workers take its tasks.")
    priority: int = Field(0, ge=-1000, le=1000, description="A head start of 60 seconds per unit.")
    labels: dict[str, str] = Field(default_factory=dict, description="Marks of its tasks.")


class ScheduleList(Wire):
    """All schedules, by name."""

    schedules: list[ScheduleView]


@router.get("", operation_id="listSchedules")
async def list_schedules(host: HostDep) -> ScheduleList:
    """All schedules, by name."""
    return ScheduleList(schedules=[ScheduleView.of(one) for one in await host.schedules.all()])


@router.post("", operation_id="addSchedule", status_code=201)
async def add_schedule(request: ScheduleRequest, host: HostDep, response: Response) -> ScheduleView:
    """Make a schedule, or change the one of that name; the same again changes nothing."""
    status = await host.schedules.add(Schedule(**request.model_dump()))
    response.headers["Location"] = f"/v1/opscore/schedules/{status.schedule.name}"
    return ScheduleView.of(status)


@router.get("/{name}", operation_id="getSchedule")
async def get_schedule(name: str, host: HostDep) -> ScheduleView:
    """One schedule, and how it stands."""
    return ScheduleView.of(await host.schedules.get(name))


@router.delete("/{name}", operation_id="removeSchedule", status_code=204)
async def remove_schedule(name: str, host: HostDep) -> None:
    """Forget a schedule; its tasks stay."""
    await host.schedules.remove(name)


@router.post("/{name}/pause", operation_id="pauseSchedule")
async def pause_schedule(name: str, host: HostDep) -> ScheduleView:
    """Let nothing come of it until it is resumed."""
    return ScheduleView.of(await host.schedules.pause(name))


@router.post("/{name}/resume", operation_id="resumeSchedule")
async def resume_schedule(name: str, host: HostDep) -> ScheduleView:
    """Let it go on with the next time that comes."""
    return ScheduleView.of(await host.schedules.resume(name))


@router.post("/{name}/run", operation_id="runSchedule", status_code=202)
async def run_schedule(name: str, host: HostDep) -> TaskView:
    """Submit its task now, beside its times."""
    return TaskView.of(await host.schedules.run(name))
