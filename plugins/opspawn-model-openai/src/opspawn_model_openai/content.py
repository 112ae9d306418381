"""Parts of messages as the two dialects write them."""

from __future__ import annotations

from typing import Any

from opspawn.agentkit.providing import data_url
from opspawn.contracts.model import File, Image, Message, Part, Text
from opspawn.errors import ModelError
from opspawn_model_openai.servers import Server

_TEXTS = ("application/json", "application/xml", "application/yaml")


def chat_part(part: Part, server: Server) -> dict[str, Any] | None:
    """A part in Chat Completions; None for one that is not shown. Raises: ModelError: the server does not take it."""
    if isinstance(part, Text):
        return {"type": "text", "text": part.text} if part.text else None
    if isinstance(part, Image):
        if part.url is not None and not server.image_urls:
            raise _refused(server, "fetches no images", "Give it the bytes: Image.read(PATH).")
        return {"type": "image_url", "image_url": {"url": data_url(part)}}
    if not isinstance(part, File):
        return None
    if (text := _inline(part)) is not None:
        return {"type": "text", "text": text}
    if not server.files:
        raise _refused(server, f"takes no files of type {part.media_type or 'unknown'}", "Give it text, or images.")
    if part.url is not None and not server.file_urls:
        raise _refused(server, "fetches no files", "Give it the bytes: File.read(PATH).")
    return {"type": "file", "file": {"filename": _name(part), "file_data": data_url(part)}}


def responses_part(part: Part, *, said: bool = False) -> dict[str, Any] | None:
    """A part in Responses, `said` by the model or shown to it; None for one that is neither."""
    if isinstance(part, Text):
        kind = "output_text" if said else "input_text"
        return {"type": kind, "text": part.text} if part.text else None
    if isinstance(part, Image):
        return {"type": "input_image", "image_url": data_url(part)}
    if not isinstance(part, File):
        return None
    if (text := _inline(part)) is not None:
        return {"type": "input_text", "text": text}
    if part.url is not None:
        return {"type": "input_file", "file_url": part.url}
    return {"type": "input_file", "filename": _name(part), "file_data": data_url(part)}


def tool_words(message: Message) -> str:
    """A tool's result as the model reads it. Neither dialect can mark a failure, so the text must say it."""
    words = message.content
    if not words and shown(message):
        words = "Shown below."
    return f"Error: {words}" if message.is_error and not words.lower().startswith("error") else words


def shown(message: Message) -> list[Part]:
    """The images and files of a message."""
    return [part for part in message.parts if isinstance(part, (Image, File))]


def _inline(file: File) -> str | None:
    """A text file as text, which every model reads."""
    if file.data is None or not (file.media_type.startswith("text/") or file.media_type in _TEXTS):
        return None
    text = file.data.decode("utf-8", "replace")
    return f"{file.name}:\n\n{text}" if file.name else text


def _name(file: File) -> str:
    return file.name or f"file.{file.media_type.rpartition('/')[2] or 'bin'}"


def _refused(server: Server, what: str, remedy: str) -> ModelError:
    return ModelError(f"The server {server.name!r} {what} in this protocol.", remedy=remedy)
