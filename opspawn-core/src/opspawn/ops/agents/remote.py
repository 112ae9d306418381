"""Tasks of remote agents: sent to where the agent listens, then parked until the agent reports what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from opspawn.agentkit.context import Context
from opspawn.contracts.clock import SYSTEM_CLOCK, Clock
from opspawn.contracts.lifecycle import RegisteredAgent
from opspawn.contracts.run import RunContext
from opspawn.errors import NotFound, StepFailed
from opspawn.ops.agents.agents import Agents
from opspawn.ops.agents.egress import Answer, compact_json, post_json
from opspawn.ops.agents.signing import signed
from opspawn.ops.states import SERVED

#: The signal in which an agent's report arrives.
REPORT = "opspawn.report"
SENDER = "opspawn"
#: While an agent that failed cannot work, how often its task looks whether it can again, in seconds.
LOOK_AGAIN_S = 5.0
_WORDS = 300


class Courier:
    """Carries tasks to remote agents; each is a handler of "remote/AGENTID".

    Args:
        secret: signs what is sent; None leaves it unsigned.
        send_timeout_s: within which an agent must take a task. answer_timeout_s: within which it must report.
        allow_private: whether contact endpoints may lie in private networks.
    """

    def __init__(
        self,
        agents: Agents,
        *,
        secret: str | None = None,
        send_timeout_s: float = 15.0,
        answer_timeout_s: float = 3600.0,
        allow_private: bool = False,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._agents = agents
        self._secret = secret
        self._send_timeout_s = send_timeout_s
        self._answer_timeout_s = answer_timeout_s
        self._allow_private = allow_private
        self._clock = clock

    async def carry(self, agent_id: str, context: RunContext) -> Any:
        """Send the task, wait for the report, return its result.

        Each attempt sends anew, with the same task id: an agent that has the task already may say so and go on.

        Raises: StepFailed: it could not be sent, or the agent reports a failure. StepTimeout: it reports nothing.
        """
        attempt = cast(Context, context).attempt
        life = f"{context.task} {attempt}"  # so that neither a new attempt nor a new generation finds it sent
        message = {
            "senderId": SENDER,
            "messageType": "workflow_task",
            "payload": context.input,
            "sessionContext": {"sessionId": context.session, "taskId": context.task},
            "opscore_session_id": context.session,
            "opscore_task_id": context.task,
            "attempt": attempt,
        }
        while attempt and not await context.step("look", self.serves, agent_id):
            await context.sleep(LOOK_AGAIN_S)
        await context.step("send", self.send, agent_id, message, key=f"send {life}")
        report = await context.wait(REPORT, key=f"report {life}", timeout_s=self._answer_timeout_s)
        error = report.get("error")
        if error is not None:
            words = f"The agent {agent_id!r} reports: {_message(error)}"
            raise StepFailed(words, error_type=str(error.get("type") or error.get("error_code") or "error"))
        return report.get("result")

    async def serves(self, agent_id: str) -> bool:
        """Whether an agent takes tasks now."""
        try:
            return (await self._agents.get_state(agent_id)).state in SERVED
        except NotFound:
            return False

    async def send(self, agent_id: str, message: Mapping[str, Any]) -> int:
        """Deliver a message to an agent and return the status of its answer. Raises: StepFailed."""
        try:
            agent = await self._agents.endpoint_of(agent_id)
        except NotFound as error:
            raise StepFailed(f"The agent {agent_id!r} is not registered.", error_type="transient") from error
        body = compact_json(message)
        headers = signed(self._secret, self._clock.time(), body) if self._secret else {}
        try:
            answer = await post_json(
                agent.contact_endpoint or "",
                body,
                headers,
                timeout_s=self._send_timeout_s,
                allow_private=self._allow_private,
            )
        except StepFailed:
            self._agents.forget(agent_id)  # it may have moved
            raise
        if 200 <= answer.status < 300:
            return answer.status
        self._agents.forget(agent_id)
        raise _refusal(agent, answer)


def _refusal(agent: RegisteredAgent, answer: Answer) -> StepFailed:
    status = answer.status
    if status == 429:
        kind = "rate_limited"
    elif status in (401, 403):
        kind = "denied"
    else:
        kind = "transient" if status >= 500 or status in (408, 425) else "permanent"
    said = " ".join(answer.text.split())[:_WORDS]
    return StepFailed(f"The agent {agent.id!r} answered {status}{f': {said}' if said else '.'}", error_type=kind)


def _message(error: Mapping[str, Any]) -> str:
    for name in ("message", "error", "error_code"):
        if isinstance(error.get(name), str):
            return str(error[name])
    return str(dict(error))
