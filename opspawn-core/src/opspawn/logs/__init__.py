"""What the process tells: the only place that adds log sinks, and journal events as log lines."""

from opspawn.logs.events import event_line, log_event, write_event
from opspawn.logs.setup import configure
from opspawn.logs.writing import json_line, text_line, traceback_text

__all__ = ["configure", "event_line", "json_line", "log_event", "text_line", "traceback_text", "write_event"]
