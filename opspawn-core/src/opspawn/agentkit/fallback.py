"""Several models in a row: when one cannot answer, the next is asked. The model provider `fallback`.

`Agent(model=["openai:gpt-5", "anthropic:claude-opus-5"])`, or in the configuration
`model = "fallback:openai:gpt-5,anthropic:claude-opus-5"`. To the run context it is one model with one call: the answer
that is recorded says who gave it, and a replay asks nobody. A conversation stays with the model that answered last,
since ids of calls and sealed thoughts belong to it; only when that one fails does another take over, which then sees
the words and calls and no foreign thoughts.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Literal

from pydantic import Field

from opspawn.agentkit.bound import BoundModel
from opspawn.agentkit.listening import Listener
from opspawn.agentkit.metering import metering
from opspawn.contracts.model import ModelCapabilities, ModelProvider, ModelRequest, ModelResponse, OnDelta
from opspawn.contracts.plugins import ModelPlugin, PluginConfig
from opspawn.errors import ConfigError, ModelError
from opspawn.hookspecs import hookimpl

FailureClass = Literal[
    "transient",
    "rate_limited",
    "timeout",
    "denied",
    "invalid_output",
    "context_overflow",
    "content_filter",
    "permanent",
]
_PASSING = ("transient", "rate_limited", "timeout")
#: How long a model that refused the key, or is out of credit, is not asked again, in seconds.
_DENIED_S = 60.0


class FallbackConfig(PluginConfig):
    """The section `[plugins.fallback]`."""

    on: tuple[FailureClass, ...] = Field(
        ("transient", "rate_limited", "timeout", "denied"),
        description="The classes of failures after which the next model is asked; any other ends the call at once.",
    )
    tries: int = Field(2, ge=1, le=10, description="How often one model is asked before the next is.")
    patience_s: float = Field(
        5.0,
        ge=0,
        le=300,
        description="The most seconds that one model is waited for when it says when to come back.",
    )


class FallbackModel:
    """Asks models in turn until one answers. Remembers, within this process, who wants to be left alone until when."""

    def __init__(
        self,
        models: Sequence[BoundModel],
        *,
        on: Sequence[FailureClass] = ("transient", "rate_limited", "timeout", "denied"),
        tries: int = 2,
        patience_s: float = 5.0,
    ) -> None:
        """Take one model or more, the preferred first; for the rest see `[plugins.fallback]`."""
        if not models:
            raise ConfigError("A list of models is empty.", remedy='Name one or more, e.g. ["openai:gpt-5"].')
        self._models = tuple(
            replace(model, spec=model.spec or f"{type(model.provider).__name__}:{model.name or number}")
            for number, model in enumerate(models, 1)
        )
        self._on = frozenset(on)
        self._tries = tries
        self._patience_s = patience_s
        self._resting: dict[str, tuple[float, ModelError]] = {}

    @property
    def members(self) -> tuple[BoundModel, ...]:
        """The models, the preferred first."""
        return self._models

    async def complete(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelResponse:
        """Return the first answer. Pieces of a failed try are made void by a `restart`.

        Raises:
            ModelError: the failure that ended it, or, when every model failed, one that names them all; then it is
                worth another try if any of the failures was.
        """
        listener = Listener(on_delta) if on_delta is not None else None
        failures: list[tuple[str, ModelError]] = []
        for model in self._order(request):
            if (resting := self._rest(model)) is not None:
                failures.append((model.spec, resting))
                continue
            asked = replace(request, model=model.name, settings={**model.settings, **request.settings})
            try:
                return await self._ask(model, asked, listener)
            except ModelError as error:
                failures.append((model.spec, error))
                if error.error_type not in self._on:
                    break
                self._remember(model, error)
        raise _together(failures)

    def capabilities(self, model: str) -> ModelCapabilities:
        """What every one of the models can do."""
        return _common([model.capabilities() for model in self._models])

    async def aclose(self) -> None:
        """Close the models' providers. Idempotent."""
        for model in self._models:
            await model.provider.aclose()

    def _order(self, request: ModelRequest) -> Iterator[BoundModel]:
        """The model that answered last in this conversation, then the others as they are listed."""
        said = (message.source for message in reversed(request.messages) if message.role == "assistant")
        last = next(said, "")
        yield from (model for model in self._models if model.spec == last)
        yield from (model for model in self._models if model.spec != last)

    async def _ask(self, model: BoundModel, request: ModelRequest, listener: Listener | None) -> ModelResponse:
        for number in range(1, self._tries + 1):
            if listener is not None:
                listener.begin()
            call, meter = model.complete(request, listener), metering.get()
            try:
                return await (call if meter is None else meter.count(model, request, call))
            except ModelError as error:
                wait_s = self._wait_s(error, number)
                if wait_s is None:
                    raise
            await asyncio.sleep(wait_s)
        raise AssertionError("the last try returns or raises")

    def _wait_s(self, error: ModelError, number: int) -> float | None:
        """Seconds until the same model is asked again; None if it is not."""
        if number == self._tries or error.error_type not in _PASSING:
            return None
        if error.retry_after_s is not None:
            return error.retry_after_s if error.retry_after_s <= self._patience_s else None
        return random.uniform(0.0, min(self._patience_s, 0.5 * 2 ** (number - 1)))

    def _remember(self, model: BoundModel, error: ModelError) -> None:
        rest_s = _DENIED_S if error.error_type == "denied" else error.retry_after_s
        if rest_s:
            self._resting[model.spec] = (time.monotonic() + rest_s, error)

    def _rest(self, model: BoundModel) -> ModelError | None:
        """Why the model is not asked now, with how long that lasts; None if it is."""
        until, error = self._resting.get(model.spec, (0.0, None))
        left = until - time.monotonic()
        if error is None or left <= 0:
            self._resting.pop(model.spec, None)
            return None
        retry_after_s = left if error.error_type == "rate_limited" else None
        return _copy(error, error.message, retry_after_s)


def _together(failures: Sequence[tuple[str, ModelError]]) -> ModelError:
    """One error for all: the classes that another try may mend come first."""
    if len(failures) == 1:
        return failures[0][1]
    errors = [error for _, error in failures]
    told = " ".join(f"{spec}: {error.message}" for spec, error in failures)
    passing = [error for error in errors if error.error_type in _PASSING]
    first = passing[0] if passing else errors[-1]
    waits = [error.retry_after_s for error in passing if error.error_type == "rate_limited"]
    known = [wait for wait in waits if wait is not None]
    if passing and len(known) == len(passing):
        return _copy(first, f"No model of {len(failures)} answered. {told}", min(known), "rate_limited")
    kind = "transient" if passing else first.error_type
    return _copy(first, f"No model of {len(failures)} answered. {told}", None, kind)


def _copy(error: ModelError, message: str, retry_after_s: float | None, kind: str | None = None) -> ModelError:
    return ModelError(
        message,
        error_type=kind or error.error_type,
        retry_after_s=retry_after_s,
        status=error.status,
        request_id=error.request_id,
        remedy=error.remedy,
    )


def _common(several: Sequence[ModelCapabilities]) -> ModelCapabilities:
    def every(name: str) -> bool | None:
        told = [getattr(one, name) for one in several]
        return False if False in told else None if None in told else True

    def least(name: str) -> int | None:
        told = [getattr(one, name) for one in several]
        return None if None in told else min(told)

    return ModelCapabilities(
        tools=every("tools"),
        parallel_tools=every("parallel_tools"),
        output_schema=every("output_schema"),
        images=every("images"),
        files=every("files"),
        reasoning=every("reasoning"),
        streaming=every("streaming"),
        context_tokens=least("context_tokens"),
        max_output_tokens=least("max_output_tokens"),
    )


class _Fallbacks:
    """The provider behind `fallback:A,B`: it has no models of its own."""

    def __init__(self, section: FallbackConfig) -> None:
        self._section = section
        self._chains: dict[str, FallbackModel] = {}

    def wrap(self, name: str, resolve: Callable[[str], BoundModel]) -> BoundModel:
        """The models of a list as one, the same for the same list, so that all agents share what it remembers."""
        if name not in self._chains:
            specs = [spec.strip() for spec in re.split(r",\s*(?=[A-Za-z][\w.-]*:)", name)]
            section = self._section
            models = [resolve(spec) for spec in specs]
            self._chains[name] = FallbackModel(
                models, on=section.on, tries=section.tries, patience_s=section.patience_s
            )
        return BoundModel(self._chains[name], name)

    async def complete(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelResponse:
        """Nothing answers here. Raises: ModelError."""
        raise ModelError("'fallback' has no models of its own.", remedy="Write fallback:PROVIDER:MODEL,PROVIDER:MODEL.")

    async def aclose(self) -> None:
        """Forget the lists; the providers in them are closed by whoever opened them."""
        self._chains.clear()


def _open(section: FallbackConfig) -> ModelProvider:
    return _Fallbacks(section)


@hookimpl
def opspawn_models() -> Iterable[ModelPlugin]:
    """Offer `fallback`."""
    return [
        ModelPlugin(
            "fallback",
            _open,
            FallbackConfig,
            "asks models in turn: fallback:PROVIDER:MODEL,PROVIDER:MODEL",
            network=False,
        )
    ]
