"""The template: a process that has imported the tools' modules, in a clean environment, and is copied for each call.

Python and its packages take a third of a second to start; a copy takes milliseconds, and is as fresh: no call sees what
another one left. The template runs no tool. Modules are imported outside the walls, as the worker did before.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.util
import json
import os
import signal
import socket
import sys
import warnings
from typing import Any

from opspawn.agentkit.function_tool import FunctionTool
from opspawn.agentkit.sandbox.guard import Guard
from opspawn.agentkit.sandbox.naming import found_in
from opspawn.agentkit.sandbox.wire import READY, REFUSED, framed, packed, receive


def main(descriptor: int, folder: str) -> None:
    """Serve calls that come over a socket, each with a connection of its own, until its other end is closed.

    `folder` is for the calls' temporary folders, and goes away when the last call has ended.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # guards are not waited for
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")
    control = socket.socket(fileno=descriptor)
    tools: dict[str, FunctionTool[..., Any]] = {}
    try:
        while True:
            data, descriptors, _, _ = socket.recv_fds(control, 1 << 16, 1)
            if not data:
                return
            with socket.socket(fileno=descriptors[0]) as connection:
                if not _serve(control, connection, json.loads(data), tools, folder):
                    return
    finally:
        control.close()
        with contextlib.suppress(ChildProcessError):
            os.wait()  # for all of them, since nobody collects them
        with contextlib.suppress(OSError):
            os.rmdir(folder)


def _serve(
    control: socket.socket,
    connection: socket.socket,
    wanted: dict[str, Any],
    tools: dict[str, FunctionTool[..., Any]],
    folder: str,
) -> bool:
    """Copy this process for a call; False when it is spoilt by an import that failed half way."""
    name = f"{wanted['module']}:{wanted['qualname']}"
    if name not in tools:
        try:
            tools[name] = _tool(wanted)
        except BaseException as error:
            words = " ".join(f"{type(error).__name__}: {error}".split())
            with contextlib.suppress(OSError):
                connection.sendall(REFUSED + packed({"why": "import", "words": words[:2000]}) + framed(b""))
            return False
        gc.collect()
        gc.freeze()
    own = os.getpid()
    if os.fork() == 0:
        code = 1
        try:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setsid()
            control.close()
            connection.sendall(READY)
            request = json.loads(receive(connection))
            request["plan"]["folder"] = folder
            Guard(connection, request).run(tools[name])
            code = 0
        except (EOFError, ConnectionError):  # the worker hung up before it had asked
            code = 0
        finally:
            if os.getppid() != own:  # the template has gone, and this may be the last call
                with contextlib.suppress(OSError):
                    os.rmdir(folder)
            os._exit(code)
    return True


def _tool(wanted: dict[str, Any]) -> FunctionTool[..., Any]:
    sys.path[:] = wanted["path"]
    found = found_in(_module(wanted["module"], wanted["file"]), wanted["qualname"])
    return found if isinstance(found, FunctionTool) else FunctionTool(found, name=wanted["tool"])


def _module(name: str, file: str | None) -> Any:
    """The module by its name or, where that leads nowhere or elsewhere, by its file: app files are imported so."""
    if name in sys.modules:
        return sys.modules[name]
    with contextlib.suppress(ModuleNotFoundError, ValueError):
        spec = importlib.util.find_spec(name)
        if spec is not None and (file is None or (spec.origin and os.path.realpath(spec.origin) == file)):
            return importlib.import_module(name)
    if file is None:
        return importlib.import_module(name)
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
