"""A scripted model server that speaks the OpenAI protocol over real HTTP: both dialects, streaming and not.

    async with OpenAIServer([Fail(429, retry_after=1), Say("Hello.")]) as server:
        ...                       # point a client at server.base_url; server.requests holds what came

or in a process of its own, which prints where it listens as its first line:

    python -m opspawn.testing.openai_server --script steps.json --port 0 --log requests.jsonl

For tests and recordings, not for the open: it listens on loopback, without TLS, and takes any key. It needs nothing
but the standard library.
"""

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
from opspawn.testing.openai_server.server import OpenAIServer

__all__ = [
    "BreakStream",
    "CallTools",
    "Fail",
    "Garbage",
    "Hang",
    "Malformed",
    "OpenAIServer",
    "Say",
    "Script",
    "Step",
    "load_script",
    "step_from_json",
]
