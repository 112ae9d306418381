"""The model provider `record`: asks another model, and writes down what it said, for `replay:` to play.

Users write `model = "record:FILE.jsonl:openai:gpt-5"`; each answer is added to the file as one line. What looks like a
key, token or password is replaced by `***`, and images and files stand in the file by their digests alone.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field

from opspawn.agentkit.bound import BoundModel
from opspawn.agentkit.codec import response_from_json, response_to_json
from opspawn.agentkit.digests import content_digest, request_digest
from opspawn.config.secrets import masked, redact
from opspawn.contracts.content import File, Image, Part, Reasoning, Text
from opspawn.contracts.model import Message, ModelProvider, ModelRequest, ModelResponse, OnDelta, ToolCall
from opspawn.contracts.plugins import ModelPlugin, PluginConfig
from opspawn.errors import ConfigError, ModelError
from opspawn.hookspecs import hookimpl


class RecordConfig(PluginConfig):
    """The section `[plugins.record]`."""

    root: Path = Field(
        Path(),
        description="The folder that relative file names start from; the folder of opspawn.toml by default.",
    )


class RecordingModel:
    """Asks a model and adds each answer to a file. A question that is asked again is recorded once."""

    def __init__(self, model: BoundModel | ModelProvider, file: str | Path) -> None:
        """Take the model to ask, and a file, which need not exist; its folder must."""
        self._model = model
        self._file = Path(file)
        self._known: set[str] | None = None
        self._writing = asyncio.Lock()

    async def complete(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelResponse:
        """Ask, record, and return the answer as it came. A failure is not recorded.

        Raises: ModelError: as the model. ConfigError: the file cannot be written.
        """
        response = await self._model.complete(request, on_delta)
        async with self._writing:
            await asyncio.to_thread(self._write, request, response)
        return response

    async def aclose(self) -> None:
        """Close the model, if it was given as a provider."""
        if not isinstance(self._model, BoundModel):
            await self._model.aclose()

    def _write(self, request: ModelRequest, response: ModelResponse) -> None:
        messages = redacted(request.messages)
        digest = request_digest(messages)
        try:
            if self._known is None:
                self._known = _digests(self._file)
            if digest in self._known:
                return
            said = replace(response, parts=tuple(part for part in response.parts if not isinstance(part, Reasoning)))
            entry = {
                "digest": digest,
                "asked": [_shown(message) for message in messages],
                "response": masked(response_to_json(said)),
            }
            response_from_json(entry["response"])
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry, ensure_ascii=False, separators=(",", ":")) + "\n")
            self._known.add(digest)
        except OSError as error:
            raise ConfigError(
                f"The recording {str(self._file)!r} cannot be written: {error.strerror or error}.",
                remedy='Correct the path in model = "record:FILE.jsonl:PROVIDER:MODEL".',
            ) from error


def redacted(messages: Sequence[Message]) -> list[Message]:
    """The conversation with what looks like a secret replaced, as recordings know it."""
    return [
        replace(
            message,
            content=redact(message.content),
            tool_calls=tuple(_redacted_call(call) for call in message.tool_calls),
            parts=tuple(Text(redact(part.text)) if isinstance(part, Text) else part for part in message.parts),
        )
        for message in messages
    ]


def _redacted_call(call: ToolCall) -> ToolCall:
    malformed = None if call.malformed is None else redact(call.malformed)
    return replace(call, arguments=masked(call.arguments), malformed=malformed)


def _shown(message: Message) -> dict[str, Any]:
    """A message for human readers; images and files by their digests."""
    told: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        told["calls"] = [call.name for call in message.tool_calls]
    if media := [_media(part) for part in message.parts if isinstance(part, (Image, File))]:
        told["shows"] = media
    return told


def _media(part: Part) -> str:
    assert isinstance(part, (Image, File))
    return f"{type(part).__name__.lower()} {part.media_type} {content_digest(part)}"


def _digests(file: Path) -> set[str]:
    if not file.exists():
        return set()
    return {json.loads(line)["digest"] for line in file.read_text("utf-8").split("\n") if line.strip()}


class _Recorders:
    """The provider behind `record:FILE:PROVIDER:MODEL`: it has no models of its own."""

    def __init__(self, section: RecordConfig) -> None:
        self._root = section.root

    def wrap(self, name: str, resolve: Callable[[str], BoundModel]) -> BoundModel:
        """The model after the file's name, recorded. Raises: ConfigError: there is none."""
        file, colon, spec = name.partition(":")
        if not (file and colon and spec):
            raise ConfigError(
                f"The model 'record:{name}' does not say what to record.",
                remedy="Write record:FILE.jsonl:PROVIDER:MODEL.",
            )
        inner = resolve(spec)
        return BoundModel(RecordingModel(inner, self._root / file), inner.name, inner.settings, inner.spec)

    async def complete(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelResponse:
        """Nothing answers here. Raises: ModelError."""
        raise ModelError("'record' has no models of its own.", remedy="Write record:FILE.jsonl:PROVIDER:MODEL.")

    async def aclose(self) -> None:
        """Nothing to close: the providers inside are closed by whoever opened them."""


def _open(section: RecordConfig) -> ModelProvider:
    return _Recorders(section)


@hookimpl
def opspawn_models() -> Iterable[ModelPlugin]:
    """Offer `record`."""
    help = "asks a model and records its answers: record:FILE.jsonl:PROVIDER:MODEL"
    return [ModelPlugin("record", _open, RecordConfig, help, network=False)]
