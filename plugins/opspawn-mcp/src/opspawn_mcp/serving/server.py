"""The MCP server of a host: what the SDK calls, for both eras of the protocol and every transport."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from mcp import MCPError
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ElicitRequest,
    ElicitResult,
    InputRequiredResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListToolsResult,
    ReadResourceRequestParams,
    ReadResourceResult,
    SubscriptionsListenRequestParams,
)

from opspawn import details
from opspawn.contracts.store import Task
from opspawn.contracts.transport import Host
from opspawn.errors import IdempotencyMismatch, InvalidInput, InvalidTransition, NotFound, OpspawnError
from opspawn_mcp.serving import resources
from opspawn_mcp.serving.following import Following, take_answers
from opspawn_mcp.serving.keys import Caller, Keys
from opspawn_mcp.serving.listeners import HonestServer, Listeners
from opspawn_mcp.serving.news import News
from opspawn_mcp.serving.offers import RESULT, Offers, result_tool
from opspawn_mcp.serving.results import refused, waits
from opspawn_mcp.serving.settings import ServeConfig

_MODERN = "2026"
#: By this label a task knows which client had it run.
LABEL = "mcp"
_MOST_RUNNING = 10_000
_RESOURCE_NOT_FOUND = -32002
Ctx = ServerRequestContext[Any, Any]
_INSTRUCTIONS = (
    "Agents are asked by the tools ask_NAME, workflows run by run_NAME. Their work is durable: a call that takes long"
    f" is answered with its task, whose result {RESULT} waits for. Some calls wait until a human approves them."
)


class McpServer:
    """Answers MCP clients for a host."""

    def __init__(self, host: Host, config: ServeConfig, keys: Keys) -> None:
        self.offers = Offers(host, config)
        self._host = host
        self._config = config
        self._keys = keys
        self._stopping = asyncio.Event()
        #: The tasks of calls that are being answered, by client and request, for a client that takes one back.
        self._running: OrderedDict[tuple[str, Any], str] = OrderedDict()
        self._cancelling: set[asyncio.Task[Any]] = set()
        changes = bool(config.export or config.workflows)  # agents, and tools of the app, stay what they are
        self._news = News(self.offers.of)
        self._listeners = Listeners(self._news, tools_change=changes)
        self.sdk = HonestServer(
            "opspawn",
            version=version("opspawn-mcp"),
            title="Opspawn",
            instructions=_INSTRUCTIONS,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_resources=self._list_resources,
            on_list_resource_templates=self._list_templates,
            on_read_resource=self._read_resource,
            on_subscriptions_listen=self._listen,
        )
        self.sdk.tools_change = changes
        self.sdk.middleware.append(
            RequestStateBoundary(RequestStateSecurity.ephemeral(ttl=86_400), default_audience="opspawn")
        )
        self.sdk.middleware.append(self._watch)

    def stop(self) -> None:
        """Answer calls that go on with their tasks, which are durable, and end streams; what is cut off is no more
        taken for taken back.
        """
        self._stopping.set()
        self._listeners.stop()
        self._news.stop()

    # -- tools ---------------------------------------------------------------------------------------------------------

    async def _list_tools(self, ctx: Ctx, params: Any) -> ListToolsResult:
        caller = self._caller("call")
        offers = await self.offers.of(caller)
        self._news.shown(caller, offers)
        return ListToolsResult(tools=[*(offer.tool for offer in offers.values()), result_tool()])

    async def _call_tool(self, ctx: Ctx, params: CallToolRequestParams) -> CallToolResult | InputRequiredResult:
        caller = self._caller("call")
        try:
            task = await self._task_of(params, caller)
            if params.request_state is not None and not await take_answers(
                self._host, task, params.input_responses, caller.name
            ):
                return waits(task, [await self._host.question(id) for id in params.input_responses or {}])
        except (NotFound, InvalidInput, InvalidTransition, IdempotencyMismatch) as error:
            return refused(_words(error))
        return await self._follow(ctx, task, caller)

    async def _task_of(self, params: CallToolRequestParams, caller: Caller) -> Task:
        """The task that a call is about: a new one, or the one that the client calls again about."""
        arguments = params.arguments or {}
        if params.request_state is not None:
            return await self._own(params.request_state, caller)
        if params.name == RESULT:
            return await self._own(arguments.get("task"), caller)
        offers = await self.offers.of(caller)
        if params.name not in offers:
            raise NotFound("tool", params.name, known=[*offers, RESULT])
        offer = offers[params.name]
        input, options = offer.order(arguments, caller)
        task = await self._host.submit(offer.handler, input, labels={LABEL: caller.name}, **options)
        details.info("MCP client {} called {}.", caller.name, params.name, plugin="mcp", task=task.id)
        return task

    async def _own(self, id: Any, caller: Caller) -> Task:
        """A task that this caller had run. Raises: NotFound, also for those of others; InvalidInput."""
        if not isinstance(id, str):
            raise InvalidInput("task is a text: the id that an earlier answer gave.")
        task = await self._host.task(id)
        if task.labels.get(LABEL) != caller.name:
            raise NotFound("task", id)
        return task

    async def _follow(self, ctx: Ctx, task: Task, caller: Caller) -> CallToolResult | InputRequiredResult:
        place = (_client_of(ctx), ctx.request_id)
        self._running[place] = task.id
        while len(self._running) > _MOST_RUNNING:
            self._running.popitem(last=False)
        modern = ctx.protocol_version >= _MODERN
        asks = "answer" in caller.scopes and _can_elicit(ctx)
        following = Following(
            self._host,
            task,
            caller.name,
            report=lambda steps, words: ctx.session.report_progress(steps, None, words),
            within_s=self._config.answer_within_s,
            stopping=self._stopping,
        )

        async def elicit(form: ElicitRequest) -> ElicitResult:
            params: Any = form.params
            return await ctx.session.elicit_form(params.message, params.requested_schema, ctx.request_id)

        try:
            can_ask_now = asks and not modern and ctx.session.can_send_request
            answer = await following.answer(elicit=elicit if can_ask_now else None, hand_out=asks and modern)
        except asyncio.CancelledError:
            if modern and ctx.request is not None:  # over HTTP a client of this era takes a call back by hanging up
                self._cancel(place)
            raise
        self._running.pop(place, None)
        return answer

    async def _listen(self, ctx: Ctx, params: SubscriptionsListenRequestParams) -> Any:
        return await self._listeners.listen(ctx, params, self._caller("call"))

    async def _watch(self, ctx: Ctx, call_next: CallNext) -> HandlerResult:
        """Cancel the task of a call that its client takes back; let a client that has connected listen."""
        if ctx.method == "notifications/initialized":
            self._listeners.connected(ctx, self._keys.caller())
        if ctx.method == "notifications/cancelled" and isinstance(ctx.params, Mapping):
            self._cancel((_client_of(ctx), ctx.params.get("requestId")))
        return await call_next(ctx)

    def _cancel(self, place: tuple[str, Any]) -> None:
        id = self._running.pop(place, None)
        if id is not None and not self._stopping.is_set():
            cancelling = asyncio.ensure_future(self._cancel_task(id))
            self._cancelling.add(cancelling)
            cancelling.add_done_callback(self._cancelling.discard)

    async def _cancel_task(self, id: str) -> None:
        try:
            await self._host.cancel(id)
        except OpspawnError as error:
            details.debug("{}", error.message, plugin="mcp", task=id)

    # -- resources -----------------------------------------------------------------------------------------------------

    async def _list_resources(self, ctx: Ctx, params: Any) -> ListResourcesResult:
        self._caller("read")
        return ListResourcesResult(resources=await resources.listed(self._host))

    async def _list_templates(self, ctx: Ctx, params: Any) -> ListResourceTemplatesResult:
        self._caller("read")
        return ListResourceTemplatesResult(resource_templates=resources.TEMPLATES)

    async def _read_resource(self, ctx: Ctx, params: ReadResourceRequestParams) -> ReadResourceResult:
        self._caller("read")
        try:
            return ReadResourceResult(contents=[await resources.read(self._host, params.uri)])
        except NotFound as error:
            code = INVALID_PARAMS if ctx.protocol_version >= _MODERN else _RESOURCE_NOT_FOUND
            raise MCPError(code, _words(error), {"uri": params.uri}) from error

    def _caller(self, scope: Any) -> Caller:
        """Who calls. Raises: MCPError: his key does not have the scope."""
        caller = self._keys.caller()
        if scope not in caller.scopes:
            raise MCPError(INVALID_PARAMS, f"The key of {caller.name} does not have the scope {scope!r}.")
        return caller


def _client_of(ctx: Ctx) -> str:
    request: Any = ctx.request
    return "" if request is None else str(request.headers.get("mcp-session-id") or "")


def _can_elicit(ctx: Ctx) -> bool:
    capabilities = ctx.session.client_capabilities
    if capabilities is None or capabilities.elicitation is None:
        return False
    return capabilities.elicitation.form is not None or capabilities.elicitation.url is None


def _words(error: OpspawnError) -> str:
    faults = error.faults if isinstance(error, InvalidInput) else ()
    return " ".join(
        [error.message, *(fault for fault in faults if fault not in error.message), error.remedy or ""]
    ).strip()
