"""Lines of the log below a warning, for whoever asks for them: a library says nothing while all is well.

`opspawn.logs.configure` asks, as the commands do, and so does loguru's `logger.enable("opspawn")`.
"""

from __future__ import annotations

from typing import Any

from loguru import logger

logger.disable(__name__)


def debug(message: str, *args: object, **bound: Any) -> None:
    """Log what helps to find a fault; `bound` stands beside the message."""
    logger.bind(**bound).debug(message, *args)


def info(message: str, *args: object, **bound: Any) -> None:
    """Log what was done; `bound` stands beside the message."""
    logger.bind(**bound).info(message, *args)
