"""The command line, as an operator uses it."""

from __future__ import annotations

import json
from typing import Any

from click.testing import CliRunner, Result

from opspawn.cli import main
from opspawn.cli.lazy import explain


def opspawn(*arguments: str) -> Result:
    """Run a command; an error is told as the command line tells it, and has its exit code."""
    result = CliRunner().invoke(main, [*arguments], standalone_mode=False)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        assert isinstance(result.exception, Exception)
        text, code = explain(result.exception)
        return Result(result.runner, b"", text.encode(), b"", None, code, None)
    result.exit_code = result.return_value if isinstance(result.return_value, int) else result.exit_code
    return result


def read(*arguments: str) -> Any:
    """What a command prints as JSON."""
    return json.loads(opspawn(*arguments, "--json").stdout)
