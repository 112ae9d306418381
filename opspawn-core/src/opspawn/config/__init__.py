"""The configuration: `opspawn.toml` < environment `OPSPAWN_…` < command line; checked, each value with its origin."""

from opspawn.config.load import load_settings
from opspawn.config.loaded import Loaded, Section
from opspawn.config.settings import AgentSettings, LimitSettings, LogSettings, PluginSettings, Settings, WorkerSettings

__all__ = [
    "AgentSettings",
    "LimitSettings",
    "Loaded",
    "LogSettings",
    "PluginSettings",
    "Section",
    "Settings",
    "WorkerSettings",
    "load_settings",
]
