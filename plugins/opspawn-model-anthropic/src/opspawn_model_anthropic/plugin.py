"""The plugin's settings, and the hook. The client library is imported only when a provider is opened."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from opspawn.agentkit.model_servers import server_of
from opspawn.agentkit.providing import is_url
from opspawn.contracts.model import ModelProvider
from opspawn.contracts.plugins import ModelPlugin, PluginConfig
from opspawn.hookspecs import hookimpl

_ANTHROPIC = "https://api.anthropic.com"


class AnthropicConfig(PluginConfig):
    """The section `[plugins.anthropic]`."""

    base_url: str | None = Field(
        None,
        description="Where the models are, without /v1. Default: ANTHROPIC_BASE_URL, else Anthropic.",
    )
    api_key: SecretStr | None = Field(
        None, description="The key. Default: ANTHROPIC_API_KEY. A server of your own at `base_url` needs none."
    )
    max_tokens: int = Field(
        32_000, gt=0, description="The most tokens of one answer, which this protocol must be told; a setting wins."
    )
    cache: Literal["5m", "1h", "off"] = Field(
        "5m",
        description="How long the vendor keeps what tools, instructions and conversation begin with; cheaper reads.",
    )
    output: Literal["auto", "native", "tool"] = Field(
        "auto",
        description="How an answer is held to a schema: by the vendor, or as the arguments of a tool. "
        "auto: by the vendor where it can.",
    )
    timeout_s: float = Field(600.0, gt=0, description="Seconds without a byte from the server until a call fails.")
    connect_timeout_s: float = Field(10.0, gt=0, description="Seconds to reach the server.")
    headers: dict[str, SecretStr] = Field(
        default_factory=dict, description='Further HTTP headers of every request, e.g. "anthropic-beta".'
    )

    @field_validator("base_url")
    @classmethod
    def _is_http(cls, value: str | None) -> str | None:
        if value is not None and not is_url(value):
            raise ValueError("must be an address such as http://127.0.0.1:8080")
        return value


def _open(section: AnthropicConfig) -> ModelProvider:
    """Make the provider.

    Raises:
        PluginError: no key and no server of one's own, or `ANTHROPIC_BASE_URL` is not an address.
    """
    base_url, key = server_of("anthropic", section.base_url, section.api_key, example="http://127.0.0.1:8080")
    host = urlsplit(base_url or _ANTHROPIC).hostname or ""
    from opspawn_model_anthropic.provider import AnthropicProvider
    from opspawn_model_anthropic.writing import Writing

    return AnthropicProvider(
        base_url=(base_url or _ANTHROPIC).removesuffix("/").removesuffix("/v1"),
        api_key=key,
        official=host == "api.anthropic.com",
        writing=Writing(max_tokens=section.max_tokens, cache=section.cache, output=section.output),
        timeout_s=section.timeout_s,
        connect_timeout_s=section.connect_timeout_s,
        headers={name: value.get_secret_value() for name, value in section.headers.items()},
    )


@hookimpl
def opspawn_models() -> Iterable[ModelPlugin]:
    """Offer the provider `anthropic`."""
    yield ModelPlugin("anthropic", _open, AnthropicConfig, "Claude, and every server that speaks the same protocol.")
