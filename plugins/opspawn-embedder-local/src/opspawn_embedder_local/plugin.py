"""Registers the embedder, `embedder = "local:use-multilingual"`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from opspawn.contracts.memory import Embedder
from opspawn.contracts.plugins import EmbedderPlugin
from opspawn.errors import ConfigError
from opspawn.hookspecs import hookimpl
from opspawn_embedder_local.settings import LocalConfig

MODEL = "use-multilingual"


def open_embedder(section: Any, model: str) -> Embedder:
    """The embedder of a model. Raises: ConfigError: there is no such model."""
    if model != MODEL:
        raise ConfigError(f"There is no local model {model!r}.", remedy=f'Write embedder = "local:{MODEL}".')
    from opspawn_embedder_local.embedder import LocalEmbedder

    config = section if isinstance(section, LocalConfig) else LocalConfig.model_validate(section or {})
    return LocalEmbedder(f"local:{model}", characters=config.characters, batch=config.batch)


@hookimpl
def opspawn_embedders() -> Iterable[EmbedderPlugin]:
    """The embedder without a network."""
    yield EmbedderPlugin("local", open_embedder, LocalConfig, "On this machine; the model comes along.", network=False)
