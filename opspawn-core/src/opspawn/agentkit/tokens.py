"""How many tokens a request is about to use: what a shared rate is taken from before the call."""

from __future__ import annotations

import json

from opspawn.agentkit.bound import BoundModel
from opspawn.contracts.content import File, Image
from opspawn.contracts.model import CountsTokens, ModelRequest
from opspawn.errors import ModelError

_CHARACTERS = 4  # of a token, in English; other scripts take more tokens
_MESSAGE = 4  # tokens that a vendor adds to each message
_IMAGE = 1_200  # tokens of an image of about a megapixel
_FILE_BYTES = 24  # of a PDF, for a token


def estimate_tokens(request: ModelRequest) -> int:
    """A cheap estimate of the input's tokens, right to a factor of two with English text; asks nobody."""
    characters = tokens = 0
    for message in request.messages:
        tokens += _MESSAGE
        characters += len(message.content)
        for call in message.tool_calls:
            characters += len(call.name) + len(json.dumps(call.arguments, ensure_ascii=False))
        for part in message.parts:
            if isinstance(part, Image):
                tokens += _IMAGE
            elif isinstance(part, File):
                size = len(part.data or b"")
                tokens += size // (_CHARACTERS if part.media_type.startswith("text/") else _FILE_BYTES)
    for tool in request.tools:
        characters += len(tool.name) + len(tool.description) + len(json.dumps(tool.parameters))
    if request.output_schema is not None:
        characters += len(json.dumps(request.output_schema))
    return tokens + -(-characters // _CHARACTERS)


async def count_tokens(model: BoundModel, request: ModelRequest) -> int:
    """The input's tokens as the vendor counts them, where it does so for free; else, or if that fails, the estimate."""
    if isinstance(model.provider, CountsTokens) and model.capabilities().count_tokens:
        try:
            return await model.provider.count_tokens(request)
        except ModelError:
            return estimate_tokens(request)
    return estimate_tokens(request)
