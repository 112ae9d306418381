"""`OpsCore` for code without an event loop: scripts, notebooks, threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from loguru import logger

from opspawn.app import App
from opspawn.config import Loaded
from opspawn.contracts.lifecycle import AgentStatus, Definition, RegisteredAgent, Session
from opspawn.contracts.question import AskedQuestion
from opspawn.contracts.seeing import Why
from opspawn.contracts.store import Page, Query, Task
from opspawn.contracts.transport import DeadQuery
from opspawn.errors import OpspawnError
from opspawn.logs import traceback_text
from opspawn.ops.traces import Trace
from opspawn.opscore import OpsCore, TaskData

T = TypeVar("T")


class SyncOpsCore:
    """The methods of `OpsCore`, each returning when it is done. Its event loop has a thread of its own, so it works
    where one runs already, as in a notebook. Safe to use from several threads. Close it, or use it with `with`.
    """

    def __init__(
        self,
        app: App | None = None,
        *,
        loaded: Loaded | None = None,
        data: str | Path | None = None,
        worker: bool = True,
    ) -> None:
        """Open as `OpsCore.open` does. Raises: ConfigError, StoreUnusable: nothing is left open."""
        self._stack = AsyncExitStack()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="opspawn-opscore", daemon=True)
        self._closed = False
        self._closing = threading.Lock()
        self._thread.start()
        try:
            opened = self._stack.enter_async_context(OpsCore.open(app, loaded=loaded, data=data, worker=worker))
            self._ops = self._call(opened)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> SyncOpsCore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the worker gracefully, close the store, end the thread. Idempotent."""
        with self._closing:
            if self._closed:
                return
            try:
                self._call(self._stack.aclose())
            finally:
                self._closed = True
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._thread.join()

    def _run(self) -> None:
        """The loop's thread, from its begin to its end."""
        asyncio.set_event_loop(self._loop)
        try:
            self._run_on()
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
        finally:
            self._loop.close()

    def _run_on(self) -> None:
        """Run the loop until it is stopped, and not until some code in it wants to end the process."""
        while True:
            try:
                return self._loop.run_forever()
            except (SystemExit, KeyboardInterrupt) as error:
                logger.bind(exception=traceback_text(error), error_type=type(error).__name__).error(
                    "Code that runs beside its task raised {}; nothing ends by that", type(error).__name__
                )

    def _call(self, what: Coroutine[Any, Any, T]) -> T:
        if self._closed:
            what.close()
            raise OpspawnError("This SyncOpsCore is closed.", remedy="Open a new one.")
        if threading.current_thread() is self._thread:
            what.close()
            raise OpspawnError(
                "SyncOpsCore was called from its own event loop, which would wait for itself.",
                remedy="Use ctx, or OpsCore, in functions that run there.",
            )
        future = asyncio.run_coroutine_threadsafe(what, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def register_agent(
        self,
        agent_id: str | None = None,
        *,
        name: str,
        contact_endpoint: str,
        version: str = "",
        capabilities: tuple[str, ...] | list[str] = (),
        metadata: Mapping[str, Any] | None = None,
        concurrency: int = 1,
    ) -> RegisteredAgent:
        """See `OpsCore.register_agent`."""
        return self._call(
            self._ops.register_agent(
                agent_id,
                name=name,
                contact_endpoint=contact_endpoint,
                version=version,
                capabilities=capabilities,
                metadata=metadata,
                concurrency=concurrency,
            )
        )

    def set_state(
        self,
        agent_id: str,
        new_state: str,
        details: Mapping[str, Any] | None = None,
        timestamp: datetime | str | None = None,
    ) -> AgentStatus:
        """See `OpsCore.set_state`."""
        return self._call(self._ops.set_state(agent_id, new_state, details, timestamp))

    def get_state(self, agent_id: str) -> AgentStatus:
        """See `OpsCore.get_state`."""
        return self._call(self._ops.get_state(agent_id))

    def pause_agent(self, agent_id: str, details: Mapping[str, Any] | None = None) -> AgentStatus:
        """See `OpsCore.pause_agent`."""
        return self._call(self._ops.pause_agent(agent_id, details))

    def resume_agent(self, agent_id: str) -> AgentStatus:
        """See `OpsCore.resume_agent`."""
        return self._call(self._ops.resume_agent(agent_id))

    def start_session(
        self, agent_id: str, workflow_id: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> Session:
        """See `OpsCore.start_session`."""
        return self._call(self._ops.start_session(agent_id, workflow_id, metadata))

    def update_session(
        self, agent_id: str, session_id: str, changes: Mapping[str, Any], *, version: int | None = None
    ) -> Session:
        """See `OpsCore.update_session`."""
        return self._call(self._ops.update_session(agent_id, session_id, changes, version=version))

    def get_session(self, session_id: str) -> Session:
        """See `OpsCore.get_session`."""
        return self._call(self._ops.get_session(session_id))

    def create_workflow(self, template: Mapping[str, Any] | str) -> Definition:
        """See `OpsCore.create_workflow`."""
        return self._call(self._ops.create_workflow(template))

    def trigger_workflow(self, workflow_id: str, inputs: Any = None, *, agent_id: str | None = None) -> Task:
        """See `OpsCore.trigger_workflow`."""
        return self._call(self._ops.trigger_workflow(workflow_id, inputs, agent_id=agent_id))

    def enqueue_task(self, task: TaskData) -> Task:
        """See `OpsCore.enqueue_task`."""
        return self._call(self._ops.enqueue_task(task))

    def schedule_task(self, task: TaskData, delay: float) -> Task:
        """See `OpsCore.schedule_task`."""
        return self._call(self._ops.schedule_task(task, delay))

    def dispatch_task(self, agent_id: str, task: TaskData, *, wait_s: float = 0.0) -> Task:
        """See `OpsCore.dispatch_task`."""
        return self._call(self._ops.dispatch_task(agent_id, task, wait_s=wait_s))

    def wait_for(self, task_id: str, timeout_s: float) -> Task:
        """See `OpsCore.wait_for`."""
        return self._call(self._ops.wait_for(task_id, timeout_s))

    def get_task(self, task_id: str) -> Task:
        """See `OpsCore.get_task`."""
        return self._call(self._ops.get_task(task_id))

    def cancel_task(self, task_id: str) -> Task:
        """See `OpsCore.cancel_task`."""
        return self._call(self._ops.cancel_task(task_id))

    def retry_task(self, task_id: str, retry_count: int | None = None) -> Task:
        """See `OpsCore.retry_task`."""
        return self._call(self._ops.retry_task(task_id, retry_count))

    def fallback_task(self, task_id: str, handler: str | None = None) -> Task:
        """See `OpsCore.fallback_task`."""
        return self._call(self._ops.fallback_task(task_id, handler))

    def pause_task(self, task_id: str) -> Task:
        """See `OpsCore.pause_task`."""
        return self._call(self._ops.pause_task(task_id))

    def resume_task(self, task_id: str) -> Task:
        """See `OpsCore.resume_task`."""
        return self._call(self._ops.resume_task(task_id))

    def resolve_task(
        self, task_id: str, outcome: str, result: Any = None, *, key: str | None = None, by: str | None = None
    ) -> Task:
        """See `OpsCore.resolve_task`."""
        return self._call(self._ops.resolve_task(task_id, outcome, result, key=key, by=by))

    def signal_task(
        self, task_id: str, name: str, data: Any = None, *, signal_id: str | None = None, by: str | None = None
    ) -> Task:
        """See `OpsCore.signal_task`."""
        return self._call(self._ops.signal_task(task_id, name, data, signal_id=signal_id, by=by))

    def list_questions(self, query: Query | None = None) -> Page[AskedQuestion]:
        """See `OpsCore.list_questions`."""
        return self._call(self._ops.list_questions(query))

    def answer_question(self, question_id: str, value: Any, *, by: str | None = None) -> AskedQuestion:
        """See `OpsCore.answer_question`."""
        return self._call(self._ops.answer_question(question_id, value, by=by))

    def list_tasks(self, query: Query | None = None) -> Page[Task]:
        """See `OpsCore.list_tasks`."""
        return self._call(self._ops.list_tasks(query))

    def dead_tasks(self, query: DeadQuery | None = None) -> Page[Task]:
        """See `OpsCore.dead_tasks`."""
        return self._call(self._ops.dead_tasks(query))

    def why(self, task_id: str) -> Why:
        """See `OpsCore.why`."""
        return self._call(self._ops.why(task_id))

    def start_trace(self, task_id: str) -> Trace:
        """See `OpsCore.start_trace`."""
        return self._call(self._ops.start_trace(task_id))

    def end_trace(self, task_id: str) -> Trace:
        """See `OpsCore.end_trace`."""
        return self._call(self._ops.end_trace(task_id))
