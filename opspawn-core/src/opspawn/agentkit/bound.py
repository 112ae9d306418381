"""A model that is ready to be asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

from opspawn.agentkit import prices
from opspawn.contracts.model import (
    DescribesModels,
    ModelCapabilities,
    ModelProvider,
    ModelRequest,
    ModelResponse,
    OnDelta,
)


@dataclass(frozen=True, slots=True)
class BoundModel:
    """A provider with the model to ask it for, and the settings that go along with every request.

    `spec` is the model as users write it, "PROVIDER:MODEL"; "" for a provider that was given as an object.
    """

    provider: ModelProvider
    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    spec: str = ""

    async def complete(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelResponse:
        """Make one call, as `ModelProvider.complete`; the answer says who gave it, and what it cost where that is
        known.
        """
        response = await self.provider.complete(request, on_delta)
        if not self.spec or response.source:
            return response
        usage = response.usage
        if usage.cost is None and (vendor := self.capabilities().prices) is not None:
            cost = await prices.cost_of(usage, vendor, response.model or request.model, request.model)
            usage = usage if cost is None else replace(usage, cost=cost)
        return replace(response, usage=usage, source=self.spec)

    def capabilities(self) -> ModelCapabilities:
        """What the model can do, as far as its provider knows."""
        if isinstance(self.provider, DescribesModels):
            return self.provider.capabilities(self.name)
        return ModelCapabilities()


@runtime_checkable
class WrapsModels(Protocol):
    """A provider whose models are made of others, named in its own model's name: `fallback:`, `record:`."""

    def wrap(self, name: str, resolve: Callable[[str], BoundModel]) -> BoundModel:
        """The model of that name; `resolve` opens the models inside. Raises: ConfigError."""
        ...
