"""What an agent remembers: its settings, and whose memory a run has."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from opspawn.contracts.memory import Memory, Namespace
from opspawn.errors import ConfigError, InvalidInput

if TYPE_CHECKING:
    from opspawn.agentkit.context import Context

MemoryToolName = Literal["recall", "remember", "forget"]
TOOLS: tuple[MemoryToolName, ...] = ("recall", "remember", "forget")
#: Sessions that nobody named: of a task, or of a `Conversation`, that was given none.
_NAMELESS = re.compile(r"s-[0-9a-f]{20,}")
_FIELD = re.compile(r"\{(agent|session|task|input|deps)((?:\.[A-Za-z_]\w*)*)\}")


@dataclass(frozen=True, slots=True)
class Recollection:
    """What an agent remembers, and how: `Agent("helper", memory=Recollection(...))`; `memory=True` is all defaults.

    Attributes:
        namespace: whose memory a run has. Texts, in which `{input.user}`, `{deps.tenant}`, `{session}` and `{agent}`
            stand for what the run has; or a function of the run's context that returns such a tuple. By default the
            agent's own in the session that somebody named, else the agent's own, which all its runs share.
        tools: which of the tools "recall", "remember", "forget" the model is offered.
        recall: how many items are looked up for a run's input and shown to the model, 0 to 50.
        max_tokens: how many tokens these may have together. min_score: how near they must be, 0 to 1.
        recency, confidence: how much age and doubt weigh, 0 to 1; see `MemoryQuery`.
        extract: whether, after a run, the model is asked once for lasting facts in what the user said, to be kept.
        ttl_s: seconds after which what is kept expires, unless it is used; None for never.
        memory: where; by default the memory of the configuration.

    Raises: ConfigError: a value does not fit.
    """

    namespace: Namespace | Callable[[Any], Any] | None = None
    tools: Sequence[MemoryToolName] = TOOLS
    recall: int = 5
    max_tokens: int = 1000
    min_score: float = 0.2
    recency: float = 0.1
    confidence: float = 0.5
    extract: bool = False
    ttl_s: float | None = None
    memory: Memory | None = None

    def __post_init__(self) -> None:
        space = self.namespace
        if space is not None and not callable(space):
            fits = isinstance(space, tuple) and space and all(isinstance(part, str) and part for part in space)
            if not fits:
                raise _fault(
                    "namespace", space, 'a tuple of texts, e.g. ("user:{input.user}",), or a function is meant'
                )
        if isinstance(self.tools, str) or set(self.tools) - set(TOOLS):
            raise _fault("tools", self.tools, f"a list of {', '.join(TOOLS)} is meant")
        for name, least, most in (("recall", 0, 50), ("max_tokens", 50, 100_000)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise _fault(name, value, f"a whole number from {least} to {most} is meant")
        for name in ("min_score", "recency", "confidence"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise _fault(name, value, "a number from 0 to 1 is meant")
        if not isinstance(self.extract, bool):
            raise _fault("extract", self.extract, "True or False is meant")
        ttl = self.ttl_s
        if ttl is not None and (isinstance(ttl, bool) or not isinstance(ttl, int | float) or not ttl > 0):
            raise _fault("ttl_s", ttl, "seconds above 0, or None, are meant")


def as_recollection(agent: str, given: Any) -> Recollection | None:
    """The settings. Raises: ConfigError."""
    if given is None or given is False:
        return None
    if given is True:
        return Recollection()
    if not isinstance(given, Recollection):
        raise ConfigError(f"The agent {agent!r} has memory={given!r:.60}; True or Recollection(...) is meant.")
    return given


def own_namespace(context: Context) -> Namespace:
    """The namespace of a run whose settings name none."""
    own = f"agent:{context.agent}"
    session = context.session
    return (own,) if session is None or _NAMELESS.fullmatch(session) else (own, f"session:{session}")


async def namespace_of(settings: Recollection, context: Context) -> Namespace:
    """Whose memory a run has; what does not follow from the run alone is recorded.

    Raises: InvalidInput: a text names what the run does not have, or the function returned no namespace.
    """
    space = settings.namespace
    if space is None:
        return own_namespace(context)
    if callable(space):
        named = space

        async def ask() -> Any:
            said = named(context)
            return list(_checked(await said if inspect.isawaitable(said) else said))

        return tuple(await context.step("memory namespace", ask))
    if not any("{deps" in part for part in space):
        return _checked(tuple(_filled(part, context) for part in space))

    async def fill() -> Any:
        return list(_checked(tuple(_filled(part, context) for part in space)))

    return tuple(await context.step("memory namespace", fill))


def _filled(part: str, context: Context) -> str:
    def value_of(match: re.Match[str]) -> str:
        value: Any = getattr(context, match[1])
        for name in match[2].split(".")[1:]:
            value = value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
        if not isinstance(value, str | int) or isinstance(value, bool) or value == "":
            raise InvalidInput(f"Whose memory this is does not follow from the run: it has no {match[0]}.")
        return str(value)

    return _FIELD.sub(value_of, part)


def _checked(space: Any) -> Namespace:
    if not isinstance(space, list | tuple) or not space or not all(isinstance(one, str) and one for one in space):
        raise InvalidInput(f"A namespace is a tuple of texts that say something, not {space!r:.60}.")
    return cast(Namespace, tuple(space))


def _fault(name: str, value: object, words: str) -> ConfigError:
    return ConfigError(f"Recollection has {name}={value!r:.60}; {words}.")
