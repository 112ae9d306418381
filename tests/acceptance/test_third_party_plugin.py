"""A plugin by somebody else: written in a folder as the docs say, installed with pip, found, used, listed, stopped.

All of it happens in a virtual environment of its own, offline, so that nothing is installed into that of the tests.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import textwrap
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ._process import PATIENCE_S

OUR_PLUGINS = (
    "opspawn_embedder_local",
    "opspawn_mcp",
    "opspawn_memory_lancedb",
    "opspawn_planner_plan",
    "opspawn_planner_react",
    "opspawn_model_anthropic",
    "opspawn_model_openai",
    "opspawn_store_redis",
)

WEATHER = '''
"""A tool and a planner, from a plugin."""

from collections.abc import Iterable

from opspawn import tool
from opspawn.contracts.model import Message
from opspawn.contracts.planner import PlannerResult
from opspawn.contracts.plugins import PlannerPlugin, PluginConfig, ToolPlugin
from opspawn.hookspecs import hookimpl
from pydantic import Field

OPSPAWN_PLUGIN_API = ">=1,<2"


class WeatherConfig(PluginConfig):
    """The section `[plugins.weather]`."""

    unit: str = Field(default="C", pattern="^[CFK]$", description="Of temperatures.")


def open_weather(section):
    @tool(effect="read")
    async def weather(city: str) -> str:
        """Tell the weather of a city.

        Args:
            city: its name.
        """
        return f"{city}: 7 {section.unit}, rain"

    return weather


class LookFirst:
    """One round of tools, then the answer, with what the tools said before it."""

    async def run(self, context):
        messages = [Message("user", str(context.input))]
        asked = await context.think(messages)
        seen = await context.act(asked.tool_calls)
        messages += [asked.message(), *(Message("tool", one.content, (), one.call_id) for one in seen)]
        answer = await context.think(messages, tools=())
        return PlannerResult("; ".join([*(one.content for one in seen), answer.text]))


@hookimpl
def opspawn_tools() -> Iterable[ToolPlugin]:
    yield ToolPlugin("weather", open_weather, WeatherConfig, "the weather of a city")


@hookimpl
def opspawn_planners() -> Iterable[PlannerPlugin]:
    yield PlannerPlugin("look-first", lambda section: LookFirst(), help="one round of tools, then the answer")
'''
BROKEN = "import a_package_that_nobody_has\n"
FUTURE = 'OPSPAWN_PLUGIN_API = ">=7,<8"\n'
MISSPELT = """
from opspawn.hookspecs import hookimpl


@hookimpl
def opspawn_tolls():
    return []
"""
COIN = '''
from opspawn import tool
from opspawn.contracts.plugins import ToolPlugin
from opspawn.hookspecs import hookimpl


@tool(effect="read")
async def coin() -> str:
    """Flip a coin."""
    return "heads"


@hookimpl
def opspawn_tools():
    yield ToolPlugin("coin", lambda section: coin)
'''
APP = """
from opspawn import Agent, App
from opspawn.contracts.model import ToolCall
from opspawn.testing import ScriptedModel

model = ScriptedModel([ToolCall("1", "weather", {"city": "Oslo"}), "Take an umbrella."])
app = App(agents=[Agent("guide", model=model, planner="look-first", tools=["weather"])])
"""
USED = "Oslo: 7 K, rain; Take an umbrella."
RUN = ("run", "app:app", "guide", "Do I need an umbrella in Oslo?")


class Environment:
    """A virtual environment that has what the tests have, by links, but for the distributions that are left out."""

    def __init__(self, folder: Path, *, without: tuple[str, ...] = ()) -> None:
        venv.create(folder, symlinks=True, with_pip=False)
        self.python = folder / "bin" / "python"
        self._script = folder / "bin" / "opspawn"
        self._script.write_text(f"#!{self.python}\nimport sys\nfrom opspawn.cli import main\nsys.exit(main())\n")
        self._script.chmod(0o755)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        here = folder / "lib" / version / "site-packages"
        for packages in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
            for path in Path(packages).iterdir():
                left_out = path.name == "__pycache__" or any(name in path.name for name in without)
                if not left_out and not (here / path.name).exists():
                    (here / path.name).symlink_to(path)

    def install(self, *projects: Path) -> None:
        """What `pip install FOLDER ...` does, with nothing but what lies here."""
        options = ["--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--quiet"]
        command = [sys.executable, "-m", "pip", "--python", str(self.python), "install", *options, *map(str, projects)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        assert done.returncode == 0, done.stderr

    def opspawn(
        self, *arguments: str, folder: Path, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of this environment to its end."""
        return subprocess.run(
            [str(self._script), *arguments],
            cwd=folder,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    def plugins(self, folder: Path, env: Mapping[str, str] | None = None) -> dict[str, dict[str, Any]]:
        """What `opspawn plugins list --json` says, by distribution and name."""
        done = self.opspawn("plugins", "list", "--json", folder=folder, env=env)
        assert done.returncode == 0, done.stderr
        return {f"{item['distribution']}:{item['name']}": item for item in json.loads(done.stdout)}


def project(folder: Path, name: str, entry: str, code: str) -> Path:
    """Write a package as its author would: a pyproject.toml with an entry point, and a module."""
    module = name.replace("-", "_")
    source = folder / name / "src" / module
    source.mkdir(parents=True)
    (source / "__init__.py").write_text(code)
    (folder / name / "pyproject.toml").write_text(
        textwrap.dedent(f"""
        [build-system]
        requires = ["hatchling"]
        build-backend = "hatchling.build"

        [project]
        name = "{name}"
        version = "0.3.0"
        requires-python = ">=3.11"
        dependencies = ["opspawn-core>=0.1,<0.2"]

        [project.entry-points.opspawn]
        {entry} = "{module}"

        [tool.hatch.build.targets.wheel]
        packages = ["src/{module}"]
        """)
    )
    return folder / name


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with one good plugin and five that are troubled, each in its own way."""
    folder = tmp_path_factory.mktemp("theirs")
    environment = Environment(folder / "venv")
    assert not any("acme" in name for name in environment.plugins(folder))
    environment.install(
        project(folder, "acme-weather", "weather", WEATHER),
        project(folder, "acme-broken", "broken", BROKEN),
        project(folder, "acme-future", "future", FUTURE),
        project(folder, "acme-misspelt", "misspelt", MISSPELT),
        project(folder, "acme-coin", "coin", COIN),
        project(folder, "zeta-coin", "coins", COIN),
    )
    return environment


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with the core, and no plugin at all."""
    return Environment(tmp_path_factory.mktemp("bare") / "venv", without=OUR_PLUGINS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an app that uses the tool and the planner of the plugin, by their names."""
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "opspawn.toml").write_text('[plugins.weather]\nunit = "K"\n')
    return tmp_path


def refused(done: subprocess.CompletedProcess[str], *says: str) -> None:
    """The command said what is wrong, last and in one line; what other plugins suffer from may be warned of before."""
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    error = done.stderr.splitlines()[-1]
    assert error.startswith("Error: ")
    assert "Traceback" not in done.stderr
    for part in says:
        assert part in error


# -- found and used ----------------------------------------------------------------------------------------------------


def test_an_agent_uses_tool_planner_and_settings_of_the_plugin(environment: Environment, folder: Path) -> None:
    done = environment.opspawn(*RUN, folder=folder)

    assert (done.returncode, done.stdout) == (0, f"{USED}\n"), done.stderr
    assert "✓ weather" in done.stderr


def test_the_list_tells_what_became_of_each_plugin(environment: Environment, folder: Path) -> None:
    found = environment.plugins(folder)

    weather = found["acme-weather:weather"]
    assert (weather["status"], weather["version"], weather["module"]) == ("loaded", "0.3.0", "acme_weather")
    assert weather["gives"] == {"planner": ["look-first"], "tool": ["weather"]}
    statuses = {name: item["status"] for name, item in found.items() if item["status"] != "loaded"}
    assert statuses == {
        "acme-broken:broken": "failed",
        "acme-future:future": "failed",
        "acme-misspelt:misspelt": "failed",
        "acme-coin:coin": "clash",
        "zeta-coin:coins": "clash",
    }


def test_one_plugin_is_shown_with_its_settings(environment: Environment, folder: Path) -> None:
    done = environment.opspawn("plugins", "show", "weather", folder=folder)

    assert done.returncode == 0, done.stderr
    for part in ("acme-weather 0.3.0", "planner look-first: one round", "plugins.weather.unit", "Of temperatures."):
        assert part in done.stdout


def test_a_wrong_setting_of_the_plugin_is_a_line_with_its_key(environment: Environment, folder: Path) -> None:
    (folder / "opspawn.toml").write_text('[plugins.weather]\nunitt = "K"\n')

    done = environment.opspawn(*RUN, folder=folder)

    refused(done, "opspawn.toml", "plugins.weather.unitt", "Did you mean 'plugins.weather.unit'?")
    assert not (folder / ".opspawn").exists()


# -- stopped -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "env"),
    [
        ("", {"OPSPAWN_PLUGINS": "-acme-weather"}),
        ("", {"OPSPAWN_PLUGINS": "opspawn-planner-react"}),
        ("", {"OPSPAWN_PLUGINS": "none"}),
        ('[plugins]\nblock = ["acme-weather"]\n', {}),
        ('[plugins]\nallow = ["opspawn-planner-react"]\n', {}),
    ],
    ids=["variable blocks", "variable allows others", "variable allows none", "file blocks", "file allows others"],
)
def test_a_blocked_plugin_is_never_imported_and_who_needs_it_is_told(
    environment: Environment, folder: Path, config: str, env: dict[str, str]
) -> None:
    settings = folder / "opspawn.toml"
    settings.write_text(config + settings.read_text())

    weather = environment.plugins(folder, env)["acme-weather:weather"]
    done = environment.opspawn(*RUN, folder=folder, env=env)

    assert (weather["status"], weather["gives"]) == ("blocked", {})
    refused(done, "acme-weather 0.3.0, which is blocked", "OPSPAWN_PLUGINS")
    assert not (folder / ".opspawn").exists()


# -- troubled ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("acme-broken:broken", ["No module named 'a_package_that_nobody_has'", "acme_broken/__init__.py:1"]),
        ("acme-future:future", ["needs plugin API >=7,<8", "this core offers 1"]),
        ("acme-misspelt:misspelt", ["no hook 'opspawn_tolls'", "Did you mean 'opspawn_tools'?"]),
        ("acme-coin:coin", ["tool 'coin'", "acme-coin", "zeta-coin", "neither is used"]),
        ("zeta-coin:coins", ["tool 'coin'", "acme-coin", "zeta-coin", "neither is used"]),
    ],
)
def test_a_troubled_plugin_says_what_ails_it(troubles: dict[str, dict[str, Any]], name: str, says: list[str]) -> None:
    error = troubles[name]["error"]

    assert "\n" not in error
    assert all(part in error for part in says), error


@pytest.fixture(scope="module")
def troubles(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The list of plugins, asked for once."""
    return environment.plugins(tmp_path_factory.mktemp("list"))


def test_a_run_warns_of_troubled_plugins_and_does_not_suffer_from_them(environment: Environment, folder: Path) -> None:
    done = environment.opspawn(*RUN, folder=folder, env={"OPSPAWN_LOGS__FORMAT": "json"})

    assert done.returncode == 0
    warnings = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert {line["plugin"] for line in warnings} >= {"broken", "future", "misspelt", "coin", "coins"}
    assert {line["level"] for line in warnings} == {"warning"}


def test_a_blocked_troubled_plugin_is_silent(environment: Environment, folder: Path) -> None:
    block = "-broken,-acme-future,-acme-misspelt,-zeta-coin"

    done = environment.opspawn(*RUN, folder=folder, env={"OPSPAWN_PLUGINS": block, "OPSPAWN_LOGS__FORMAT": "json"})

    assert done.returncode == 0
    assert "warning" not in done.stderr


@pytest.mark.parametrize(
    ("tool", "says"),
    [
        ("broken", ["acme-broken 0.3.0, which cannot be loaded", "a_package_that_nobody_has", "reinstall"]),
        ("coin", ["offered by acme-coin and by zeta-coin", "Uninstall one", 'block = ["zeta-coin"]']),
        ("wether", ["There is no tool 'wether'", "Did you mean 'weather'?"]),
    ],
)
def test_an_app_that_needs_a_troubled_plugin_is_refused_with_the_reason(
    environment: Environment, folder: Path, tool: str, says: list[str]
) -> None:
    (folder / "app.py").write_text(APP.replace('["weather"]', f'["{tool}"]'))

    refused(environment.opspawn(*RUN, folder=folder), *says)


# -- none at all -------------------------------------------------------------------------------------------------------


def test_without_any_plugin_the_core_runs(bare: Environment, folder: Path) -> None:
    (folder / "opspawn.toml").write_text("")
    (folder / "app.py").write_text(
        'from opspawn import App\n\n\nasync def hello(context):\n    return "hello"\n\n\n'
        'app = App(functions={"hello": hello})\n'
    )

    done = bare.opspawn("run", "app:app", "function/hello", folder=folder)

    assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "")
    assert {item["builtin"] for item in bare.plugins(folder).values()} == {True}


@pytest.mark.parametrize(
    ("agent", "package"),
    [
        ('Agent("helper", model="replay:r")', "opspawn-planner-react"),
        ('Agent("helper", model="openai:gpt-5")', "opspawn-model-openai"),
    ],
)
def test_without_any_plugin_what_is_missing_is_named_with_how_to_install_it(
    bare: Environment, folder: Path, agent: str, package: str
) -> None:
    (folder / "opspawn.toml").write_text("")
    (folder / "r").write_text("")
    (folder / "app.py").write_text(f"from opspawn import Agent, App\napp = App(agents=[{agent}])\n")

    done = bare.opspawn("run", "app:app", "helper", "hi", folder=folder)

    refused(done, "is not installed", f"pip install {package}")
    assert not (folder / ".opspawn").exists()
