"""`@tool`: from a function to something that an agent can use."""

from __future__ import annotations

import asyncio
import functools
import inspect
import re
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, ParamSpec, TypeVar, get_args, overload

from pydantic_core import PydanticSerializationError, from_json, to_json

from opspawn.agentkit.parts import plain_parts
from opspawn.agentkit.schema import signature_of
from opspawn.contracts.tool import Check, Effect, Tool, ToolContext
from opspawn.errors import ConfigError, ToolError

P = ParamSpec("P")
R = TypeVar("R")

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SCALARS = (str, int, bool, type(None))


class FunctionTool(Generic[P, R]):
    """A tool made from a function. Calling it calls the function as it is, e.g. in unit tests: `await search("x")`.

    See `opspawn.contracts.tool.Tool` for the attributes. Thread-safe as far as the function is.
    """

    def __init__(
        self,
        fn: Callable[P, R],
        *,
        effect: Effect = "once",
        name: str | None = None,
        description: str | None = None,
        timeout_s: float | None = None,
        check: Check | None = None,
        local_names: Mapping[str, Any] | None = None,
    ) -> None:
        self.name: str = name if name is not None else getattr(fn, "__name__", "")
        _check(fn, self.name, effect, timeout_s)
        if check is not None and (effect != "once" or not callable(check)):
            raise ConfigError(
                f"The tool {self.name!r} has a check and the effect {effect!r}.",
                remedy='A check is a function, and only effect="once" needs one.',
            )
        self.check = check
        self._signature = signature_of(fn, self.name, local_names or {})
        self.description: str = description if description is not None else self._signature.description
        self.parameters: dict[str, Any] = self._signature.parameters
        self.effect: Effect = effect
        self.timeout_s: float | None = timeout_s
        self._context = self._signature.context
        self._validate = self._signature.validate
        self._fn: Callable[..., Any] = fn
        self._is_async = _is_async(fn)
        functools.update_wrapper(self, fn, updated=())

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function as it was written, without validation."""
        return self._fn(*args, **kwargs)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"<tool {self.name!r}, effect {self.effect}>"

    async def call(self, arguments: dict[str, Any], context: ToolContext) -> Any:
        """Validate the arguments, call the function (a plain one in a thread), return its result as plain JSON.

        What is not JSON is converted where pydantic knows how (models, dataclasses, dates, sets); NaN and infinities
        become null. A plain function cannot be interrupted: when its time is up, its thread runs on and its result is
        dropped.

        Raises:
            InvalidInput: the arguments do not fit. ToolError: the result cannot be expressed in JSON. And whatever the
                function raises.
        """
        keywords = self._validate(arguments)
        if self._context is not None:
            keywords[self._context] = context
        if self._is_async:
            value = await self._fn(**keywords)
        else:
            value = await asyncio.to_thread(self._fn, **keywords)
            if isinstance(value, Awaitable):
                value = await value
        return value if type(value) in _SCALARS else self._plain(value)

    def _plain(self, value: Any) -> Any:
        """The value as it would come back from a journal, so that a first run and a resumed one see the same."""
        try:
            return from_json(to_json(plain_parts(value), inf_nan_mode="null"))
        except (PydanticSerializationError, ValueError, RecursionError) as error:
            raise ToolError(
                f"The tool {self.name!r} returned {_type_name(value)}, which cannot be expressed in JSON: {error}"
            ) from error


@overload
def tool(fn: Callable[P, R], /) -> FunctionTool[P, R]: ...
@overload
def tool(
    fn: None = None,
    /,
    *,
    effect: Effect = "once",
    name: str | None = None,
    description: str | None = None,
    timeout_s: float | None = None,
    check: Check | None = None,
) -> Callable[[Callable[P, R]], FunctionTool[P, R]]: ...
def tool(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    effect: Effect = "once",
    name: str | None = None,
    description: str | None = None,
    timeout_s: float | None = None,
    check: Check | None = None,
) -> Any:
    """Make a tool from a function, async or plain: `@tool` or `@tool(effect="read")`.

    The model sees the function's name, the docstring's prose and, per argument, its type, default, limits
    (`Annotated[int, Field(ge=1, le=50)]`) and the text of the docstring's "Args:" section. A parameter annotated
    `ToolContext` is filled in and not shown.

    Args:
        effect: what a repeated call does to the world, for the case that a worker dies during one. "read": nothing;
            "idempotent": the same as one call; "once" (default): it must not be repeated without a human's word.
        name: 1 to 64 of letters, digits, "_", "-"; the function's name by default.
        description: what the model is told; the docstring's prose by default.
        timeout_s: seconds until a call is stopped and counts as failed; None for no limit.
        check: with effect "once": asks the world whether a call that began before a crash was carried out, so that no
            human must; see `opspawn.contracts.tool.Check`.

    Raises:
        ConfigError: the function cannot be described to a model; names the tool and the parameter.
    """
    local_names = sys._getframe(1).f_locals

    def make(function: Callable[..., Any]) -> FunctionTool[..., Any]:
        return FunctionTool(
            function,
            effect=effect,
            name=name,
            description=description,
            timeout_s=timeout_s,
            check=check,
            local_names=local_names,
        )

    return make if fn is None else make(fn)


def as_tool(thing: Any) -> Tool:
    """Return a tool: the thing itself if it is one, or one made from a function. Raises: ConfigError."""
    if all(hasattr(thing, part) for part in ("name", "description", "parameters", "effect", "timeout_s", "call")):
        return thing  # type: ignore[no-any-return]
    if callable(thing) and not isinstance(thing, type):
        return FunctionTool(thing)
    raise ConfigError(
        f"{_type_name(thing)} is not a tool.", remedy="Give a function, an object made by @tool, or a tool's name."
    )


def _check(fn: Any, name: str, effect: str, timeout_s: float | None) -> None:
    if not callable(fn) or isinstance(fn, (type, FunctionTool)):
        raise ConfigError(f"@tool takes a function, not {_type_name(fn)}.")
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} is not a tool's name: 1 to 64 of letters, digits, '_' and '-'.",
            remedy="Give one with @tool(name=...).",
        )
    if effect not in get_args(Effect):
        raise ConfigError(
            f"The tool {name!r} has the effect {effect!r}.", remedy=f"Known: {', '.join(get_args(Effect))}."
        )
    if timeout_s is not None and not timeout_s > 0:
        raise ConfigError(
            f"The tool {name!r} has timeout_s={timeout_s!r}; seconds above 0, or None for no limit, are meant."
        )
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise ConfigError(f"The tool {name!r} is a generator.", remedy="Return a list instead.")


def _is_async(fn: Any) -> bool:
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004


def _type_name(value: Any) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
