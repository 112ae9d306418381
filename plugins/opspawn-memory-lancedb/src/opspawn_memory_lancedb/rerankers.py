"""The reranker that the settings name."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from opspawn.errors import ConfigError
from opspawn.memories.ranking import Reranker

_KEY = "[plugins.lancedb] reranker"


def reranker_of(spec: str | None) -> Reranker | None:
    """The object that "module:attribute" names; a class is called without arguments. Raises: ConfigError."""
    if spec is None:
        return None
    module, colon, attribute = spec.partition(":")
    if not (module and colon and attribute.isidentifier()):
        raise ConfigError(f"{_KEY} is {spec!r}.", remedy='Write it as "module:attribute".')
    try:
        found: Any = getattr(import_module(module), attribute, None)
        made = found() if isinstance(found, type) else found
    except Exception as error:  # it is the user's code
        words = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(f"{_KEY} names {spec!r}, which cannot be used: {words}.") from error
    if not callable(getattr(made, "rerank", None)):
        raise ConfigError(f"{_KEY} names {spec!r}, which has no method `rerank`.")
    reranker: Reranker = made
    return reranker
