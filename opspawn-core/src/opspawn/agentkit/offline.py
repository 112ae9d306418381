"""A switch that keeps tests from asking models behind a network, by mistake and at a price."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from opspawn.errors import ConfigError

VARIABLE = "OPSPAWN_NETWORK_MODELS"


@contextmanager
def forbid_network_models() -> Iterator[None]:
    """Refuse, while the block lasts, every model provider that reaches a network; also a decorator.

    Holds for this process and for those that it starts, since it sets `OPSPAWN_NETWORK_MODELS=false`. Recordings,
    scripted models and functions answer as ever.
    """
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = "false"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = before


def refuse_if_forbidden(provider: str, *, allowed: bool) -> None:
    """Raise ConfigError if network models are forbidden, by the configuration or by the environment."""
    if not allowed or os.environ.get(VARIABLE, "").strip().lower() in ("false", "0", "no", "off"):
        raise ConfigError(
            f"The model provider {provider!r} reaches a network, and network_models is false.",
            remedy=f"Give the agent a scripted or recorded model, or set {VARIABLE}=true.",
        )
