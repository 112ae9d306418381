"""The engine: what callers do with durable work. Its parts are mixins, one per sort of verb."""

from opspawn.ops.engine.engine import Engine

__all__ = ["Engine"]
