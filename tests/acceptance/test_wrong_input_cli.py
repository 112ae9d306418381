"""Wrong input on the command line gets one line that names cause and remedy, an exit code, and leaves nothing behind.

Exit code 2: what the user wrote is wrong (usage, configuration, app, names, input). Exit code 1: the world was.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import socket
import sqlite3
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from opspawn.config.settings import WorkerSettings

from ._process import OPSPAWN, PATIENCE_S, opspawn

WRONG, FAILED = 2, 1
#: An app that runs without any model: an agent that echoes, a function, a workflow.
APP = '''
from opspawn import Agent, App, tool
from opspawn.contracts.planner import PlannerResult
from opspawn.testing import ScriptedModel


class Echo:
    async def run(self, context):
        return PlannerResult(context.input)


@tool(effect="read")
async def shout(text: str) -> str:
    """Shout."""
    return text.upper()


async def hello(context):
    return "hello"


app = App(
    agents=[Agent("echo", model=ScriptedModel([]), planner=Echo())],
    tools=[shout],
    functions={"hello": hello},
    workflows=["greet.yaml"],
)
'''
GREET = """
opspawn: "1"
name: greet
inputs:
  text: {type: string}
steps:
  shout:
    uses: tool/shout
    with: {text: "${{ inputs.text }}"}
output: "${{ steps.shout.output }}"
"""
#: An app whose agent takes the configured model.
PLAIN = 'from opspawn import Agent, App\napp = App(agents=[Agent("helper")])\n'
RUN_HELPER = ("run", "app:app", "helper", "hi")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the app that runs without a model, and no configuration."""
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "greet.yaml").write_text(GREET)
    return tmp_path


def refuse(
    folder: Path, *arguments: str, code: int = WRONG, says: tuple[str, ...], env: Mapping[str, str] | None = None
) -> str:
    """Run a command that must be refused, and return its one line."""
    before = everything_in(folder)
    result = opspawn(*arguments, folder=folder, env=env)
    check_refusal(result, code, says)
    assert everything_in(folder) == before
    return result.stderr


def check_refusal(result: subprocess.CompletedProcess[str], code: int, says: tuple[str, ...]) -> None:
    assert result.returncode == code, result.stderr
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1, result.stderr
    assert "Traceback" not in result.stderr
    for part in says:
        assert part in result.stderr


def everything_in(folder: Path) -> dict[str, bytes]:
    """Every file and folder with its content, but for Python's own cache."""
    found = (path for path in folder.rglob("*") if "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"" for path in found}


# -- usage and names ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["srve"], ["'srve'", "Did you mean one of: 'serve', 'store'?"]),
        (["serve", "app:app", "--port", "99999"], ["--port", "99999", "65535"]),
        (["serve"], ["No app is named", "opspawn.toml", "opspawn init"]),
        (["run", "app:app", "ecko", "hi"], ["There is no agent 'ecko'", "echo", "function/hello", "workflow/greet"]),
        (["run", "app:app", "echo"], ["needs an input", "opspawn run echo"]),
        (["run", "app:app", "workflow/gret"], ["There is no workflow 'gret'", "Known: greet", "trigger gret"]),
        (["run", "app:app", "function/hallo"], ["There is no function 'hallo'", "Known: hello"]),
        (["run", "app:app", "function/hallo", "hi"], ["There is no function 'hallo'", "Known: hello"]),
        (["run", "app:app", "recipe/soup"], ["soup'", "agent/…", "workflow/…"]),
        (["run", "app:app", "../soup", "hi"], ["'../soup'", "agent/…", "workflow/…"]),
        (["run", "app:app", "echo", "gr\udcfcn"], ["not text in UTF-8"]),
        (["run", "app:app", "workflow/greet", '{"txt": "hi"}'], ["inputs.txt", "Did you mean 'text'?"]),
        (["run", "app:app", "function/hello", '"\\ud800"'], ["is not JSON", "surrogate pair"]),
        (["tasks", "list"], ["There is no data in", "opspawn serve"]),
    ],
    ids=lambda value: value[-1] if len(value) < 2 or value[0] in ("run", "serve", "tasks") else "",
)
def test_a_wrong_word_is_refused_with_the_words_that_are_known(
    folder: Path, arguments: list[str], says: list[str]
) -> None:
    refuse(folder, *arguments, says=tuple(says))


def test_a_run_with_nothing_to_run_says_how_it_is_written(folder: Path) -> None:
    refuse(folder, "run", says=("Nothing is named to run", 'AGENT "INPUT"'))


@pytest.mark.usefixtures("database")
def test_an_unknown_task_is_refused_where_there_are_others(folder: Path) -> None:
    # Not `refuse`: whoever opens a store leaves the mark of its clock there.
    check_refusal(
        opspawn("tasks", "show", "t-nope", folder=folder), WRONG, ("There is no task 't-nope'", "opspawn tasks list")
    )


# -- the app file ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "text", "says"),
    [
        ("nope.py", "", ["nope.py", "opspawn init"]),
        ("nope:app", "", ["There is no module 'nope'", "opspawn init"]),
        ("pack.nope:app", "", ["There is no module 'pack.nope'"]),
        (":app", "", ["names no app", "app:app"]),
        ("wrong.py", "app = App(\n", ["wrong.py:1", "was never closed", "Mend the syntax"]),
        ("wrong.py", "x = 1\n", ["wrong.py holds no App", "app = App(agents=[...])"]),
        ("wrong.py:ap", "from opspawn import App\napp = App()\n", ["has no 'ap'", "wrong:app"]),
        ("wrong.py:x", "x = 1\n", ["'x' in", "int, not an App", "Make one"]),
        ("wrong.py", "from opspawn import App\na, b = App(), App()\n", ["holds 2 Apps", "wrong:a, wrong:b"]),
        (
            "wrong.py",
            "def f():\n    raise RuntimeError('two\\nlines')\nf()\n",
            ["wrong.py:2", "RuntimeError: two lines"],
        ),
        ("wrong.py", "import sys\nsys.exit('no licence')\n", ["wrong.py:2", "SystemExit: no licence", "Mend"]),
        ("wrong.py", "import nothere\n", ["wrong.py:1", "there is no module 'nothere'", "Install the package"]),
        (
            "wrong.py",
            "from opspawn import Agent, App\nagent = Agent('a')\napp = App(agents=[agent, agent])\n",
            ["named 'a'", "another name"],
        ),
    ],
)
def test_an_app_file_that_gives_no_app_is_refused_with_its_line(
    folder: Path, spec: str, text: str, says: list[str]
) -> None:
    if text:
        (folder / "wrong.py").write_text(text)

    refuse(folder, "serve", spec, says=tuple(says))


@pytest.mark.parametrize(
    ("workflow", "says"),
    [
        (None, ["There is no workflow file", "greet.yaml"]),
        (GREET.replace("tool/shout", "tool/shut"), ["there is no tool 'shut'", "Tools: shout"]),
        (GREET.replace("steps:", "stepz:"), ["greet.yaml:6", "'stepz'", "Did you mean 'steps'?"]),
        ('opspawn: "1\n', ["greet.yaml", "not YAML"]),
    ],
    ids=["missing", "unknown-tool", "unknown-key", "not-yaml"],
)
def test_a_faulty_workflow_file_is_refused_with_every_fault_once(
    folder: Path, workflow: str | None, says: list[str]
) -> None:
    if workflow is None:
        (folder / "greet.yaml").unlink()
    else:
        (folder / "greet.yaml").write_text(workflow)

    line = refuse(folder, "serve", "app:app", says=tuple(says))

    assert all(line.count(part) == 1 for part in says if part != "greet.yaml"), line


# -- the model, tools and planners -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("agent", "env", "says"),
    [
        ('Agent("helper")', {}, ["No model is set for the agent 'helper'", "OPSPAWN_MODEL"]),
        ('Agent("helper")', {"OPSPAWN_MODEL": "openai:gpt-5"}, ["no API key", "OPENAI_API_KEY", "base_url"]),
        ('Agent("helper")', {"OPSPAWN_MODEL": "gpt-5"}, ["'gpt-5' names no provider", "openai:gpt-5"]),
        ('Agent("helper")', {"OPSPAWN_MODEL": "opnai:gpt-5"}, ["no model 'opnai'", "Did you mean 'openai'?"]),
        ('Agent("helper")', {"OPSPAWN_MODEL": "replay:no.jsonl"}, ["no.jsonl", "OPSPAWN_MODEL"]),
        ('Agent("helper", model="replay:r", tools=["wether"])', {}, ["There is no tool 'wether'", "Installed: "]),
        ('Agent("helper", model="replay:r", planner="reakt")', {}, ["no planner 'reakt'", "Did you mean 'react'?"]),
    ],
    ids=["no model", "no key", "no provider", "unknown provider", "no recording", "unknown tool", "unknown planner"],
)
def test_an_agent_that_cannot_run_is_refused_before_anything_starts(
    folder: Path, agent: str, env: dict[str, str], says: list[str]
) -> None:
    (folder / "app.py").write_text(f"from opspawn import Agent, App\napp = App(agents=[{agent}])\n")
    (folder / "r").write_text("")

    refuse(folder, *RUN_HELPER, says=tuple(says), env=env)


def test_a_model_server_that_is_down_is_tried_again_in_sight_and_then_fails_the_run(folder: Path) -> None:
    (folder / "app.py").write_text(PLAIN)
    with closing(socket.socket()) as nobody_listens:
        nobody_listens.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody_listens.getsockname()[1]}/v1"
        env = {"OPSPAWN_MODEL": "openai:any", "OPSPAWN_PLUGINS__OPENAI__BASE_URL": url}

        result = opspawn(*RUN_HELPER, folder=folder, env=env)

    assert result.returncode == FAILED
    lines = result.stderr.splitlines()
    assert sum(f"{url} cannot be reached" in line and "Trying again" in line for line in lines) >= 2
    error = next(line for line in lines if line.startswith("Error: "))
    assert f"{url} cannot be reached" in error
    assert "Is the server running, and base_url right?" in error
    assert lines[-1].startswith("Try again, keeping what succeeded: opspawn tasks retry t-")
    (task,) = json.loads(opspawn("tasks", "list", "--json", folder=folder).stdout)
    assert (task["state"], task["error"]["type"]) == ("failed", "transient")


# -- the address -------------------------------------------------------------------------------------------------------


def test_a_port_in_use_is_refused_before_a_database_is_made(folder: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = str(other.getsockname()[1])
        refuse(folder, "serve", "app:app", "--port", port, says=(f"Port {port} on 127.0.0.1 is in use", "--port 0"))


def test_an_address_that_others_can_reach_is_refused_unless_asked_for(folder: Path) -> None:
    says = ("plugins.rest.host", "0.0.0.0 is no loopback address", "plugins.rest.allow_public = true")
    refuse(folder, "serve", "app:app", "--host", "0.0.0.0", says=says)


# -- the configuration -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("app = \n", ["opspawn.toml:1", "Correct the TOML"]),
        ("modle = 'openai:gpt-5'\n", ["opspawn.toml", "'modle'", "Did you mean 'model'?"]),
        ("[worker]\nslots = 'many'\n", ["opspawn.toml", "worker.slots", "a whole number", str(WorkerSettings().slots)]),
        ("model = '${NO_SUCH_VARIABLE}'\n", ["opspawn.toml", "model", "NO_SUCH_VARIABLE", "is not set"]),
        ("[plugins.rset]\nport = 1\n", ["opspawn.toml", "[plugins.rset]", "Did you mean [plugins.rest]?"]),
        ("[plugins.rest]\nprot = 1\n", ["opspawn.toml", "plugins.rest.prot", "Did you mean 'plugins.rest.port'?"]),
        ("transports = ['rset']\n", ["no transport 'rset'", "Did you mean 'rest'?"]),
    ],
    ids=lambda value: value.split()[0] if isinstance(value, str) else "",
)
def test_a_mistake_in_the_configuration_names_file_key_and_remedy(folder: Path, text: str, says: list[str]) -> None:
    (folder / "opspawn.toml").write_text(text)

    refuse(folder, "serve", "app:app", "--port", "0", says=tuple(says))


@pytest.mark.usefixtures("database")
def test_commands_that_only_read_refuse_a_mistake_in_the_configuration_too(folder: Path) -> None:
    (folder / "opspawn.toml").write_text("[plugins.sqlite]\nfile = 'x.db'\n")

    refuse(folder, "tasks", "list", says=("opspawn.toml", "plugins.sqlite.file", "path"))


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({"OPSPAWN_MODLE": "x"}, ["OPSPAWN_MODLE", "Did you mean OPSPAWN_MODEL?"]),
        ({"OPSPAWN_PLUGINS": "-rest"}, ["transport 'rest'", "blocked", "OPSPAWN_PLUGINS"]),
    ],
    ids=lambda value: next(iter(value)),
)
def test_a_mistake_in_a_variable_names_the_variable(folder: Path, env: dict[str, str], says: list[str]) -> None:
    refuse(folder, "serve", "app:app", "--port", "0", says=tuple(says), env=env)


# -- the database ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose database holds one finished task, made once, to be copied."""
    folder = tmp_path_factory.mktemp("ours")
    (folder / "app.py").write_text(APP)
    (folder / "greet.yaml").write_text(GREET)
    done = opspawn("run", "app:app", "function/hello", folder=folder)
    assert done.returncode == 0, done.stderr
    return folder / ".opspawn"


@pytest.fixture
def database(folder: Path, ours: Path) -> Path:
    """The database of the folder, with one finished task in it."""
    return Path(shutil.copytree(ours, folder / ".opspawn")) / "opspawn.db"


def not_a_database(folder: Path, ours: Path) -> None:
    (folder / ".opspawn").mkdir()
    (folder / ".opspawn" / "opspawn.db").write_text("A shopping list, of all things.\n" * 20)


def of_a_newer_version(folder: Path, ours: Path) -> None:
    shutil.copytree(ours, folder / ".opspawn")
    with closing(sqlite3.connect(folder / ".opspawn" / "opspawn.db")) as database:
        database.execute("PRAGMA user_version = 99")


def of_another_program(folder: Path, ours: Path) -> None:
    (folder / ".opspawn").mkdir()
    with closing(sqlite3.connect(folder / ".opspawn" / "opspawn.db")) as database:
        database.execute("CREATE TABLE bookmarks (url TEXT)")


def in_a_folder_that_is_a_file(folder: Path, ours: Path) -> None:
    (folder / ".opspawn").write_text("not a folder")


DATABASES = [
    (not_a_database, ["is not a database", "Choose another path"]),
    (of_a_newer_version, ["newer Opspawn", "layout 99", "Upgrade opspawn-core"]),
    (of_another_program, ["belongs to another program", "Choose another path"]),
    (in_a_folder_that_is_a_file, ["cannot be opened", "Choose a path"]),
]


@pytest.mark.parametrize(("make", "says"), DATABASES, ids=[make.__name__ for make, _ in DATABASES])
def test_a_database_that_is_not_ours_is_refused_and_stays_as_it_is(
    folder: Path, ours: Path, make: Callable[[Path, Path], None], says: list[str]
) -> None:
    make(folder, ours)

    refuse(folder, "serve", "app:app", "--port", "0", code=FAILED, says=(".opspawn/opspawn.db", *says))


def test_reading_commands_refuse_a_database_that_is_not_ours(folder: Path, ours: Path) -> None:
    of_a_newer_version(folder, ours)

    refuse(folder, "tasks", "list", code=FAILED, says=("newer Opspawn", "Upgrade opspawn-core"))


@pytest.mark.parametrize("arguments", [["serve", "app:app", "--port", "0"], ["tasks", "list"]], ids=" ".join)
def test_a_database_that_another_program_locks_is_waited_for_and_then_refused(
    folder: Path, database: Path, arguments: list[str]
) -> None:
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        says = (str(database), "locked by another program for 0.2 s", "busy_timeout_s in [plugins.sqlite]")

        result = opspawn(*arguments, folder=folder, env={"OPSPAWN_PLUGINS__SQLITE__BUSY_TIMEOUT_S": "0.2"})

    check_refusal(result, FAILED, says)


# -- permissions -------------------------------------------------------------------------------------------------------


@pytest.fixture
def readable_again(folder: Path) -> Iterator[None]:
    """Whatever a test forbids itself, pytest may remove the folder."""
    yield
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755)


def opspawn_under_permissions(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command to which permissions apply even when the tests run as root."""
    return subprocess.run(
        [OPSPAWN, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        preexec_fn=_give_up_roots_pass if os.geteuid() == 0 else None,
    )


def _give_up_roots_pass() -> None:
    """Take the two capabilities with which root ignores permissions out of reach for the program that starts next."""
    drop_from_bounding_set, dac_override, dac_read_search = 24, 1, 2
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in (dac_override, dac_read_search):
        if libc.prctl(drop_from_bounding_set, capability, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl")


@pytest.mark.usefixtures("readable_again")
@pytest.mark.parametrize("arguments", [["serve", "app:app", "--port", "0"], ["tasks", "list"]], ids=" ".join)
def test_a_database_that_may_not_be_written_is_refused(folder: Path, database: Path, arguments: list[str]) -> None:
    for path in (folder / ".opspawn").rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    (folder / ".opspawn").chmod(0o555)

    result = opspawn_under_permissions(folder, *arguments)

    check_refusal(result, FAILED, (str(database), "read-only for this user", "Change the permissions"))


@pytest.mark.usefixtures("readable_again")
def test_a_folder_in_which_no_database_can_be_made_is_refused(folder: Path) -> None:
    folder.chmod(0o555)

    result = opspawn_under_permissions(folder, "run", "app:app", "function/hello")

    check_refusal(result, FAILED, (".opspawn/opspawn.db", "Permission denied", "folder that this user may write to"))


@pytest.mark.usefixtures("readable_again")
@pytest.mark.parametrize("name", ["opspawn.toml", "app.py"])
def test_a_file_that_may_not_be_read_is_refused_by_its_name(folder: Path, name: str) -> None:
    (folder / "opspawn.toml").write_text("")
    (folder / name).chmod(0)

    result = opspawn_under_permissions(folder, "run", "app:app", "function/hello")

    check_refusal(result, WRONG, (name, "Permission denied"))
    assert not (folder / ".opspawn").exists()
