"""Claude, and every model behind the Anthropic protocol, for Opspawn: `model = "anthropic:NAME"`."""

from opspawn_model_anthropic.plugin import AnthropicConfig, opspawn_models

OPSPAWN_PLUGIN_API = ">=1,<2"

__all__ = ["OPSPAWN_PLUGIN_API", "AnthropicConfig", "opspawn_models"]
