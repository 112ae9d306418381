"""What an app can run, by handler: which input each takes, and the code behind it.

A run of a workflow pins the definition that it began with: the normalised definition is kept under its digest, and the
task's input is `{"definition": digest, "inputs": {...}}`. So an edited file affects new runs only.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from opspawn.agentkit.agent import Agent
from opspawn.agentkit.context import Context
from opspawn.agentkit.kit import Kit
from opspawn.agentkit.overriding import overridden
from opspawn.agentkit.placing import place
from opspawn.agentkit.resolving import resolve
from opspawn.agentkit.running import check_input
from opspawn.agentkit.toolsets import is_source
from opspawn.app import App
from opspawn.contracts.limit import Limit
from opspawn.contracts.model import Message
from opspawn.contracts.run import Handler, RunContext
from opspawn.contracts.store import Batch, Hold, Put, Record, Store
from opspawn.contracts.tool import Tool
from opspawn.contracts.transport import TOOL_CALL
from opspawn.errors import AppError, ConfigError, Conflict, InvalidInput, Lacking, NotFound
from opspawn.ops.agents.reach import Reach
from opspawn.ops.definitions import INLINE, PINNED, is_old
from opspawn.ops.sessions.conversations import earlier
from opspawn.toolcalls import ToolCalls

if TYPE_CHECKING:
    from opspawn.ops.workflows import Workflow


class Catalog:
    """The handlers of an app. `runs` says whether this process runs them, and so needs their models and planners."""

    def __init__(self, app: App, kit: Kit, *, runs: bool) -> None:
        """Check the app whole. Raises: ConfigError, InvalidInput: something that it names is missing or wrong."""
        self.store: Store | None = None
        self.reach: Reach | None = None
        self.stored: Callable[[str], Awaitable[Workflow | None]] | None = None
        self._runs = runs
        self.rates = kit.rates
        self.policies = kit.policies
        self.memories = kit.memories
        self._found: dict[str, Workflow] = {}
        self._app = app
        self._kit = kit
        self._tools = _all_tools(app, kit)
        self.tool_calls = ToolCalls(self._tools, kit, self._equip)
        self._known: dict[str, Workflow] = {}
        self.workflows: dict[str, Workflow] = {}
        for workflow in self._load_workflows():
            if workflow.name in self.workflows or f"workflow/{workflow.name}" == INLINE:
                taken = "is taken by another" if workflow.name in self.workflows else "has a meaning of its own"
                raise AppError(f"The name of the workflow {workflow.name!r} {taken}.", remedy="Give it another name.")
            self.workflows[workflow.name] = workflow
        self.handlers: dict[str, Handler] = {}
        if runs:
            for name, agent in app.agents.items():
                self.handlers[f"agent/{name}"] = agent.handler(kit, deps=app.deps, earlier=self._earlier)
            self.handlers |= {f"function/{name}": self._equipped(one) for name, one in app.functions.items()}
            self.handlers |= {f"workflow/{name}": self._run_workflow for name in self.workflows}
            self.handlers |= {INLINE: self._run_workflow, TOOL_CALL: self.tool_calls.run}

    def accept(self, handler: str, input: Any) -> Any:
        """The input to record for a handler. Raises: NotFound, InvalidInput."""
        kind, _, name = handler.partition("/")
        if handler == INLINE:
            pinned = self._known.get(str(input.get("definition"))) if isinstance(input, dict) else None
            if pinned is None:
                raise InvalidInput(f"{INLINE!r} needs a definition.", remedy="Send it along with the request.")
            return {"definition": pinned.digest, "inputs": pinned.bind_inputs(input.get("inputs"))}
        if kind == "remote" or (kind == "agent" and name not in self._app.agents):
            if self.reach is None or (kind == "agent" and name not in self.reach.words()):
                raise NotFound("agent", name, known=list(self._app.agents))
            return self.reach.accept(handler, input)
        if kind == "agent":
            check_input(name, input)
            return input
        if kind == "workflow":
            workflow = self._workflow(name)
            return {"definition": workflow.digest, "inputs": workflow.bind_inputs(input)}
        if kind == "function" and name in self._app.functions:
            return input
        if handler == TOOL_CALL:
            return self.tool_calls.accept(input)
        if kind == "function":
            raise NotFound(kind, name or handler, known=list(self._app.functions))
        raise NotFound("handler", handler, known=["agent/…", "workflow/…", "function/…"])

    def check_overrides(self, handler: str, overrides: Mapping[str, Any]) -> None:
        """Refuse what no run of the handler could do. Raises: InvalidInput."""
        kind, _, name = handler.partition("/")
        agent = self._app.agents.get(name) if kind == "agent" else None
        if agent is None:
            raise InvalidInput(f"{handler!r} takes no overrides.", remedy="Agents of this app do.")
        changed = overridden(agent.about, overrides)
        try:
            if self._runs:
                resolve(changed, self._kit)
        except ConfigError as error:
            raise InvalidInput(error.message, remedy=error.remedy) from error

    async def refuse_unknown(self, handler: str) -> None:
        """Refuse what nothing of this app can run any more, and nobody else either. Raises: NotFound."""
        kind, _, name = handler.partition("/")
        if kind == "remote" or (kind == "agent" and name in self._others()):
            return  # it waits for its agent
        if kind == "workflow" and handler != INLINE:
            await self.pin(handler)
            return
        known = {"agent": [*self._app.agents], "workflow": [*self.workflows], "function": [*self._app.functions]}
        if handler not in (INLINE, TOOL_CALL) and name not in known.get(kind, []):
            raise NotFound(kind, name, known=known[kind]) if kind in known else NotFound("handler", handler)

    async def pin(self, handler: str) -> None:
        """Before a run is accepted: keep the definition of a workflow, learn of what was registered elsewhere."""
        kind, _, name = handler.partition("/")
        if kind == "workflow" and handler != INLINE:
            if name not in self.workflows and self.stored is not None:
                found = await self.stored(name)
                if found is not None:
                    self._found[name] = found
            await self._keep(self._workflow(name))
        elif self.reach is not None and not (kind == "agent" and name in self._app.agents):
            await self.reach.know(handler)

    def holds(self, handler: str) -> tuple[Hold, ...]:
        """The places that a task of a handler takes while it runs."""
        kind, _, name = handler.partition("/")
        limits = list(self._app.limits.get(handler, ()))
        if kind == "agent" and name in self._app.agents:
            agent = self._app.agents[name]
            limits += agent.limits
            limits += [Limit(handler, agent.concurrency)] if agent.concurrency is not None else []
        elif kind == "workflow":
            workflow = self.workflows.get(name) or self._found.get(name)
            limits += [workflow.limit] if workflow is not None and workflow.limit is not None else []
        elif kind == "remote" and self.reach is not None:
            return self.reach.holds(handler)
        return tuple(limit.hold for limit in limits)

    def learn(self, workflows: Collection[str]) -> None:
        """Run what was registered elsewhere, too; `workflows` are the stored ones."""
        if self._runs and self.reach is not None:
            own = {f"agent/{name}" for name in self._app.agents}
            self.handlers |= {name: one for name, one in self.reach.handlers().items() if name not in own}
            self.handlers |= {f"workflow/{name}": self._run_workflow for name in workflows}

    async def pin_definition(self, definition: Mapping[str, Any] | str) -> Workflow:
        """Check and keep a definition that came along. Raises: InvalidInput, with every fault."""
        from opspawn.ops.workflows import load_workflow

        workflow = load_workflow(definition, source="workflowDefinition", tools=self._tools)
        if self.reach is not None:
            await self.reach.learn(set(workflow.agents) - set(self._app.agents))
        self._check_parts(workflow)
        await self._keep(workflow)
        return workflow

    async def pinned(self, digest: str) -> Workflow:
        """A definition that was kept. Raises: NotFound."""
        return await self._pinned(digest)

    async def _keep(self, workflow: Workflow) -> None:
        store = cast(Store, self.store)
        self._known[workflow.digest] = workflow
        known = await store.get(PINNED, workflow.digest)
        if known is None or is_old(known):
            record = Record(PINNED, workflow.digest, workflow.definition)
            try:
                await store.commit(Batch([Put(record, expect=0 if known is None else known.version)]))
            except Conflict:  # somebody else kept the same definition just now, or has deleted it
                if await store.get(PINNED, workflow.digest) is None:
                    await store.commit(Batch([Put(record, expect=0)]))

    async def _earlier(self, context: Context, agent: str) -> Sequence[Message]:
        return await earlier(cast(Store, self.store), context, agent)

    async def _equip(self, context: Context) -> None:
        context.memories, context.models = self.memories, self._kit.model
        if self._app.deps is not None:
            context.deps = await self._app.deps.get()

    def _equipped(self, function: Handler) -> Handler:
        async def run(context: RunContext) -> Any:
            await self._equip(cast(Context, context))
            result = function(context)
            if not inspect.isawaitable(result):
                raise ConfigError("The function is not async.", remedy="Write `async def`.")
            return await result

        return run

    async def _run_workflow(self, context: RunContext) -> Any:
        from opspawn.ops.workflows import run_workflow

        asked = cast(Mapping[str, Any], context.input)
        workflow = await self._pinned(str(asked["definition"]))
        self._refuse_lacking(workflow)
        inner = cast(Context, context)
        inner.input = asked["inputs"]
        inner.agent = workflow.name
        await self._equip(inner)
        if workflow.budget is not None:
            inner.allow("workflow", workflow.budget)
        return await run_workflow(workflow, inner, self._tools, lambda named: self.tool_calls.one(named, inner))

    def _refuse_lacking(self, workflow: Workflow) -> None:
        """A definition may have been accepted by another version of this app. Raises: Lacking."""
        for kind, needed, there in (
            ("tool", workflow.tools, set(self._tools)),
            ("agent", workflow.agents, {*self._app.agents, *self._others()}),
        ):
            for name in needed:
                if name not in there and ":" not in name:  # what a source has shows when it is called
                    raise Lacking(kind, name)

    async def _pinned(self, digest: str) -> Workflow:
        from opspawn.ops.workflows import load_workflow

        if digest not in self._known:
            record = await cast(Store, self.store).get(PINNED, digest)
            if record is None:
                raise NotFound("workflow definition", digest)
            self._known[digest] = load_workflow(dict(record.data), source=f"definition {digest[:12]}")
        return self._known[digest]

    def _workflow(self, name: str) -> Workflow:
        found = self.workflows.get(name) or self._found.get(name)
        if found is None:
            known = [*self.workflows, *self._found]
            none = "There is none: name files in App(workflows=[...]), or store one with 'opspawn workflows create'."
            raise NotFound("workflow", name, known=known, remedy=None if known else none)
        return found

    def _load_workflows(self) -> list[Workflow]:
        if not self._app.workflows:
            return []
        from opspawn.ops.workflows import load_workflow

        loaded = []
        for path in self._app.workflows:
            if not path.is_file():
                raise AppError(f"There is no workflow file {path}.", remedy="Mend workflows=[...] of the app.")
            workflow = load_workflow(path, source=path.name)
            self._check_parts(workflow)
            loaded.append(workflow)
        return loaded

    def _others(self) -> set[str]:
        return self.reach.words() if self.reach is not None else set()

    def _check_parts(self, workflow: Workflow) -> None:
        faults = [fault for name in sorted(set(workflow.tools) - set(self._tools)) if (fault := self._fault_of(name))]
        faults = [f"{workflow.name}: {fault}" for fault in faults]
        faults += [
            f"{workflow.name}: there is no agent {name!r}."
            for name in sorted(set(workflow.agents) - set(self._app.agents) - self._others())
        ]
        if faults:
            tools, agents = (", ".join(sorted(names)) or "none" for names in (self._tools, self._app.agents))
            raise InvalidInput(
                f"The workflow {workflow.name!r} uses what the app does not have.",
                faults=faults,
                remedy=f"Tools: {tools}. Agents: {agents}.",
            )

    def _fault_of(self, tool: str) -> str | None:
        """Why a tool that is none of the app's cannot be used; None if it comes and goes."""
        if ":" not in tool:
            if self._kit.offers_tool(tool):
                return f"the tool {tool!r} of a plugin is not the app's: write App(tools=[{tool!r}])."
            return f"there is no tool {tool!r}."
        try:
            self.tool_calls.check(tool)
        except InvalidInput as error:
            return f"{tool!r}: {error.message}"
        return None


def _all_tools(app: App, kit: Kit) -> dict[str, Tool]:
    """The app's tools and those of its agents, by name, each in its sandbox; the app's own win."""
    found: dict[str, Tool] = {}
    for agent in app.agents.values():
        found |= {tool.name: place(tool, agent.sandbox, kit) for tool in _tools_of(agent, kit)}
    own = {name: kit.tool(name) for name in app.plugin_tools} | app.tools
    return found | {name: place(tool, None, kit) for name, tool in own.items()}


def _tools_of(agent: Agent, kit: Kit) -> list[Tool]:
    named = [kit.tool_or_source(tool) if isinstance(tool, str) else tool for tool in agent.tools]
    return [tool for tool in named if not is_source(tool)]
