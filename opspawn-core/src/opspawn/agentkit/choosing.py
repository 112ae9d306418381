"""What an agent's `model` may be, and the model that it means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from opspawn.agentkit.bound import BoundModel
from opspawn.agentkit.fallback import FallbackModel
from opspawn.agentkit.kit import Kit
from opspawn.contracts.model import ModelProvider
from opspawn.errors import ConfigError

OneModel = str | BoundModel | ModelProvider
ModelChoice = OneModel | Sequence[OneModel] | None


def chosen_model(choice: ModelChoice, kit: Kit | None, *, agent: str, settings: Mapping[str, Any]) -> BoundModel:
    """The model; of a list one that asks them in turn. `kit` may be None only where `is_named` is False.

    Raises: ConfigError: no model is set, a provider is not installed, or it cannot be opened.
    """
    if isinstance(choice, (list, tuple)):
        if choice and all(isinstance(one, str) for one in choice):
            return cast(Kit, kit).model("fallback:" + ",".join(choice), agent=agent, settings=settings)
        models = [chosen_model(one, kit, agent=agent, settings={}) for one in choice]
        return BoundModel(FallbackModel(models), "", dict(settings))
    if choice is None or isinstance(choice, str):
        return cast(Kit, kit).model(choice, agent=agent, settings=settings)
    if isinstance(choice, BoundModel):
        return BoundModel(choice.provider, choice.name, {**choice.settings, **settings}, choice.spec)
    provider = cast(ModelProvider, choice)
    return BoundModel(provider, getattr(provider, "name", ""), dict(settings))


def check_choice(agent: str, choice: Any) -> None:
    """Raises: ConfigError: it is neither the name of a model nor a provider, nor a list of these."""
    if isinstance(choice, (list, tuple)):
        if not choice:
            raise ConfigError("A list of models is empty.", remedy='Name one or more, e.g. ["openai:gpt-5"].')
        for one in choice:
            check_choice(agent, one)
        return
    if not (choice is None or isinstance(choice, (str, BoundModel)) or callable(getattr(choice, "complete", None))):
        raise ConfigError(
            f"The agent {agent!r} has model={choice!r:.80}.",
            remedy='Write "PROVIDER:MODEL", e.g. "openai:gpt-5", or give a model provider.',
        )


def is_named(choice: ModelChoice) -> bool:
    """Whether plugins are needed to find the model."""
    if isinstance(choice, (list, tuple)):
        return any(isinstance(one, str) for one in choice)
    return choice is None or isinstance(choice, str)


def model_words(choice: ModelChoice) -> str | None:
    """The model as "PROVIDER:MODEL", or None for the configured one; of an object its class, of a list all of them."""
    if isinstance(choice, (list, tuple)):
        return ", ".join(str(model_words(one)) for one in choice)
    return choice if choice is None or isinstance(choice, str) else type(choice).__name__
