"""A model that is ready to be asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from opspawn.contracts.model import ModelProvider


@dataclass(frozen=True, slots=True)
class BoundModel:
    """A provider with the model to ask it for, and the settings that go along with every request."""

    provider: ModelProvider
    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
