"""The sandboxes of the core, offered as any plugin would offer its own."""

from __future__ import annotations

from collections.abc import Iterable

from opspawn.contracts.plugins import PluginConfig, SandboxPlugin
from opspawn.contracts.sandbox import SandboxRunner
from opspawn.hookspecs import hookimpl

OPSPAWN_PLUGIN_API = ">=1,<2"


def _none(section: PluginConfig) -> SandboxRunner:
    from opspawn.agentkit.sandbox.inplace import InPlace

    return InPlace()


def _thread(section: PluginConfig) -> SandboxRunner:
    from opspawn.agentkit.sandbox.inplace import InThread

    return InThread()


def _process(section: PluginConfig) -> SandboxRunner:
    from opspawn.agentkit.sandbox.process import ProcessRunner

    return ProcessRunner()


@hookimpl
def opspawn_sandboxes() -> Iterable[SandboxPlugin]:
    """Offer `none`, `thread` and `process`."""
    return [
        SandboxPlugin("none", _none, help="in the event loop, plain functions in a thread"),
        SandboxPlugin("thread", _thread, help="in a thread, async functions too"),
        SandboxPlugin("process", _process, help="in a process of its own for each call, behind walls (Linux)"),
    ]
