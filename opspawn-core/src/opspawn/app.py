"""What a user's file declares: agents, tools, workflows and functions; and how such a file is found and read."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from opspawn.agentkit.agent import Agent
from opspawn.agentkit.declared import Declaration, declared_agents
from opspawn.agentkit.deps import Deps, Factory
from opspawn.agentkit.function_tool import as_tool
from opspawn.agentkit.subagents import family
from opspawn.contracts.ids import ID_WORDS, is_id
from opspawn.contracts.limit import Limit, checked_limits
from opspawn.contracts.listener import Listener
from opspawn.contracts.run import RunContext
from opspawn.contracts.tool import Tool
from opspawn.declarations import agent_files
from opspawn.errors import AppError, ConfigError

Function = Callable[[RunContext], Awaitable[Any]]

_INSTALLED = "site-packages"


class App:
    """Everything that one `opspawn serve`, `run` or `worker` knows how to run.

    Args:
        agents: their names must differ; those that they ask or hand over to need not be repeated. A text or path means
            files that declare agents, "agents/*.yaml" say, relative to the file that makes the app.
        tools: tools that workflows use, those of plugins by name; the tools of agents need not be repeated.
        workflows: files (YAML or JSON), relative to the file that makes the app.
        functions: plain async functions of a run context, by name; a task of one is "function/NAME".
        limits: how many tasks may run at once, by handler: `{"function/sync": [Limit("crm", 5)]}`.
        deps: makes what runs find as `deps`, async or not; called once in each process, when a run first needs it. What
            it makes is closed by its own `aclose`, if it has one. An agent's own `deps_factory` goes first.
        listeners: hear of everything that happens; each goes by its attribute `name`, or the name of its class.

    Raises:
        AppError: an argument is not what it should be, or two things of one kind share a name.
    """

    def __init__(
        self,
        *,
        agents: Sequence[Agent[Any, Any] | str | Path] = (),
        tools: Sequence[Tool | Callable[..., Any] | str] = (),
        workflows: Sequence[str | Path] = (),
        functions: Mapping[str, Function] | None = None,
        limits: Mapping[str, Sequence[Limit]] | None = None,
        deps: Factory | None = None,
        listeners: Sequence[Listener] = (),
    ) -> None:
        _refuse_misfits(agents, tools, workflows, functions or {})
        if deps is not None and not callable(deps):
            raise AppError(f"App has deps={_short(deps)}.", remedy="Give the function that makes them.")
        caller = sys._getframe(1).f_globals.get("__file__")
        self.root = Path(caller).resolve().parent if caller else Path.cwd()
        #: How `load_app` found it, for another process to find it again; None if it was made here.
        self.origin: tuple[str, Path] | None = None
        own = [agent for agent in agents if isinstance(agent, Agent)]
        _refuse_doubles("agents", [agent.name for agent in own])
        files = [one for one in agents if not isinstance(one, Agent)]
        try:
            self.agents = {agent.name: cast("Agent[Any, Any]", agent) for agent in family(own)}
            if files:
                self.agents = self.with_agents(agent_files(files, self.root)).agents
        except ConfigError as error:
            raise AppError(error.message, remedy=error.remedy) from error
        self.deps = Deps(deps) if deps is not None else None
        self.workflows = tuple(self.root / path for path in workflows)
        self.functions = dict(functions or {})
        made = [_tool(item) for item in tools if not isinstance(item, str)]
        self.tools: dict[str, Tool] = {item.name: item for item in made}
        self.plugin_tools = tuple(item for item in tools if isinstance(item, str))
        _refuse_doubles("tools", [*(item.name for item in made), *self.plugin_tools])
        self.limits = _checked_limits(limits or {}, self)
        self.listeners: dict[str, Listener] = named_listeners(listeners)

    def with_agents(self, found: Mapping[str, Declaration]) -> App:
        """The same app with the declared agents besides. Raises: AppError, ConfigError: a declaration is wrong."""
        if not found:
            return self
        for name in found.keys() & self.agents.keys():
            words = f"{found[name].where} declares the agent {name!r}, and the app has another of that name."
            raise AppError(words, remedy="Give one another name.")
        made = copy.copy(self)
        made.agents = {**self.agents, **declared_agents(found, self.agents)}
        return made

    def __repr__(self) -> str:
        return f"<App agents={list(self.agents)} workflows={[path.stem for path in self.workflows]}>"


def _from(spec: str, folder: Path, app: App) -> App:
    app.origin = (spec, folder)
    return app


def load_app(spec: str, folder: Path) -> App:
    """Import the app that `spec` names: "module:attribute", "file.py:attribute", or either without the attribute.

    Args:
        folder: where files and modules are looked for; it comes first on `sys.path`.

    Raises:
        AppError: one line with the file, its line where there is one, and the remedy.
    """
    target, _, attribute = spec.partition(":")
    if not target:
        raise AppError(f"{spec!r} names no app.", remedy="Write it as module:attribute, e.g. app:app.")
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    module = import_target(target, folder)
    if attribute:
        found = getattr(module, attribute, None)
        if found is None:
            raise AppError(f"{_where(module)} has no {attribute!r}.", remedy=_what_there_is(module))
        if not isinstance(found, App):
            raise AppError(
                f"{attribute!r} in {_where(module)} is of the type {type(found).__name__}, not an App.",
                remedy=_what_there_is(module),
            )
        return _from(spec, folder, found)
    apps = {name: value for name, value in vars(module).items() if isinstance(value, App)}
    if len({id(app) for app in apps.values()}) != 1:
        raise AppError(
            f"{_where(module)} holds {len(apps) or 'no'} App{'s' if len(apps) > 1 else ''}.",
            remedy=_what_there_is(module),
        )
    return _from(spec, folder, next(iter(apps.values())))


def import_target(target: str, folder: Path) -> ModuleType:
    """The module that a target names, as "module" or "file.py". Raises: AppError."""
    path = Path(target)
    try:
        if path.suffix == ".py":
            return _import_file(folder / path)
        if not _is_there(target, folder):
            raise AppError(
                f"There is no module {target!r} in {folder}.",
                remedy="Name the app as module:attribute or file.py, or make one with 'opspawn init'.",
            )
        return importlib.import_module(target)
    except AppError:
        raise
    except SyntaxError as error:
        raise AppError(
            f"{error.filename}:{error.lineno}: {error.msg}.", remedy="Mend the syntax of the app file."
        ) from error
    except ModuleNotFoundError as error:
        raise AppError(
            f"{_place(error, folder)}: there is no module {error.name!r}.",
            remedy="Install the package that brings it, or mend the import.",
        ) from error
    except (Exception, SystemExit) as error:
        raise AppError(
            f"{_place(error, folder)}: {type(error).__name__}: {_one_line(error)}.",
            remedy="Mend the app file, which is imported before anything runs; OPSPAWN_DEBUG=1 shows the traceback.",
        ) from error


def _is_there(target: str, folder: Path) -> bool:
    if (folder / f"{target.replace('.', '/')}.py").is_file():
        return True
    try:
        return importlib.util.find_spec(target) is not None
    except (ModuleNotFoundError, ValueError):  # no such package around it, or no name of a module at all
        return False


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise AppError(
            f"There is no file {path}.", remedy="Name an existing app file, or make one with 'opspawn init'."
        )
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise AppError(f"{path} cannot be imported.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _place(error: BaseException, folder: Path) -> str:
    """The innermost line of the user's own files in a traceback; the packages in a `.venv` beside them are none."""
    frames = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    own = [(path, line) for path, line in frames if path.is_relative_to(folder) and _INSTALLED not in path.parts]
    return f"{own[-1][0]}:{own[-1][1]}" if own else str(folder)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".") or "no message"


def _where(module: ModuleType) -> str:
    return getattr(module, "__file__", None) or module.__name__


def _what_there_is(module: ModuleType) -> str:
    names = [name for name, value in vars(module).items() if isinstance(value, App)]
    if names:
        return f"Choose one of: {', '.join(f'{module.__name__}:{name}' for name in names)}."
    return "Make one, e.g. app = App(agents=[...])."


def _refuse_misfits(agents: Any, tools: Any, workflows: Any, functions: Any) -> None:
    """Say of each argument what is wrong with it, before some later line stumbles over it."""
    for name, given in (("agents", agents), ("tools", tools), ("workflows", workflows)):
        if isinstance(given, str) or not isinstance(given, Sequence):
            raise AppError(f"App has {name}={_short(given)}; a list is meant.", remedy=f"Write {name}=[...].")
    for agent in agents:
        if not isinstance(agent, Agent | str | Path):
            raise AppError(f"App has {_short(agent)} among its agents.", remedy='Make agents with Agent("name", ...).')
    for workflow in workflows:
        if not isinstance(workflow, str | Path):
            raise AppError(f"App has {_short(workflow)} among its workflows.", remedy="Give the path of a file.")
    if not isinstance(functions, Mapping):
        raise AppError(f"App has functions={_short(functions)}.", remedy='Write functions={"name": function}.')
    for name, function in functions.items():
        if not is_id(name) or not callable(function):
            raise AppError(
                f"App has the function {name!r}: {_short(function)}.",
                remedy=f"Map each name to an async function of a run context; a name is {ID_WORDS}.",
            )


def _tool(thing: Any) -> Tool:
    try:
        return as_tool(thing)
    except ConfigError as error:
        raise AppError(f"App has {_short(thing)} among its tools: {error.message}", remedy=error.remedy) from error


def _checked_limits(limits: Any, app: App) -> dict[str, tuple[Limit, ...]]:
    if not isinstance(limits, Mapping):
        raise AppError(f"App has limits={_short(limits)}.", remedy='Write limits={"function/NAME": [Limit("crm", 5)]}.')
    checked = {}
    for handler, given in limits.items():
        kind, _, name = str(handler).partition("/")
        known: Collection[str] | None = {"agent": list(app.agents), "function": list(app.functions)}.get(kind)
        if not name or (known is None and kind != "workflow") or (known is not None and name not in known):
            raise AppError(
                f"App has limits for {handler!r}, which it does not have.",
                remedy="Name agent/NAME, function/NAME or workflow/NAME.",
            )
        checked[handler] = checked_limits(f"limits[{handler!r}] of App", given)
    return checked


def named_listeners(listeners: Any) -> dict[str, Listener]:
    """Listeners by name, checked. Raises: AppError."""
    if isinstance(listeners, str) or not isinstance(listeners, Sequence):
        raise AppError(f"App has listeners={_short(listeners)}; a list is meant.", remedy="Write listeners=[...].")
    for listener in listeners:
        if isinstance(listener, type) or not inspect.iscoroutinefunction(getattr(listener, "on_event", None)):
            raise AppError(
                f"App has {_short(listener)} among its listeners.",
                remedy="Give objects with a method `async def on_event(self, event)`.",
            )
    names = [str(getattr(listener, "name", type(listener).__name__)) for listener in listeners]
    _refuse_doubles("listeners", names)
    return dict(zip(names, listeners, strict=True))


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def _refuse_doubles(what: str, names: Sequence[str]) -> None:
    doubles = sorted({name for name in names if names.count(name) > 1})
    if doubles:
        raise AppError(f"Two {what} of the app are named {doubles[0]!r}.", remedy="Give one another name.")
