"""Requests and answers of the API: camelCase on the wire, unknown members refused, values never converted."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal, Unpack

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from opspawn.contracts.budget import Budget
from opspawn.contracts.ids import ID_PATTERN
from opspawn.contracts.options import TaskOptions
from opspawn.contracts.run import RetryPolicy
from opspawn.contracts.transport import AgentInfo
from opspawn.views import EventView, TaskView, Wire


class Body(Wire):
    """What a caller sends."""

    # Built at once: what FastAPI puts around a body that is built later makes pydantic warn at the first request.
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=False, extra="forbid", strict=True, defer_build=False
    )


#: A time with its offset, e.g. 2026-11-20T12:00:00Z.
Moment = Annotated[AwareDatetime, Field(strict=False)]


#: The engine checks it, so that every door says the same.
Id = Annotated[str, Field(json_schema_extra={"pattern": f"^{ID_PATTERN}$"})]


class RetrySpec(Body):
    """When and how often a failed task is tried again."""

    attempts: int = Field(ge=1, le=1000, description="Tries in all, the first included.")
    initial_s: float = Field(1.0, ge=0, le=86400, description="Seconds before the second try; each wait is random.")
    max_s: float = Field(60.0, ge=0, le=86400, description="The longest wait between two tries, in seconds.")
    when: list[str] | None = Field(None, description="The types of errors that are worth another try.")

    def policy(self) -> RetryPolicy:
        policy = RetryPolicy(self.attempts, self.initial_s, self.max_s)
        return policy if self.when is None else replace(policy, when=tuple(self.when))


class BudgetSpec(Body):
    """What a run and everything under it may use; a limit that is left out is none."""

    tokens: int | None = Field(None, ge=0, le=10**15, description="Tokens of all model calls, in and out.")
    usd: float | None = Field(None, ge=0, le=1e15, description="Their cost in US dollars.")
    requests: int | None = Field(None, ge=0, le=10**15, description="Model calls.")
    tool_calls: int | None = Field(None, ge=0, le=10**15, description="Calls of tools.")
    wall_s: float | None = Field(None, ge=0, le=366 * 86400, description="Seconds from its first start.")
    depth: int | None = Field(None, ge=0, le=32, description="Levels of child tasks below it.")
    on_exceed: Literal["stop", "ask"] = Field("stop", description="End the run, or have a human asked for more.")
    approvers: list[str] = Field(default_factory=list, max_length=20, description="Who should be asked.")

    def budget(self) -> Budget:
        return Budget(**self.model_dump())


class Order(Body):
    """What every request says that starts something."""

    session_id: Id | None = Field(None, description="The session that the run belongs to; a new one by default.")
    priority: int = Field(0, ge=-1000, le=1000, description="A head start of 60 seconds per unit.")
    strict: bool = Field(False, description="Whether priority counts before any waiting time.")
    delay_s: float = Field(0.0, ge=0, le=366 * 86400, description="Earliest start, in seconds from now.")
    timeout_s: float | None = Field(None, gt=0, le=366 * 86400, description="Seconds that one attempt may take.")
    retry: RetrySpec | None = Field(None, description="Retries of the whole run, beside those of its steps.")
    fallback: str | None = Field(
        None, max_length=200, description='Whom to ask when no attempt is left, e.g. "agent/backup".'
    )
    idle_timeout_s: float | None = Field(None, gt=0, description="Seconds without progress that fail an attempt.")
    deadline_s: float | None = Field(
        None, gt=0, description="Seconds from now in which it and everything under it must have ended."
    )
    budget: BudgetSpec | None = Field(None, description="What it and everything under it may use.")
    labels: dict[Id, str] = Field(
        default_factory=dict, description="Your own marks, kept with the task: up to 64 texts of up to 200 characters."
    )
    wait_s: float = Field(0.0, ge=0, le=60, description="Wait up to this many seconds for the end and answer with it.")

    def options(self, **more: Unpack[TaskOptions]) -> TaskOptions:
        """As the host takes it, with `more` beside it."""
        return {
            "session": self.session_id,
            "priority": self.priority,
            "strict": self.strict,
            "delay_s": self.delay_s,
            "timeout_s": self.timeout_s,
            "idle_timeout_s": self.idle_timeout_s,
            "deadline_s": self.deadline_s,
            "retry": None if self.retry is None else self.retry.policy(),
            "fallback": self.fallback,
            "budget": None if self.budget is None else self.budget.budget(),
            "labels": self.labels,
            **more,
        }


class OverridesSpec(Body):
    """What one run does differently from its agent; what is left out stays. Members of the two settings are the
    planner's and the model's own.
    """

    model: str | list[str] | None = Field(None, description='"PROVIDER:MODEL", or several that are asked in turn.')
    planner: str | None = Field(None, description="The name of a planner plugin.")
    planner_settings: dict[str, Any] | None = Field(None, description="Added to those of the agent.")
    max_steps: int | None = Field(None, ge=1, description="How many model calls it may make.")
    settings: dict[str, Any] | None = Field(None, description="Added to those of the agent, for the model.")


class RunRequest(Order):
    """Start a run of an agent."""

    input: Any = Field(description="What the agent gets: a text, or any JSON.")
    overrides: OverridesSpec | None = Field(None, description="What this run does differently.")

    def options(self, **more: Unpack[TaskOptions]) -> TaskOptions:
        if self.overrides is not None:
            more = {"overrides": {name: value for name, value in self.overrides if value is not None}, **more}
        return super().options(**more)


class TaskRequest(Order):
    """Start anything."""

    handler: str = Field(max_length=200, description="agent/NAME, workflow/NAME or function/NAME.")
    input: Any = Field(None, description="What it gets.")
    queue: str = Field("default", min_length=1, max_length=200, description="Which workers take it.")


class WorkflowRequest(Order):
    """Start a workflow: one of the app's by its id, or one whose definition comes along."""

    workflow_definition_id: Id | None = None
    workflow_definition: dict[str, Any] | None = None
    initial_payload: dict[str, Any] | None = Field(None, description="The inputs of the workflow.")

    @model_validator(mode="after")
    def _exactly_one(self) -> WorkflowRequest:
        if (self.workflow_definition_id is None) == (self.workflow_definition is None):
            raise ValueError("give exactly one of workflowDefinitionId and workflowDefinition")
        return self


class ResolveRequest(Body):
    """Decide on a step in doubt."""

    outcome: Literal["happened", "not-happened", "again", "fail"] = Field(
        description="What became of it, or what to do about it: begin it as if for the first time (not-happened), "
        "do it again whatever happened, or take it as failed."
    )
    result: Any = Field(None, description="What the step returned, if it happened.")
    key: str | None = Field(None, description="Which step; needed only where several are in doubt.")
    by: str | None = Field(None, max_length=200, description="Who decides, for the journal.")


class RetryRequest(Body):
    """How to run an ended task again."""

    from_scratch: bool = Field(False, description="Keep nothing of what succeeded: run every step again.")
    retry_count: int | None = Field(
        None, ge=0, le=999, description="How often it may be tried again by itself; by default as the task had it."
    )


class RetryAllRequest(RetryRequest):
    """Which of the dead to retry: by at least one filter, or all; a window of when they failed is half open."""

    all_: bool = Field(False, alias="all", description="Needed where no filter says which: all of the dead are meant.")

    handler: str | None = None
    agent: str | None = None
    queue: str | None = None
    error_type: str | None = None
    ended_after: Moment | None = None
    ended_before: Moment | None = None
    limit: int = Field(100, ge=1, le=1000, description="How many at most, newest first.")


class FallbackRequest(Body):
    """Whom to ask about a dead task."""

    handler: str | None = Field(
        None, max_length=200, description='E.g. "agent/backup"; by default the fallback that the task names.'
    )


class Retried(Wire):
    """The new tasks, and whether more of the dead may match."""

    tasks: list[TaskView]
    more: bool


class WorkflowStarted(Wire):
    """A workflow was accepted."""

    session_id: str
    workflow_id: str
    task_id: str
    state: str = Field(description="Of the task, after `waitS`.")
    result: Any = Field(description="Of the task, if it has ended.")
    message: str = "Workflow triggered successfully"


class AgentView(Wire):
    """An agent."""

    id: str
    description: str
    planner: str
    model: str | None
    tools: list[str]

    @classmethod
    def of(cls, agent: AgentInfo) -> AgentView:
        return cls(
            id=agent.name,
            description=agent.description,
            planner=agent.planner,
            model=agent.model,
            tools=list(agent.tool_names),
        )


class Agents(Wire):
    """All agents."""

    agents: list[AgentView]


class Workflows(Wire):
    """The ids of all workflows."""

    workflows: list[str]


class Tasks(Wire):
    """A page of tasks, newest first."""

    tasks: list[TaskView]
    cursor: str | None = Field(description="Give it as ?cursor= for the next page; null at the end.")


class Events(Wire):
    """Events, oldest first."""

    events: list[EventView]


class ProblemView(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    instance: str
    remedy: str | None = None
