"""For tests of agents, planners, tools and backends: fakes, and the contract suites that prove a backend.

Each name is imported when it is first used, since the suites need pytest and the fakes do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opspawn.faces import on_first_use

if TYPE_CHECKING:
    from opspawn.agentkit.offline import forbid_network_models
    from opspawn.testing.captured import CapturedCall, Events, capture_events, events_of
    from opspawn.testing.crashes import CrashRun, crash_everywhere
    from opspawn.testing.environment import TestEnvironment
    from opspawn.testing.hashing import HashingEmbedder
    from opspawn.testing.invariants import InvariantsBroken, Violation, assert_invariants, find_violations
    from opspawn.testing.looping import LoopPlanner
    from opspawn.testing.memory_contract import MemoryContract
    from opspawn.testing.model_contract import AnswerContract, ModelContract
    from opspawn.testing.planner_contract import PlannerContract
    from opspawn.testing.scripted import ScriptedModel, ScriptEnded
    from opspawn.testing.store_contract import Capability, StoreContract
    from opspawn.testing.store_machine import StoreMachine
    from opspawn.testing.store_model import ModelStore
    from opspawn.testing.virtual import VirtualClock, virtual_time

__all__ = [
    "AnswerContract",
    "Capability",
    "CapturedCall",
    "CrashRun",
    "Events",
    "HashingEmbedder",
    "InvariantsBroken",
    "LoopPlanner",
    "MemoryContract",
    "ModelContract",
    "ModelStore",
    "PlannerContract",
    "ScriptEnded",
    "ScriptedModel",
    "StoreContract",
    "StoreMachine",
    "TestEnvironment",
    "Violation",
    "VirtualClock",
    "assert_invariants",
    "capture_events",
    "crash_everywhere",
    "events_of",
    "find_violations",
    "forbid_network_models",
    "virtual_time",
]

_HOMES = {
    "CapturedCall": ".captured",
    "Events": ".captured",
    "capture_events": ".captured",
    "events_of": ".captured",
    "AnswerContract": ".model_contract",
    "ModelContract": ".model_contract",
    "PlannerContract": ".planner_contract",
    "CrashRun": ".crashes",
    "crash_everywhere": ".crashes",
    "InvariantsBroken": ".invariants",
    "Violation": ".invariants",
    "assert_invariants": ".invariants",
    "find_violations": ".invariants",
    "forbid_network_models": "..agentkit.offline",
    "LoopPlanner": ".looping",
    "HashingEmbedder": ".hashing",
    "MemoryContract": ".memory_contract",
    "ScriptEnded": ".scripted",
    "ScriptedModel": ".scripted",
    "Capability": ".store_contract",
    "StoreContract": ".store_contract",
    "StoreMachine": ".store_machine",
    "TestEnvironment": ".environment",
    "VirtualClock": ".virtual",
    "virtual_time": ".virtual",
    "ModelStore": ".store_model",
}

__getattr__ = on_first_use(__name__, _HOMES)
