"""A scripted model server over real HTTP, whatever the protocol: subclass `ModelServer` with the `Wire` of yours.

`opspawn.testing.openai_server` and `opspawn.testing.anthropic_server` are made of it. For tests and recordings, not for
the open: it listens on loopback, without TLS, and takes any key. It needs nothing but the standard library.
"""

from opspawn.testing.model_server.server import ModelServer
from opspawn.testing.model_server.steps import (
    Answer,
    BreakStream,
    CallTools,
    Fail,
    Garbage,
    Hang,
    Malformed,
    Say,
    Script,
    Step,
    load_script,
    step_from_json,
)
from opspawn.testing.model_server.wire import BadRequest, Frame, Wire

__all__ = [
    "Answer",
    "BadRequest",
    "BreakStream",
    "CallTools",
    "Fail",
    "Frame",
    "Garbage",
    "Hang",
    "Malformed",
    "ModelServer",
    "Say",
    "Script",
    "Step",
    "Wire",
    "load_script",
    "step_from_json",
]
