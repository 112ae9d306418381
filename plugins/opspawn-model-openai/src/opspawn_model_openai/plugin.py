"""The plugin's settings, and the hook. The client library is imported only when a provider is opened."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from pydantic import Field, SecretStr, field_validator

from opspawn.agentkit.model_servers import server_of
from opspawn.agentkit.providing import is_url
from opspawn.contracts.memory import Embedder
from opspawn.contracts.plugins import EmbedderPlugin, ModelPlugin, PluginConfig
from opspawn.hookspecs import hookimpl

if TYPE_CHECKING:
    from opspawn_model_openai.provider import OpenAIProvider

_OPENAI = "https://api.openai.com/v1"


class OpenAIConfig(PluginConfig):
    """The section `[plugins.openai]`."""

    base_url: str | None = Field(
        None,
        description="Where the models are, e.g. http://127.0.0.1:11434/v1. Default: OPENAI_BASE_URL, else OpenAI.",
    )
    api_key: SecretStr | None = Field(
        None, description="The key. Default: OPENAI_API_KEY. A server of your own at `base_url` needs none."
    )
    dialect: Literal["auto", "responses", "chat"] = Field(
        "auto", description="The protocol: Responses or Chat Completions. auto: Responses at OpenAI, Chat elsewhere."
    )
    server: Literal["auto", "openai", "openrouter", "ollama", "vllm", "llama.cpp", "other"] = Field(
        "auto", description="What kind of server it is, where kinds differ. auto: told by the address."
    )
    timeout_s: float = Field(600.0, gt=0, description="Seconds without a byte from the server until a call fails.")
    connect_timeout_s: float = Field(10.0, gt=0, description="Seconds to reach the server.")
    organization: str | None = Field(None, description="OpenAI's id of your organisation. Default: OPENAI_ORG_ID.")
    headers: dict[str, SecretStr] = Field(default_factory=dict, description="Further HTTP headers of every request.")

    @field_validator("base_url")
    @classmethod
    def _is_http(cls, value: str | None) -> str | None:
        if value is not None and not is_url(value):
            raise ValueError("must be an address such as http://127.0.0.1:11434/v1")
        return value


def _open(section: OpenAIConfig) -> OpenAIProvider:
    """Make the provider.

    Raises:
        PluginError: no key and no server of one's own, or `OPENAI_BASE_URL` is not an address.
    """
    base_url, key = server_of("openai", section.base_url, section.api_key, example="http://127.0.0.1:11434/v1")
    from opspawn_model_openai.servers import SERVERS, server_at

    server = server_at(base_url or _OPENAI) if section.server == "auto" else SERVERS[section.server]
    auto: Literal["responses", "chat"] = "responses" if server.name == "openai" else "chat"
    from opspawn_model_openai.provider import OpenAIProvider

    return OpenAIProvider(
        base_url=base_url or _OPENAI,
        api_key=key,
        dialect=auto if section.dialect == "auto" else section.dialect,
        server=server,
        timeout_s=section.timeout_s,
        connect_timeout_s=section.connect_timeout_s,
        organization=section.organization,
        headers={name: value.get_secret_value() for name, value in section.headers.items()},
    )


def _open_embedder(section: OpenAIConfig, model: str) -> Embedder:
    """Make the embedder. Raises: PluginError: as `_open`."""
    provider = _open(section)
    from opspawn_model_openai.embeddings import OpenAIEmbedder

    return OpenAIEmbedder(provider, model)


@hookimpl
def opspawn_models() -> Iterable[ModelPlugin]:
    """Offer the provider `openai`."""
    yield ModelPlugin("openai", _open, OpenAIConfig, "OpenAI, and every server that speaks one of its protocols.")


@hookimpl
def opspawn_embedders() -> Iterable[EmbedderPlugin]:
    """Offer the embedder `openai`."""
    help = "Vectors from OpenAI, and from every server with its embeddings endpoint."
    yield EmbedderPlugin("openai", _open_embedder, OpenAIConfig, help)
