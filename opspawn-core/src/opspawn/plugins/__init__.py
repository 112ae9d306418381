"""The plugins of one process: found by entry point, allowed or blocked before import, asked for by name."""

from opspawn.plugins.kinds import KINDS
from opspawn.plugins.manager import Plugins
from opspawn.plugins.status import PluginStatus

__all__ = ["KINDS", "PluginStatus", "Plugins"]
