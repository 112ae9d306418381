"""LangGraph: the graph that `langchain.agents.create_agent` builds, with a chat model that answers from the script.

`create_agent` has replaced `langgraph.prebuilt.create_react_agent` and is the faster of the two.
"""

from __future__ import annotations

import asyncio
from typing import Any

from _common import Script, Settings, measure_loops, report
from langchain.agents import create_agent
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool

settings = Settings()
script = Script(settings.steps)


@tool
async def look_up(number: int, note: str) -> str:
    """Look up an entry."""
    return script.result(number)


class ScriptedModel(BaseChatModel):
    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **kwargs: Any) -> ScriptedModel:
        return self

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        done = (len(messages) - 1) // 2
        arguments = script.arguments(done)
        if arguments is None:
            message = AIMessage(script.answer(str(messages[-1].content)))
        else:
            message = AIMessage("", tool_calls=[{"id": f"c{done}", "name": "look_up", "args": arguments}])
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        return self._generate(messages)  # Without this, each call would go through a thread.


async def main() -> None:
    agent = create_agent(ScriptedModel(), [look_up])
    config = {"recursion_limit": 2 * settings.steps + 5}

    async def run() -> object:
        state = await agent.ainvoke({"messages": [("user", "go")]}, config)
        return state["messages"][-1].content

    summary, figures = await measure_loops(settings, script, run)
    report(summary, figures, ("langgraph", "langchain", "langchain-core", "pydantic"))


asyncio.run(main())
