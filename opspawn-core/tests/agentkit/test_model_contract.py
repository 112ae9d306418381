"""The models that need no server keep every promise about answers, too."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from opspawn.agentkit import FunctionModel
from opspawn.agentkit.codec import response_to_json
from opspawn.agentkit.digests import request_digest
from opspawn.agentkit.providing import read_calls
from opspawn.agentkit.replay import ReplayModel
from opspawn.contracts.model import (
    Called,
    Message,
    ModelProvider,
    ModelRequest,
    ModelResponse,
    Reasoning,
    Text,
    Usage,
)
from opspawn.testing import AnswerContract, ScriptedModel
from opspawn.testing.model_server import Step
from opspawn.testing.model_server.steps import answer_of


def said(step: Step) -> ModelResponse:
    """What a model that is asked "Hello?" says by this step of a server's script."""
    answer = answer_of(step)  # type: ignore[arg-type]
    calls = read_calls(ModelRequest("", ()), [("", name, raw) for name, raw in answer.calls])
    text = (Text(answer.text),) if answer.text else ()
    parts = (Reasoning(answer.reasoning), *text, *(Called(call.id) for call in calls)) if answer.reasoning else ()
    return ModelResponse(
        answer.text, calls, answer.usage or Usage(requests=1), answer.finish, "test-model", parts=parts
    )


class TestScriptedModel(AnswerContract):
    async def speaking(self, steps: Sequence[Step]) -> ModelProvider:
        return ScriptedModel([said(step) for step in steps])


class TestFunctionModel(AnswerContract):
    async def speaking(self, steps: Sequence[Step]) -> ModelProvider:
        script = iter([said(step) for step in steps])

        async def answer(request: ModelRequest) -> ModelResponse:
            return next(script)

        return FunctionModel(answer)


class TestReplayModel(AnswerContract):
    model = "calls.jsonl"

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    async def speaking(self, steps: Sequence[Step]) -> ModelProvider:
        talks = ([Message("user", "Hello?")], [Message("system", "Be brief."), Message("user", "Go.")])
        lines = [{"digest": request_digest(talk), "response": response_to_json(said(steps[0]))} for talk in talks]
        (self.folder / self.model).write_text("\n".join(map(json.dumps, lines)), "utf-8")
        return ReplayModel(self.folder)
