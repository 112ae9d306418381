"""How many tokens a request is about to use: what a shared rate is taken from before the call."""

from __future__ import annotations

import json

from opspawn.agentkit.bound import BoundModel
from opspawn.contracts.content import File, Image
from opspawn.contracts.model import CountsTokens, Message, ModelRequest
from opspawn.errors import ModelError

_CHARACTERS = 4  # of a token, in English
_BYTES = 3  # of a token, in UTF-8, beyond ASCII: about one Chinese character, or half a word of Cyrillic
_MESSAGE = 4  # tokens that a vendor adds to each message
_IMAGE = 1_200  # tokens of an image of about a megapixel
_FILE_BYTES = 24  # of a PDF, for a token


def estimate_tokens(request: ModelRequest) -> int:
    """A cheap estimate of the input's tokens, right to a factor of two; asks nobody, and is always the same."""
    characters = 0
    for tool in request.tools:
        characters += len(tool.name) + len(tool.description) + len(json.dumps(tool.parameters))
    if request.output_schema is not None:
        characters += len(json.dumps(request.output_schema))
    return sum(tokens_of(message) for message in request.messages) + -(-characters // _CHARACTERS)


def tokens_of(message: Message) -> int:
    """The estimate for one message."""
    tokens = _MESSAGE + tokens_in(message.content)
    for call in message.tool_calls:
        tokens += tokens_in(call.name) + tokens_in(json.dumps(call.arguments, ensure_ascii=False))
    for part in message.parts:
        if isinstance(part, Image):
            tokens += _IMAGE
        elif isinstance(part, File):
            size = len(part.data or b"")
            tokens += size // (_CHARACTERS if part.media_type.startswith("text/") else _FILE_BYTES)
    return tokens


def tokens_in(text: str) -> int:
    """The estimate for a text: 4 characters of ASCII a token, else 3 bytes of UTF-8."""
    if text.isascii():
        return -(-len(text) // _CHARACTERS)
    size = len(text.encode("utf-8", "surrogatepass"))
    plain = len(text.encode("ascii", "ignore"))
    return -(-plain // _CHARACTERS) + -(-(size - plain) // _BYTES)


async def count_tokens(model: BoundModel, request: ModelRequest) -> int:
    """The input's tokens as the vendor counts them, where it does so for free; else, or if that fails, the estimate."""
    if isinstance(model.provider, CountsTokens) and model.capabilities().count_tokens:
        try:
            return await model.provider.count_tokens(request)
        except ModelError:
            return estimate_tokens(request)
    return estimate_tokens(request)
