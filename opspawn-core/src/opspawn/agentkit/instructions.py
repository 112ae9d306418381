"""An agent's instructions: texts with the run's dependencies in them, and functions that write texts.

In a text, `{deps.user.name}` stands for that attribute, or that key, of what the run was started with; `{agent}`,
`{session}` and `{task}` likewise. Nothing else in braces means anything, so JSON may stand in instructions as it is;
`{{deps.user}}` stays `{deps.user}`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opspawn.agentkit.plain import as_text
from opspawn.errors import ConfigError, StepFailed

if TYPE_CHECKING:
    from opspawn.agentkit.context import Context

Fragment = str | Callable[..., str | Awaitable[str]]
Instructions = Fragment | Sequence[Fragment]

_FIELD = re.compile(r"\{(?P<double>\{)?(?P<path>(?:deps|agent|session|task)(?:\.[A-Za-z_]\w*)*)\}(?(double)\})")


def fragments(agent: str, given: Any) -> tuple[Fragment, ...]:
    """The texts and functions. Raises: ConfigError: something is neither, or names a private field."""
    found = (given,) if isinstance(given, str) or callable(given) else given
    if not isinstance(found, (list, tuple)) or not all(isinstance(one, str) or callable(one) for one in found):
        raise ConfigError(f"The agent {agent!r} has instructions={given!r}; texts and functions are meant.")
    for one in found:
        for match in _FIELD.finditer(one if isinstance(one, str) else ""):
            if any(part.startswith("_") for part in match["path"].split(".")):
                raise ConfigError(f"The instructions of the agent {agent!r} name {match[0]}, which is private.")
    return tuple(found)


def fixed(given: Sequence[Fragment]) -> str | None:
    """The instructions, if they are the same for every run; else None."""
    if all(isinstance(one, str) and not _FIELD.search(one) for one in given):
        return _joined([str(one) for one in given])
    return None


async def written(given: Sequence[Fragment], context: Context) -> str:
    """The instructions of one run.

    Raises: StepFailed (config): a text names a field that is not there. And whatever the functions raise.
    """
    texts = []
    for one in given:
        if isinstance(one, str):
            texts.append(_FIELD.sub(lambda match: _filled(match, context), one))
            continue
        said = one(context) if _takes_context(one) else one()
        text = await said if inspect.isawaitable(said) else said
        if not isinstance(text, str):
            raise StepFailed(
                f"A function of the agent {context.agent!r}'s instructions returned {type(text).__name__}, no text.",
                error_type="config",
            )
        texts.append(text)
    return _joined(texts)


def shown(given: Sequence[Fragment]) -> str:
    """The instructions as people see them: functions by their names."""
    return _joined([one if isinstance(one, str) else f"<{getattr(one, '__name__', 'function')}>" for one in given])


def _joined(texts: Sequence[str]) -> str:
    return "\n\n".join(text for text in texts if text)


def _filled(match: re.Match[str], context: Context) -> str:
    if match["double"]:
        return match[0][1:-1]
    root, *names = match["path"].split(".")
    value: Any = getattr(context, root)
    for name in names:
        found = value.get(name, _MISSING) if isinstance(value, Mapping) else getattr(value, name, _MISSING)
        if found is _MISSING:
            what = f"{type(value).__name__} has no {name!r}" if value is not None else "the run has no deps"
            raise StepFailed(
                f"The instructions of the agent {context.agent!r} name {match[0]}, and {what}.", error_type="config"
            )
        value = found
    return "" if value is None else as_text(value) if isinstance(value, (str, dict, list)) else str(value)


_MISSING = object()


def _takes_context(function: Callable[..., Any]) -> bool:
    try:
        return bool(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # a builtin without a readable signature
        return True
