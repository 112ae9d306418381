"""A finished answer in pieces, as if it streamed: for providers that have it whole."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from opspawn.contracts.model import ModelDelta, ModelResponse, Reasoning

_WORD = re.compile(r"\S+\s*|\s+")


def deltas(response: ModelResponse) -> Iterator[ModelDelta]:
    """Yield the thoughts, the text word by word, then each call's arguments; joined, the pieces give the whole."""
    for part in response.parts:
        if isinstance(part, Reasoning) and part.text:
            yield ModelDelta("reasoning", part.text)
    for word in _WORD.findall(response.text):
        yield ModelDelta("text", word)
    for call in response.tool_calls:
        arguments = json.dumps(call.arguments, ensure_ascii=False) if call.malformed is None else call.malformed
        yield ModelDelta("tool_call", arguments, call.name)
