"""Vectors of texts, made on this machine: `embedder = "local:use-multilingual"`."""

from opspawn_embedder_local.plugin import opspawn_embedders
from opspawn_embedder_local.settings import LocalConfig

OPSPAWN_PLUGIN_API = ">=1,<2"

__all__ = ["OPSPAWN_PLUGIN_API", "LocalConfig", "opspawn_embedders"]
