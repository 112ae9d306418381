"""The sandboxes of the core by name, for tools that nobody has placed: called by themselves, or from a function."""

from __future__ import annotations

from opspawn.agentkit.sandbox.inplace import InPlace, InThread
from opspawn.contracts.sandbox import Sandbox, SandboxRunner
from opspawn.errors import ConfigError

BUILT_IN = ("none", "thread", "process")


def as_sandbox(given: str | Sandbox | None) -> Sandbox | None:
    """Raises: ConfigError: it is none."""
    if given is None or isinstance(given, Sandbox):
        return given
    if isinstance(given, str) and given:
        return Sandbox(given)
    raise ConfigError(f"{given!r} is no sandbox.", remedy='Give a name, e.g. "process", or Sandbox(...).')


def own_runner(tool: str, name: str) -> SandboxRunner:
    """A runner of the core with its defaults. Raises: ConfigError: that of a plugin is wanted."""
    if name == "none":
        return InPlace()
    if name == "thread":
        return InThread()
    if name == "process":
        from opspawn.agentkit.sandbox.process import ProcessRunner

        return ProcessRunner()
    raise ConfigError(
        f"The tool {tool!r} is to run in the plugin's sandbox {name!r}, and is called outside of an agent or an app.",
        remedy="Give it to an agent or to App(tools=[...]), or use a built-in one: none, thread, process.",
    )
