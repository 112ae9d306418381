"""Plugins are found without import, allowed or blocked before it, loaded in isolation, and asked for by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from opspawn import hookspecs
from opspawn.config import load_settings
from opspawn.contracts.plugins import PluginConfig
from opspawn.errors import ConfigError, PluginError
from opspawn.plugins import KINDS, Plugins, PluginStatus
from opspawn.plugins.status import INSTALL

PLANNER = """
    from opspawn.contracts.plugins import PlannerPlugin
    from opspawn.hookspecs import hookimpl

    @hookimpl
    def opspawn_planners():
        yield PlannerPlugin("{name}", open=lambda section: section)
"""

CONFIGURED = """
    from pathlib import Path
    from pydantic import Field, SecretStr
    from opspawn.contracts.plugins import PlannerPlugin, PluginConfig
    from opspawn.hookspecs import hookimpl

    class Section(PluginConfig):
        folder: Path | None = None
        api_key: SecretStr | None = None
        limit: int = Field(default=3, ge=1)
        names: list[str] = []
        careful: bool = False

    @hookimpl
    def opspawn_planners():
        return [PlannerPlugin("con-figured", open=lambda section: section, config=Section)]
"""

HOOK = """
    from opspawn.contracts.plugins import ModelPlugin, PlannerPlugin, ToolPlugin
    from opspawn.hookspecs import hookimpl

"""


def status_of(plugins: Plugins, name: str) -> PluginStatus:
    return next(status for status in plugins.report() if status.name == name)


def load(**options: Any) -> Plugins:
    return Plugins.load(quiet=True, **options)


def test_the_builtins_come_through_the_same_door() -> None:
    found = {status.name: status for status in load(allow=[]).report() if status.builtin}

    assert {"sqlite", "local", "replay", "rest"} <= set(found)
    assert found["sqlite"].distribution == "opspawn-core"
    assert found["sqlite"].gives == {"store": ("sqlite",)}


def test_every_hook_has_a_kind() -> None:
    hooks = [name for name in vars(hookspecs) if name.startswith("opspawn_")]

    assert len(KINDS) == len(hooks)
    assert {"model", "planner", "tool", "store", "waker", "transport"} <= set(KINDS)


def test_an_installed_plugin_is_found_and_gives_its_record(install: Any) -> None:
    install("acme-planners", {"acme": "acme_one"}, version="2.1", acme_one=PLANNER.format(name="acme"))

    plugins = load()

    assert plugins.get("planner", "acme").name == "acme"
    status = status_of(plugins, "acme")
    assert (status.status, status.distribution, status.version) == ("loaded", "acme-planners", "2.1")
    assert status.gives == {"planner": ("acme",)}


@pytest.mark.parametrize("named", ["acme-planners", "Acme_Planners", "acme"])
def test_a_blocked_plugin_is_never_imported(install: Any, named: str) -> None:
    install("acme-planners", {"acme": "acme_two"}, acme_two=PLANNER.format(name="acme"))

    plugins = load(block=[named])

    assert status_of(plugins, "acme").status == "blocked"
    assert "acme_two" not in sys.modules
    with pytest.raises(PluginError, match=r"'acme' comes from acme-planners 1\.0, which is blocked"):
        plugins.get("planner", "acme")


def test_with_an_allow_list_nothing_else_is_imported_but_the_builtins(install: Any) -> None:
    install("acme-planners", {"acme": "acme_three"}, acme_three=PLANNER.format(name="acme"))
    install("other-planners", {"other": "other_three"}, other_three=PLANNER.format(name="other"))

    plugins = load(allow=["acme-planners"])

    assert status_of(plugins, "acme").status == "loaded"
    assert status_of(plugins, "other").status == "blocked"
    assert "other_three" not in sys.modules
    assert plugins.get("store", "sqlite")


def test_a_builtin_can_be_blocked_by_name() -> None:
    plugins = load(block=["local"])

    with pytest.raises(PluginError, match="blocked"):
        plugins.get("waker", "local")


def test_a_plugin_that_fails_to_import_is_told_with_its_text_and_place_and_the_others_load(install: Any) -> None:
    install("broken-plugin", {"broken": "broken_four"}, broken_four="import no_such_module_at_all\n")
    install("acme-planners", {"acme": "acme_four"}, acme_four=PLANNER.format(name="acme"))

    plugins = load()

    assert plugins.get("planner", "acme")
    status = status_of(plugins, "broken")
    assert status.status == "failed"
    assert "ModuleNotFoundError: No module named 'no_such_module_at_all'" in (status.error or "")
    assert "broken_four.py:1" in (status.error or "")
    with pytest.raises(PluginError, match="cannot be loaded: ModuleNotFoundError"):
        plugins.get("planner", "broken")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("def x(:\n", "SyntaxError"),
        ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
        ("raise RuntimeError('the key sk-abcdefghijkl123 is bad')", "the key *** is bad"),
    ],
)
def test_whatever_an_import_raises_becomes_one_line_without_secrets(install: Any, text: str, told: str) -> None:
    install("broken-plugin", {"broken": "broken_five"}, broken_five=text)

    status = status_of(load(), "broken")

    assert status.status == "failed"
    assert told in (status.error or "")
    assert "\n" not in (status.error or "")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("@hookimpl\ndef opspawn_planer(): return []", "no hook 'opspawn_planer'. Did you mean 'opspawn_planners'?"),
        ("def opspawn_plannerss(): return []", "no hook 'opspawn_plannerss'. Did you mean 'opspawn_planners'?"),
        ("@hookimpl(specname='opspawn_tols')\ndef mine(): return []", "Did you mean 'opspawn_tools'?"),
        ("def opspawn_planners(): return []", "not marked with @hookimpl"),
        ("@hookimpl(wrapper=True)\ndef opspawn_planners(): yield", "wrapper"),
        ("@hookimpl\ndef opspawn_planners(app): return []", "declared in the hookimpl"),
        ("@hookimpl\ndef opspawn_planners(): raise ValueError('oh no')", "ValueError: oh no"),
        ("@hookimpl\ndef opspawn_planners(): yield 1 / 0", "ZeroDivisionError"),
        ("@hookimpl\ndef opspawn_planners(): return None", "gave None"),
        ("@hookimpl\nasync def opspawn_planners(): return []", "is async"),
        ("@hookimpl\ndef opspawn_planners(): return PlannerPlugin('a', len)", "gave a PlannerPlugin; it must yield"),
        (
            "@hookimpl\ndef opspawn_planners(): yield ModelPlugin('a', len)",
            "gave a ModelPlugin; it must give PlannerPlugins",
        ),
        ("@hookimpl\ndef opspawn_planners(): yield PlannerPlugin('a b', len)", "named 'a b'"),
        ("@hookimpl\ndef opspawn_planners(): yield PlannerPlugin('a', 3)", "cannot be called"),
        ("@hookimpl\ndef opspawn_planners(): yield PlannerPlugin('a', len, dict)", "subclass of PluginConfig"),
        ("@hookimpl\ndef opspawn_planners(): return [PlannerPlugin('a', len)] * 2", "two planners named 'a'"),
    ],
)
def test_a_hook_that_is_wrong_is_reported_and_not_ignored(install: Any, text: str, told: str) -> None:
    install("wrong-plugin", {"wrong": "wrong_six"})
    Path(sys.path[0], "wrong_six.py").write_text(
        "from opspawn.contracts.plugins import *\nfrom opspawn.hookspecs import hookimpl\n" + text
    )

    status = status_of(load(), "wrong")

    assert status.status == "failed"
    assert told in (status.error or "")
    assert not status.gives


@pytest.mark.parametrize("wanted", [">=1,<2", "==1", " >= 1.0 , < 2.0 ", "!=2"])
def test_a_plugin_that_fits_this_plugin_api_loads(install: Any, wanted: str) -> None:
    install("ranged", {"ranged": "ranged_seven"}, ranged_seven=f"OPSPAWN_PLUGIN_API = {wanted!r}\n")

    assert status_of(load(), "ranged").status == "loaded"


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (">=2", "needs plugin API >=2, and this core offers 1"),
        ("<1", "offers 1"),
        ("~1", "no comparison"),
        (1, "a text"),
    ],
)
def test_a_plugin_for_another_plugin_api_is_reported(install: Any, wanted: object, told: str) -> None:
    install("ranged", {"ranged": "ranged_eight"}, ranged_eight=f"OPSPAWN_PLUGIN_API = {wanted!r}\n")

    status = status_of(load(), "ranged")

    assert status.status == "failed"
    assert told in (status.error or "")


def test_of_two_records_with_one_name_neither_is_used_and_both_distributions_are_named(install: Any) -> None:
    install("first-planners", {"first": "first_nine"}, first_nine=PLANNER.format(name="same"))
    install("second-planners", {"second": "second_nine"}, second_nine=PLANNER.format(name="same"))

    plugins = load()

    assert {status_of(plugins, name).status for name in ("first", "second")} == {"clash"}
    with pytest.raises(PluginError, match="first-planners and by second-planners, so neither is used"):
        plugins.get("planner", "same")


def test_nobody_can_take_over_a_builtin_by_its_name(install: Any) -> None:
    install(
        "squatter",
        {"sqlite": "squat_ten"},
        squat_ten="""
        from opspawn.contracts.plugins import StorePlugin
        from opspawn.hookspecs import hookimpl

        @hookimpl
        def opspawn_stores():
            yield StorePlugin("sqlite", open=print)
    """,
    )

    with pytest.raises(PluginError, match="opspawn-core and by squatter"):
        load().get("store", "sqlite")
    assert load(block=["squatter"]).get("store", "sqlite")


@pytest.mark.parametrize(("known", "package"), sorted(INSTALL.items()))
def test_a_missing_plugin_is_told_with_what_to_install(known: tuple[str, str], package: str) -> None:
    plugins = Plugins([])

    with pytest.raises(PluginError, match=f"not installed. Run: pip install {package}$"):
        plugins.get(*known)


def test_an_unknown_name_is_told_with_its_neighbours() -> None:
    with pytest.raises(PluginError, match=r"There is no store 'sqllite'. Did you mean 'sqlite'\?"):
        load(allow=[]).get("store", "sqllite")


def test_a_second_name_for_the_same_module_is_reported(install: Any) -> None:
    install("acme-planners", {"acme": "acme_same", "again": "acme_same"}, acme_same=PLANNER.format(name="acme"))

    plugins = load()

    assert plugins.get("planner", "acme")
    assert status_of(plugins, "again").status == "failed"
    assert "already registered" in (status_of(plugins, "again").error or "")


def test_a_plugin_may_be_an_object_and_its_faults_stay_its_own(install: Any) -> None:
    install(
        "object-plugin",
        {"fine": "object_plugin:fine", "odd": "object_plugin:odd"},
        object_plugin=HOOK
        + """
    class Fine:
        @hookimpl
        def opspawn_tools(self):
            yield ToolPlugin("from-object", open=print)

    class Odd:
        @property
        def opspawn_tools(self):
            raise RuntimeError("odd")

    fine, odd = Fine(), Odd()
    """,
    )

    plugins = load()

    assert plugins.get("tool", "from-object")
    assert status_of(plugins, "odd").status == "failed"


def test_a_required_plugin_that_failed_is_fatal(install: Any) -> None:
    install("broken-plugin", {"broken": "broken_eleven"}, broken_eleven="1 / 0\n")

    with pytest.raises(PluginError, match="ZeroDivisionError"):
        load(required=[("store", "broken")])


def test_a_failed_plugin_that_nobody_named_is_only_a_warning(install: Any) -> None:
    install("broken-plugin", {"broken": "broken_twelve"}, broken_twelve="1 / 0\n")
    told: list[str] = []
    sink = logger.add(told.append, format="{level} {message}")

    Plugins.load(block=["no-such-plugin"])

    logger.remove(sink)
    assert any("WARNING The plugin broken of broken-plugin is not usable: ZeroDivisionError" in line for line in told)
    assert any("'no-such-plugin'" in line for line in told)


def configured(install: Any, tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> PluginConfig:
    install("configured-plugin", {"con-figured": "configured_thirteen"}, configured_thirteen=CONFIGURED)
    (tmp_path / "opspawn.toml").write_text(text)
    loaded = load_settings(environ=environ or {}, cwd=tmp_path)
    plugins = load()
    plugins.check(loaded.sections)
    return plugins.section(plugins.get("planner", "con-figured"), loaded.sections)


def test_a_section_is_checked_by_the_plugins_own_model(install: Any, tmp_path: Path) -> None:
    text = "[plugins.con-figured]\nlimit = 5\nfolder = 'cache'\nnames = ['a']\n"
    variables = {"OPSPAWN_PLUGINS__CON_FIGURED__CAREFUL": "yes", "OPSPAWN_PLUGINS__CON_FIGURED__API_KEY": "12345"}

    section = configured(install, tmp_path, text, variables)

    dumped = section.model_dump()
    assert (dumped["limit"], dumped["names"], dumped["careful"]) == (5, ["a"], True)
    assert dumped["folder"] == tmp_path / "cache"
    assert dumped["api_key"].get_secret_value() == "12345"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "limit = 0",
            "opspawn.toml: plugins.con-figured.limit must be at least 1, not 0. Correct it, or leave it out for 3.",
        ),
        ("limit = '5'", 'plugins.con-figured.limit must be a whole number, not "5".'),
        ("limt = 1", "there is no setting 'plugins.con-figured.limt'. Did you mean 'plugins.con-figured.limit'?"),
        ("api_key = 17", "plugins.con-figured.api_key must be a text. Correct it."),
        ("names = ['a', 1]", "plugins.con-figured.names.1 must be a text, not 1."),
        ("careful = 1", "plugins.con-figured.careful must be true or false, not 1."),
    ],
)
def test_a_mistake_in_a_section_names_file_key_type_and_remedy(
    install: Any, tmp_path: Path, text: str, told: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        configured(install, tmp_path, f"[plugins.con-figured]\n{text}\n")

    assert told in str(caught.value)
    assert str(caught.value).startswith("opspawn.toml: ")


def test_a_mistake_in_a_variable_of_a_section_names_the_variable(install: Any, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"^OPSPAWN_PLUGINS__CON_FIGURED__LIMIT: .* must be a whole number, not \"many\""
    ):
        configured(install, tmp_path, "", {"OPSPAWN_PLUGINS__CON_FIGURED__LIMIT": "many"})


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("sqlit", r"Did you mean \[plugins.sqlite\]\?"), ("xyz", "Remove it; installed: ")],
)
def test_a_section_of_no_plugin_is_an_error(tmp_path: Path, name: str, remedy: str) -> None:
    (tmp_path / "opspawn.toml").write_text(f"[plugins.{name}]\nurl = 'x'\n")
    loaded = load_settings(environ={}, cwd=tmp_path)

    with pytest.raises(
        ConfigError, match=rf"^opspawn.toml: \[plugins.{name}\] belongs to no installed plugin. .*{remedy}"
    ):
        load(allow=[]).check(loaded.sections)


def test_the_section_of_a_blocked_plugin_is_left_alone(install: Any, tmp_path: Path) -> None:
    install("configured-plugin", {"con-figured": "configured_fourteen"}, configured_fourteen=CONFIGURED)
    (tmp_path / "opspawn.toml").write_text("[plugins.con-figured]\nwhatever = 1\n")

    load(allow=[]).check(load_settings(environ={}, cwd=tmp_path).sections)


def test_records_of_several_kinds_may_share_a_section(install: Any) -> None:
    install(
        "twin-plugin",
        {"twin": "twin_fifteen"},
        twin_fifteen=HOOK
        + """
    from opspawn.contracts.plugins import PluginConfig

    class ForModel(PluginConfig):
        base_url: str = ""

    class ForTool(PluginConfig):
        depth: int = 1

    @hookimpl
    def opspawn_models():
        yield ModelPlugin("twin", open=print, config=ForModel)

    @hookimpl
    def opspawn_tools():
        yield ToolPlugin("twin", open=print, config=ForTool)
    """,
    )
    plugins, sections = load(), {"twin": {"base_url": "http://x", "depth": 4}}

    assert plugins.section(plugins.get("model", "twin"), sections).model_dump() == {"base_url": "http://x"}
    assert plugins.section(plugins.get("tool", "twin"), sections).model_dump() == {"depth": 4}


def test_objects_that_only_code_can_give_reach_a_section_unchanged(install: Any) -> None:
    install(
        "objects",
        {"objects": "objects_sixteen"},
        objects_sixteen=HOOK
        + """
    from typing import Any
    from opspawn.contracts.plugins import PluginConfig

    class Section(PluginConfig):
        client: Any = None

    @hookimpl
    def opspawn_tools():
        yield ToolPlugin("objects", open=print, config=Section)
    """,
    )
    plugins, client = load(), object()

    section = plugins.section(plugins.get("tool", "objects"), {"objects": {"client": client}})

    assert section.model_dump()["client"] is client


def test_loading_the_builtins_imports_no_driver() -> None:
    program = """
import sys
from opspawn.plugins import Plugins
Plugins.load(allow=[])
print([name for name in ("fastapi", "uvicorn", "sqlite3", "openai", "yaml", "rich") if name in sys.modules])
"""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert answer.stdout.strip() == "[]"
