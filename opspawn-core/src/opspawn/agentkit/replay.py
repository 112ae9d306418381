"""The built-in model provider `replay`: answers with recorded model calls, so that an agent runs offline and for free.

Users write `model = "replay:FILE.jsonl"`; each line of the file is `{"digest", "asked", "response"}`. A call is looked
up by the digest of its messages alone; which model once answered, and how tools were described, does not matter. So the
same question always gets the same answer, in any order and however often. `export_recording` makes one from journals.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from opspawn.agentkit.codec import response_from_json
from opspawn.agentkit.digests import request_digest
from opspawn.agentkit.pieces import deltas
from opspawn.agentkit.record import redacted
from opspawn.contracts.events import Event
from opspawn.contracts.model import ModelRequest, ModelResponse, OnDelta
from opspawn.contracts.plugins import ModelPlugin, PluginConfig
from opspawn.errors import ConfigError, ModelError
from opspawn.hookspecs import hookimpl


class ReplayConfig(PluginConfig):
    """The section `[plugins.replay]`."""

    root: Path = Field(
        Path(),
        description="The folder that relative file names start from; the folder of opspawn.toml by default.",
    )


class ReplayModel:
    """Plays recordings. A file is read when it is first asked for, and once; changes to it later are not noticed."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._recordings: dict[str, dict[str, ModelResponse]] = {}

    def check(self, model: str) -> None:
        """Read the file. Raises: ConfigError: it is missing, or a line of it is no recorded call."""
        self._recording(model)

    async def complete(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelResponse:
        """Return the recorded answer.

        Raises: ModelError (permanent): the question is not in the file. ConfigError: as `check`.
        """
        recording = self._recording(request.model)
        # A recording made by `record:` knows the conversation without its secrets.
        response = recording.get(request_digest(request.messages))
        response = response or recording.get(request_digest(redacted(request.messages)))
        if response is None:
            last = next((message.content for message in reversed(request.messages) if message.role == "user"), "")
            raise ModelError(
                f"This question is not in the recording {request.model!r}: {_shortened(last)!r}.",
                remedy="To ask a live model, set OPSPAWN_MODEL, e.g. OPSPAWN_MODEL=openai:gpt-5.",
            )
        if on_delta is not None:
            for piece in deltas(response):
                on_delta(piece)
        return response

    async def aclose(self) -> None:
        """Forget the recordings."""
        self._recordings.clear()

    def _recording(self, name: str) -> dict[str, ModelResponse]:
        if name not in self._recordings:
            self._recordings[name] = read_recording(self._root / name)
        return self._recordings[name]


def read_recording(file: Path) -> dict[str, ModelResponse]:
    """Return the recorded answers by digest; empty lines are skipped, and of two with one digest the first counts.

    Raises: ConfigError: the file cannot be read, or a line is no recorded call; names file and line.
    """
    try:
        lines = file.read_text("utf-8").split("\n")
    except OSError as error:
        raise ConfigError(
            f"The recording {str(file)!r} cannot be read: {error.strerror or error}.",
            remedy='Correct the path in model = "replay:FILE.jsonl", or set OPSPAWN_MODEL to a live model.',
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"The recording {str(file)!r} is not UTF-8 text (byte {error.start}).") from error
    found: dict[str, ModelResponse] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            found.setdefault(_digest(entry), response_from_json(entry["response"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            what = f"{error!s} is missing" if isinstance(error, KeyError) else str(error)
            raise ConfigError(f"The recording {str(file)!r}, line {number}, is not a recorded call: {what}.") from error
    return found


def export_recording(events: Iterable[Event]) -> Iterator[str]:
    """Yield a recording from journal events: lines without their ends, each question once, in the order of the events.

    Only model calls that gave an answer are taken. `asked` is there for human readers, where the event has it.
    """
    seen: set[str] = set()
    for event in events:
        data = event.data
        if event.type != "step.done" or data.get("kind") != "think" or not data.get("digest") or data["digest"] in seen:
            continue
        seen.add(data["digest"])
        asked = {"asked": data["asked"]} if data.get("asked") else {}
        entry = {"digest": data["digest"], **asked, "response": data["result"]}
        yield json.dumps(entry, ensure_ascii=False, separators=(",", ":"))


def _digest(entry: Any) -> str:
    digest = entry["digest"]
    if not isinstance(digest, str):
        raise TypeError("digest is not a text")
    return digest


def _shortened(text: str, length: int = 120) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"


def _open(section: ReplayConfig) -> ReplayModel:
    return ReplayModel(section.root)


@hookimpl
def opspawn_models() -> Iterable[ModelPlugin]:
    """Offer `replay`."""
    return [ModelPlugin("replay", _open, ReplayConfig, "plays recorded model calls: replay:FILE.jsonl", network=False)]
