"""The settings of the embedder."""

from __future__ import annotations

from pydantic import Field

from opspawn.contracts.plugins import PluginConfig


class LocalConfig(PluginConfig):
    """The section `[plugins.local]`."""

    characters: int = Field(
        default=2000,
        ge=100,
        le=65_536,
        description="How much of a text the vector is made of, from its begin; it takes time in proportion.",
    )
    batch: int = Field(default=32, ge=1, le=1000, description="How many texts are worked on at once.")
