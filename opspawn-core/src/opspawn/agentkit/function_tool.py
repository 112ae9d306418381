"""`@tool`: from a function to something that an agent can use."""

from __future__ import annotations

import copy
import functools
import inspect
import re
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Generic, ParamSpec, TypeVar, get_args, overload

from opspawn.agentkit.calling import USUAL
from opspawn.agentkit.perloop import PerLoop
from opspawn.agentkit.plain import tool_json
from opspawn.agentkit.retries import check_retry
from opspawn.agentkit.sandbox.builtin import as_sandbox, own_runner
from opspawn.agentkit.sandbox.naming import check_name
from opspawn.agentkit.schema import signature_of
from opspawn.agentkit.slots import Slots
from opspawn.agentkit.threads import MOST_THREADS, Threads
from opspawn.contracts.retry import Retry
from opspawn.contracts.sandbox import Sandbox, SandboxCall, SandboxRunner
from opspawn.contracts.tool import MAX_RESULT, Check, Effect, Tool, ToolContext, ToolOptions
from opspawn.errors import ConfigError, InvalidInput

P = ParamSpec("P")
R = TypeVar("R")

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SCALARS = (str, bool, type(None))


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
        options: ToolOptions = USUAL,
        sandbox: str | Sandbox | None = None,
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
        check_options(self.name, effect, options)
        self._signature = signature_of(fn, self.name, local_names or {})
        self.description: str = description if description is not None else self._signature.description
        self.parameters: dict[str, Any] = self._signature.parameters
        self.effect: Effect = effect
        self.timeout_s: float | None = timeout_s
        self.options = options
        self.sandbox = as_sandbox(sandbox)
        self._runner: SandboxRunner | None = None
        if self.sandbox is not None:
            place = self.sandbox.name
            self._own_runners = PerLoop(lambda: own_runner(self.name, place))
            if place == "process":
                check_name(self.name, fn)
        self._context = self._signature.context
        self._validate = self._signature.validate
        self._fn: Callable[..., Any] = fn
        self.is_async = _is_async(fn)
        self._threads = None if self.is_async else Threads(f"tool-{self.name}")
        limit = options.concurrency or (None if self.is_async else MOST_THREADS)
        self.slots: Slots | None = Slots(limit) if limit is not None else None
        functools.update_wrapper(self, fn, updated=())

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function as it was written, without validation."""
        return self._fn(*args, **kwargs)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"<tool {self.name!r}, effect {self.effect}>"

    def check_arguments(self, arguments: dict[str, Any]) -> None:
        """Look at arguments as a call does, without one. Raises: InvalidInput: they do not fit."""
        self._validate(arguments)

    async def call(self, arguments: dict[str, Any], context: ToolContext) -> Any:
        """Validate the arguments, call the function (a plain one in a thread), return its result as plain JSON.

        What is not JSON is converted where pydantic knows how (models, dataclasses, dates, sets); NaN and infinities
        become null. A plain function cannot be interrupted: when its time is up, its thread runs on and its result is
        dropped.

        Raises:
            InvalidInput: the arguments do not fit. ToolError: the result cannot be expressed in JSON. And whatever the
                function raises.
        """
        if self.sandbox is not None:
            return await self._call_elsewhere(self.sandbox, arguments, context)
        if self._threads is not None:
            return await self.call_here(arguments, context)
        keywords = self._validate(arguments)  # the usual case once more: another call would be felt
        if self._context is not None:
            keywords[self._context] = context
        value = await self._fn(**keywords)
        return value if type(value) in _SCALARS else self._plain(value)

    async def call_here(self, arguments: dict[str, Any], context: ToolContext) -> Any:
        """`call`, in this process whatever the sandbox says: for sandboxes."""
        keywords = self._keywords(arguments, context)
        if self._threads is None:
            value = await self._fn(**keywords)
        else:
            value = await self._threads.run(self._fn, keywords)
            if isinstance(value, Awaitable):
                value = await value
        return value if type(value) in _SCALARS else self._plain(value)

    def run_here(self, arguments: dict[str, Any], context: ToolContext) -> Any:
        """`call_here` for a plain function, in this thread."""
        return self._plain(self._fn(**self._keywords(arguments, context)))

    async def _call_elsewhere(self, sandbox: Sandbox, arguments: dict[str, Any], context: ToolContext) -> Any:
        self._validate(arguments)  # before a process is made for it
        runner = self._runner or await self._own_runners.get()
        here = functools.partial(self.call_here, arguments, context)
        return await runner.run(SandboxCall(self.name, self._fn, arguments, context, sandbox, here))

    def renamed(self, name: str) -> FunctionTool[P, R]:
        """The same tool under another name. Raises: ConfigError: it is not a tool's name."""
        check_tool_name(name)
        other = copy.copy(self)
        other.name, other._signature = name, replace(self._signature, tool=name)
        other._validate = other._signature.validate
        return other

    def placed(self, sandbox: Sandbox, runner: SandboxRunner) -> FunctionTool[P, R]:
        """The same tool, run by `runner`. Raises: ConfigError: its function cannot run there."""
        runner.check(self.name, self._fn)
        other = copy.copy(self)
        other.sandbox, other._runner = sandbox, runner
        return other

    def _keywords(self, arguments: dict[str, Any], context: ToolContext) -> dict[str, Any]:
        keywords = self._validate(arguments)
        if self._context is not None:
            keywords[self._context] = context
        return keywords

    @property
    def leaked_threads(self) -> int:
        """How many threads still run this function though its time was up."""
        return self._threads.leaked if self._threads is not None else 0

    @functools.cached_property
    def output(self) -> dict[str, Any] | None:
        """JSON Schema of what the function returns; None where its annotation says nothing."""
        return self._signature.output()

    def _plain(self, value: Any) -> Any:
        """The value as it would come back from a journal, so that a first run and a resumed one see the same."""
        return tool_json(self.name, value)


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
    retry: Retry | None = None,
    max_retries: int = 2,
    concurrency: int | None = None,
    sequential: bool = False,
    max_result: int = MAX_RESULT,
    sandbox: str | Sandbox | None = None,
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
    retry: Retry | None = None,
    max_retries: int = 2,
    concurrency: int | None = None,
    sequential: bool = False,
    max_result: int = MAX_RESULT,
    sandbox: str | Sandbox | None = None,
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
        check: with effect "once": asks the world whether a call that began before a crash was carried out, so that no
            human must; see `opspawn.contracts.tool.Check`.
        timeout_s: seconds until a call is stopped and counts as failed; None for no limit. A plain function runs in a
            thread, which nothing can stop: it is left to itself, and the run goes on.
        retry: when a failed call is tried again before the model hears of it; "read" and "idempotent" only.
        max_retries: how many turns in a row the model may be asked to call the tool differently (`ModelRetry`, or
            arguments that do not fit) before the tool is closed to it for the rest of the run.
        concurrency: how many calls may be at work in one process at a time; plain functions: 32 unless said otherwise.
        sequential: never run a call of this tool beside other calls of the same turn.
        max_result: how much of a result the model is shown, in characters, 256 or more; it can read on from there.
        sandbox: where it runs: "process", "thread", "none", the name of a plugin, or `Sandbox(...)` with what it may
            reach there; by default what its agent says.

    Raises:
        ConfigError: the function cannot be described to a model; names the tool and the parameter.
    """
    local_names = sys._getframe(1).f_locals
    options = ToolOptions(retry, max_retries, concurrency, sequential, max_result)

    def make(function: Callable[..., Any]) -> FunctionTool[..., Any]:
        return FunctionTool(
            function,
            effect=effect,
            name=name,
            description=description,
            timeout_s=timeout_s,
            check=check,
            options=options,
            sandbox=sandbox,
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
    check_tool_name(name)
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


def check_tool_name(name: str) -> None:
    """Raises: ConfigError: no tool can be called so."""
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} is not a tool's name: 1 to 64 of letters, digits, '_' and '-'.",
            remedy="Give one with @tool(name=...).",
        )


def check_options(name: str, effect: str, options: ToolOptions) -> None:
    """Raises: ConfigError: a number is out of its range, or a `once` tool wants to be tried again."""
    if options.retry is not None and effect == "once":
        raise ConfigError(
            f'The tool {name!r} has a retry policy and the effect "once", which must not be repeated.',
            remedy='Say effect="read" or "idempotent" if a repeated call does no harm, or leave retry out.',
        )
    try:
        check_retry(options.retry)
    except InvalidInput as error:
        raise ConfigError(f"The tool {name!r} cannot be made: {error.message}", remedy=error.remedy) from error
    for field, least in (("max_retries", 0), ("concurrency", 1), ("max_result", 256)):
        value = getattr(options, field)
        if field == "concurrency" and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ConfigError(f"The tool {name!r} has {field}={value!r}; a whole number from {least} is meant.")


def _is_async(fn: Any) -> bool:
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004


def _type_name(value: Any) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
