"""`hooks.md`: every hook, the record that it gives, and what the record's `open` must make."""

from __future__ import annotations

import inspect
from typing import Any

from _reference.text import docstring, fields, python, signature
from opspawn import hookspecs
from opspawn.contracts import (
    events,
    filters,
    listener,
    memory,
    model,
    mounting,
    planner,
    plugins,
    policy,
    run,
    sandbox,
    store,
    tool,
    transport,
    waker,
)
from opspawn.plugins.kinds import HOOKS

#: What the author of each kind implements, and the records that cross it.
MADE: dict[str, tuple[type[Any], tuple[type[Any], ...]]] = {
    "opspawn_models": (
        model.ModelProvider,
        (
            model.ModelRequest,
            model.Message,
            model.ToolCall,
            model.ToolSpec,
            model.ModelResponse,
            model.Usage,
            model.ModelDelta,
        ),
    ),
    "opspawn_planners": (planner.Planner, (planner.PlannerResult,)),
    "opspawn_tools": (tool.Tool, (tool.ToolOptions, tool.ToolContext, tool.ToolResult)),
    "opspawn_sandboxes": (sandbox.SandboxRunner, (sandbox.SandboxCall, sandbox.Sandbox)),
    "opspawn_policies": (policy.Decider, (policy.Considered, policy.Verdict, policy.Approve, policy.Deny)),
    "opspawn_stores": (
        store.Store,
        (
            store.Task,
            store.Record,
            store.Batch,
            store.Put,
            store.Append,
            store.Wake,
            store.Receipt,
            store.Claim,
            store.Lease,
            store.LeaseStatus,
            store.Query,
            store.EventQuery,
            store.Page,
            events.NewEvent,
            events.Event,
            events.TaskDelta,
        ),
    ),
    "opspawn_wakers": (waker.Waker, ()),
    "opspawn_listeners": (listener.Listener, ()),
    "opspawn_memories": (
        memory.Memory,
        (
            memory.MemoryItem,
            memory.Provenance,
            memory.Selection,
            memory.MemoryQuery,
            memory.Hit,
            memory.Why,
            memory.Added,
            memory.Change,
            memory.MemoryPage,
            memory.MemoryStats,
        ),
    ),
    "opspawn_embedders": (memory.Embedder, ()),
    "opspawn_transports": (transport.Transport, (transport.AgentInfo, mounting.Mount)),
}


#: Hooks whose records make something that is not ours to describe.
ELSEWHERE = {"opspawn_commands"}


def pages() -> dict[str, str]:
    """The page."""
    parts = [
        "# Hooks",
        docstring(hookspecs),
        "How to write a plugin stands in [Write a plugin](../how-to/write-a-plugin.md), why it is made so in "
        "[Plugins](../explanation/plugins.md).",
        f"This core offers plugin API {plugins.PLUGIN_API}. A plugin module may declare the range that it needs, "
        '`OPSPAWN_PLUGIN_API = ">=1,<2"`; a core outside it refuses the plugin and says so.',
        "## PluginConfig",
        docstring(plugins.PluginConfig),
    ]
    for hook, own in HOOKS.items():
        parts += [f"## {hook}", docstring(getattr(hookspecs, hook))]
        for record in own:
            parts += [f"### {record.__name__}", docstring(record), fields(record)]
        if hook in ELSEWHERE:
            continue
        made, records = MADE[hook]
        parts += protocol(made)
        if hook == "opspawn_tools":
            parts += protocol(tool.ToolSource) + protocol(tool.SelectsTools) + protocol(tool.StandsForOthers)
        if hook == "opspawn_memories":
            parts += ["Rules for all memories:", docstring(memory), "Filters:", docstring(filters)]
        if hook == "opspawn_stores":
            parts += ["Rules for all stores:", _rules(store)]
        if hook == "opspawn_planners":
            parts += protocol(run.AgentContext) + protocol(run.RunContext)
        if hook == "opspawn_transports":
            parts += protocol(mounting.Mountable) + protocol(mounting.Carrier) + protocol(transport.Host)
        for one in records:
            parts += [f"### {one.__name__}", docstring(one), fields(one)]
    return {"hooks.md": "\n\n".join(parts)}


def protocol(cls: type[Any]) -> list[str]:
    """A heading, the class's text, and each of its own methods and properties."""
    parts = [f"### {cls.__name__}", docstring(cls)]
    plain: list[str] = []
    for name, member in vars(cls).items():
        if name.startswith("_"):
            continue
        if isinstance(member, property):
            answer = inspect.get_annotations(member.fget).get("return", "Any") if member.fget else "Any"
            plain.append(f"- `{name}: {answer}`" + (f" {inspect.getdoc(member)}" if member.__doc__ else ""))
        elif inspect.isfunction(member):
            parts += [python(signature(member)), docstring(member)]
    if plain:
        parts.insert(2, "\n".join(plain))
    return parts


def _rules(module: Any) -> str:
    """The list within a module's docstring."""
    text = inspect.getdoc(module) or ""
    return text[text.index("\n* ") + 1 :]
