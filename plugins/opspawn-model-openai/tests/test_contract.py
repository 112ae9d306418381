"""The provider keeps every promise of `ModelContract`, in both dialects."""

from __future__ import annotations

from typing import ClassVar, Literal

from opspawn.contracts.model import ModelProvider
from opspawn.testing import ModelContract
from opspawn.testing.openai_server import OpenAIServer
from opspawn_model_openai import OpenAIConfig, opspawn_models


class Dialect(ModelContract):
    server = OpenAIServer
    model = "gpt-5"
    dialect: ClassVar[Literal["chat", "responses"]]

    def open_model(self, base_url: str, *, timeout_s: float = 30.0, key: str = "") -> ModelProvider:
        (record,) = opspawn_models()
        section = OpenAIConfig(
            base_url=base_url, timeout_s=timeout_s, api_key=key, dialect=self.dialect, server="openai"
        )
        return record.open(section)


class TestChat(Dialect):
    dialect = "chat"


class TestResponses(Dialect):
    dialect = "responses"
