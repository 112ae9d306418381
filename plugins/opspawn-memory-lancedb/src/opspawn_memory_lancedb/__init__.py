"""LanceDB as the long-term memory of Opspawn: `memory = "lancedb"`."""

from opspawn_memory_lancedb.plugin import opspawn_memories
from opspawn_memory_lancedb.settings import LanceConfig

OPSPAWN_PLUGIN_API = ">=1,<2"

__all__ = ["OPSPAWN_PLUGIN_API", "LanceConfig", "opspawn_memories"]
