"""Turns one entry point into records, and says in one line what is wrong with a plugin."""

from __future__ import annotations

import difflib
import inspect
import operator
import re
import traceback
from collections.abc import Iterable
from types import ModuleType
from typing import Any

import pluggy

from opspawn.contracts.plugins import PLUGIN_API, PluginConfig
from opspawn.hookspecs import PROJECT
from opspawn.plugins.kinds import HOOKS, in_words, kind_of
from opspawn.plugins.status import Found

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_COMPARISON = re.compile(r"\s*(>=|<=|==|!=|>|<)\s*(\d+(?:\.\d+)*)\s*")
_COMPARE = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}


class Faulty(Exception):
    """A plugin is not fit; the text is one line."""


def load(found: Found, manager: pluggy.PluginManager) -> None:
    """Import a plugin, register it and collect its records. Raises: Faulty; the manager is then as before."""
    key = f"{found.distribution}:{found.name}"
    try:
        plugin = found.entry.load()
        check_api(plugin)
        check_hooks(plugin, manager)
        manager.register(plugin, key)
        manager.check_pending()
        found.records = _records(plugin, manager)
    except (Exception, SystemExit) as error:
        if manager.has_plugin(key):
            manager.unregister(name=key)
        raise Faulty(described(error)) from error


def check_api(plugin: Any) -> None:
    """Raises: Faulty: the plugin declares a range of the plugin API that this core does not meet."""
    module = plugin if isinstance(plugin, ModuleType) else inspect.getmodule(plugin)
    wanted = getattr(plugin, "OPSPAWN_PLUGIN_API", getattr(module, "OPSPAWN_PLUGIN_API", None))
    if wanted is None:
        return
    if not isinstance(wanted, str):
        raise Faulty(f'OPSPAWN_PLUGIN_API must be a text such as ">=1,<2", not {wanted!r}.')
    for part in wanted.split(","):
        match = _COMPARISON.fullmatch(part)
        if match is None:
            raise Faulty(f'OPSPAWN_PLUGIN_API is {wanted!r}; {part.strip()!r} is no comparison such as ">=1".')
        number = tuple(int(digits) for digits in match[2].split("."))
        offered = (PLUGIN_API,) + (0,) * (len(number) - 1)
        if not _COMPARE[match[1]](offered, number):
            raise Faulty(
                f"It needs plugin API {wanted}, and this core offers {PLUGIN_API}. Install a version for this core."
            )


def check_hooks(plugin: Any, manager: pluggy.PluginManager) -> None:
    """Raises: Faulty: a hook is misspelt, lacks its mark, or wraps others."""
    for attribute in dir(plugin):
        options = manager.parse_hookimpl_opts(plugin, attribute)
        if options is None and not (
            attribute.startswith("opspawn_") and inspect.isroutine(getattr(plugin, attribute, None))
        ):
            continue
        hook = (options.get("specname") if options else None) or attribute
        if hook not in HOOKS:
            near = difflib.get_close_matches(hook, HOOKS, n=1)
            raise Faulty(
                f"There is no hook {hook!r}. "
                + (f"Did you mean {near[0]!r}?" if near else f"Hooks: {', '.join(HOOKS)}.")
            )
        if options is None:
            raise Faulty(
                f"{attribute!r} is not marked with @hookimpl of opspawn.hookspecs, so it would never be called."
            )
        if options.get("wrapper") or options.get("hookwrapper"):
            raise Faulty(f"{attribute!r} is a wrapper; hooks of {PROJECT} cannot be wrapped.")


def described(error: BaseException) -> str:
    """An exception in one line, with the place where it was raised."""
    text = " ".join(str(error).split())
    if isinstance(error, Faulty | pluggy.PluginValidationError):
        return text
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg} ({error.filename}:{error.lineno})"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<frozen")]
    # The first frame is ours; the loader of the standard library comes next, and tells nobody anything.
    frames = [
        frame
        for frame in frames[1:]
        if not frame.filename.endswith(("importlib/__init__.py", "importlib/metadata/__init__.py"))
    ]
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}{f': {text}' if text else ''}{place}"


def _records(plugin: Any, manager: pluggy.PluginManager) -> list[tuple[str, Any]]:
    """Call each hook of one plugin by itself: through the manager, one failure would hide the others."""
    found: list[tuple[str, Any]] = []
    for hook, record_types in HOOKS.items():
        for implementation in getattr(manager.hook, hook).get_hookimpls():
            if implementation.plugin is plugin:
                kind = kind_of(record_types[0])
                found += [(kind, record) for record in _called(hook, implementation.function, record_types)]
    names = [(kind, record.name) for kind, record in found]
    doubles = {item for item in names if names.count(item) > 1}
    if doubles:
        kind, name = min(doubles)
        raise Faulty(f"It offers two {kind}s named {name!r}.")
    return found


def _called(hook: str, function: Any, record_types: tuple[type[Any], ...]) -> list[Any]:
    answer = function()
    if inspect.iscoroutine(answer):
        answer.close()
        raise Faulty(f"{hook} is async; hooks are synchronous, only what records make may be async.")
    if isinstance(answer, str | bytes | dict) or not isinstance(answer, Iterable):
        raise Faulty(
            f"{hook} gave {_article(type(answer).__name__)};"
            f" it must yield or return a list of {in_words(record_types)}."
        )
    records = list(answer)
    for record in records:
        if not isinstance(record, record_types):
            raise Faulty(f"{hook} gave {_article(type(record).__name__)}; it must give {in_words(record_types)}.")
        _check_record(hook, record)
    return records


def _check_record(hook: str, record: Any) -> None:
    name, config = record.name, record.config
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise Faulty(f"{hook} gave a record named {name!r}; a name is 1 to 64 letters, digits, '_', '-' or '.'.")
    if not callable(record.open):
        raise Faulty(f"{hook}: the `open` of {name!r} cannot be called.")
    if not (isinstance(config, type) and issubclass(config, PluginConfig)):
        raise Faulty(f"{hook}: the `config` of {name!r} must be a subclass of PluginConfig.")


def _article(noun: str) -> str:
    return "None" if noun == "NoneType" else f"{'an' if noun[0] in 'aeiouAEIOU' else 'a'} {noun}"
