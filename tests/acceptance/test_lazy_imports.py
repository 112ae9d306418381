"""Nothing optional enters a process before it is configured, and commands import no more than they need."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ._process import PATIENCE_S, opspawn

#: What only the REST transport needs, what only workflows need, and what only the OpenAI plugin needs.
SERVER = {"fastapi", "starlette", "uvicorn"}
WORKFLOWS = {"yaml", "cel"}
MODEL = {"openai", "httpx", "httpx2"}
SHOW = "\nimport json, sys\nprint(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))\n"

RUN_A_HOST = """
import asyncio
from pathlib import Path
from opspawn import Agent, App
from opspawn.host import Host
from opspawn.testing import ScriptedModel


async def hello(context):
    return await context.step("hello", lambda: "hello")


app = App(agents=[Agent("echo", model=ScriptedModel(["hi"]))], functions={"hello": hello})


async def main():
    async with Host.open(app, transports=True) as host:
        said = await host.submit("function/hello")
        asked = await host.submit("agent/echo", "hi")
        assert (await host.wait(said.id, 30)).result == "hello"
        assert (await host.wait(asked.id, 30)).result == "hi"
        assert not host.transports


asyncio.run(main())
"""


SAY = '''
from opspawn import App, tool


@tool
def say(text: str) -> str:
    """Say."""
    return text


app = App(tools=[say], workflows=["greet.yaml"])
'''
GREET = """
opspawn: "1"
name: greet
inputs:
  text: {type: string}
steps:
  say: {uses: tool/say, with: {text: "${{ inputs.text + '!' }}"}}
"""


def modules_of(code: str, folder: Path) -> set[str]:
    """The top-level modules that a fresh interpreter has imported after the code."""
    done = subprocess.run(
        [sys.executable, "-c", code + SHOW], cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_a_host_without_transports_runs_tasks_and_never_imports_a_server(tmp_path: Path) -> None:
    (tmp_path / "opspawn.toml").write_text("transports = []\n")

    imported = modules_of(RUN_A_HOST, tmp_path)

    assert "opspawn" in imported
    assert not imported & (SERVER | WORKFLOWS | MODEL)


def test_the_server_is_imported_when_the_transport_is_configured(tmp_path: Path) -> None:
    """The other side of the coin, so that the test above cannot pass for a wrong reason."""
    (tmp_path / "opspawn.toml").write_text("[plugins.rest]\nport = 0\n")

    imported = modules_of(RUN_A_HOST.replace("assert not host", "assert host"), tmp_path)

    assert imported >= SERVER


@pytest.mark.parametrize("code", ["import opspawn", "import opspawn.cli", "import opspawn.app, opspawn.host"])
def test_importing_opspawn_imports_nothing_optional(code: str, tmp_path: Path) -> None:
    imported = modules_of(code, tmp_path)

    assert not imported & (SERVER | WORKFLOWS | MODEL | {"rich", "opspawn_model_openai", "opspawn_planner_react"})


def test_listing_plugins_imports_no_driver(tmp_path: Path) -> None:
    imported = modules_of(
        "from opspawn.plugins import Plugins\nassert {item.status for item in Plugins.load().report()} == {'loaded'}",
        tmp_path,
    )

    assert imported >= {"opspawn_model_openai", "opspawn_planner_react"}
    assert not imported & (SERVER | WORKFLOWS | MODEL | {"rich"})


def test_the_command_line_runs_an_app_without_a_workflow_package(tmp_path: Path) -> None:
    """The packages are made unimportable for the process: a run that needs none of them does not notice."""
    (tmp_path / "app.py").write_text(RUN_A_HOST.partition("async def main")[0])
    for name in SERVER | WORKFLOWS | MODEL:
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('{name} is not wanted here')\n")

    done = opspawn("run", "app:app", "function/hello", folder=tmp_path, env={"PYTHONPATH": str(tmp_path)})

    assert (done.returncode, done.stdout) == (0, "hello\n"), done.stderr


@pytest.mark.parametrize(("module", "extra"), [("uvicorn", "server"), ("yaml", "workflows"), ("cel", "workflows")])
def test_what_is_missing_is_named_with_how_to_install_it(module: str, extra: str, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(SAY)
    (tmp_path / "greet.yaml").write_text(GREET)
    (tmp_path / f"{module}.py").write_text(f"raise ModuleNotFoundError('not installed', name='{module}')\n")

    done = opspawn("serve", "app:app", folder=tmp_path, env={"PYTHONPATH": str(tmp_path)})

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert f'pip install "opspawn-core[{extra}]"' in done.stderr
    assert not (tmp_path / ".opspawn").exists()
