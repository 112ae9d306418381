"""The provider keeps every promise of `ModelContract`."""

from __future__ import annotations

from opspawn.contracts.model import ModelProvider
from opspawn.testing import ModelContract
from opspawn.testing.anthropic_server import AnthropicServer
from opspawn_model_anthropic import AnthropicConfig, opspawn_models


class TestAnthropic(ModelContract):
    server = AnthropicServer
    model = "claude-opus-5"

    def open_model(self, base_url: str, *, timeout_s: float = 30.0, key: str = "") -> ModelProvider:
        (record,) = opspawn_models()
        return record.open(AnthropicConfig(base_url=base_url, timeout_s=timeout_s, api_key=key))
