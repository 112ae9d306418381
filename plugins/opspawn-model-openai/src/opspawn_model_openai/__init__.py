"""Models that speak the OpenAI protocols, for Opspawn: `model = "openai:NAME"`."""

from opspawn_model_openai.plugin import OpenAIConfig, opspawn_embedders, opspawn_models

OPSPAWN_PLUGIN_API = ">=1,<2"

__all__ = ["OPSPAWN_PLUGIN_API", "OpenAIConfig", "opspawn_embedders", "opspawn_models"]
