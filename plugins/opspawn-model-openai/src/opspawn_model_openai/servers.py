"""What is peculiar to the servers that speak these protocols."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from opspawn.contracts.model import ModelCapabilities

ServerName = Literal["openai", "openrouter", "ollama", "vllm", "llama.cpp", "other"]


@dataclass(frozen=True, slots=True)
class Server:
    """A kind of server.

    Attributes:
        max_tokens: the setting's name in Chat Completions; OpenAI renamed it, others know the old name only.
        image_urls: whether it fetches images by their address, in Chat Completions.
        files: whether it takes documents besides text; `file_urls`: by their address.
    """

    name: ServerName
    max_tokens: str = "max_tokens"
    image_urls: bool = True
    files: bool = False
    file_urls: bool = False


SERVERS: dict[str, Server] = {
    server.name: server
    for server in (
        Server("openai", max_tokens="max_completion_tokens", files=True),
        Server("openrouter", files=True, file_urls=True),
        Server("ollama", image_urls=False),
        Server("vllm"),
        Server("llama.cpp", image_urls=False),
        Server("other", files=True),
    )
}

_REASONS = re.compile(r"o\d|gpt-(5|[6-9]|\d\d)(?!.*chat)|codex|gpt-oss")
#: Context and longest answer in tokens, as known in November 2026, by the begin of the name; the first that fits.
_SIZES: tuple[tuple[str, int | None, int | None], ...] = (
    ("gpt-4.1", 1_047_576, 32_768),
    ("gpt-4o", 128_000, 16_384),
    ("o1", 200_000, 100_000),
    ("o3", 200_000, 100_000),
    ("o4", 200_000, 100_000),
    ("gpt-5.4-mini", 400_000, 128_000),
    ("gpt-5.4-nano", 400_000, 128_000),
    ("gpt-5.4", 1_050_000, None),
    ("gpt-5.5", 1_000_000, None),
    ("gpt-5.6", 1_050_000, None),
    ("gpt-5.3", None, None),
    ("gpt-5", 400_000, 128_000),
    ("gpt-6", 1_050_000, None),
)


def server_at(base_url: str) -> Server:
    """The kind of server at an address, as far as the address tells."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    if host == "api.openai.com" or host.endswith(".api.openai.com"):
        return SERVERS["openai"]
    if host == "openrouter.ai" or host.endswith(".openrouter.ai"):
        return SERVERS["openrouter"]
    return SERVERS["ollama" if parts.port == 11434 else "other"]


def reasons(model: str) -> bool:
    """Whether this model of OpenAI thinks before it answers."""
    return _REASONS.match(model) is not None


def capabilities(server: Server, dialect: str, model: str) -> ModelCapabilities:
    """What a model can do, as far as its server and name tell."""
    if server.name != "openai":
        files = None if server.files else False
        prices = "openrouter" if server.name == "openrouter" else None
        return ModelCapabilities(output_schema=True, files=files, streaming=True, prices=prices)
    context, answer = next(((a, b) for begin, a, b in _SIZES if model.startswith(begin)), (None, None))
    return ModelCapabilities(
        tools=True,
        parallel_tools=True,
        output_schema=True,
        images=True,
        files=True,
        reasoning=reasons(model),
        streaming=True,
        count_tokens=dialect == "responses",
        context_tokens=context,
        max_output_tokens=answer,
        prices="openai",
    )
