"""A scripted model server that speaks the Anthropic protocol over real HTTP, streaming and not.

    async with AnthropicServer([Fail(529), Say("Hello.")]) as server:
        ...                       # point a client at server.base_url; server.requests holds what came

or in a process of its own, which prints where it listens as its first line:

    python -m opspawn.testing.anthropic_server --script steps.json --port 0 --log requests.jsonl

Thoughts are signed, and a thought that comes back changed is refused. For tests and recordings, not for the open: it
listens on loopback, without TLS, and takes any key. It needs nothing but the standard library.
"""

from opspawn.testing.anthropic_server.server import AnthropicServer
from opspawn.testing.model_server.steps import (
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

__all__ = [
    "AnthropicServer",
    "BreakStream",
    "CallTools",
    "Fail",
    "Garbage",
    "Hang",
    "Malformed",
    "Say",
    "Script",
    "Step",
    "load_script",
    "step_from_json",
]
