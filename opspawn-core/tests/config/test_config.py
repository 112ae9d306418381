"""The configuration: file, environment and command line in that order, and every mistake in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from opspawn.config import Loaded, load_settings
from opspawn.config.secrets import looks_secret, masked, redact
from opspawn.errors import ConfigError


def load(folder: Path, text: str | None = None, environ: dict[str, str] | None = None, **options: Any) -> Loaded:
    if text is not None:
        (folder / "opspawn.toml").write_text(text)
    return load_settings(environ=environ or {}, cwd=folder, **options)


def fault(folder: Path, text: str | None = None, environ: dict[str, str] | None = None, **options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load(folder, text, environ, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    loaded = load(tmp_path)

    settings = loaded.settings
    assert (settings.store, settings.waker, settings.transports) == ("sqlite", "local", ["rest"])
    assert (settings.worker.slots, settings.worker.lease_s, settings.worker.queues) == (128, 30.0, ["default"])
    assert (settings.app, settings.model, loaded.file) == (None, None, None)
    assert set(loaded.sources.values()) == {"default"}


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    text = "store = 'a'\nwaker = 'a'\nmodel = 'a:a'\n"
    environ = {"OPSPAWN_WAKER": "b", "OPSPAWN_MODEL": "b:b"}

    loaded = load(tmp_path, text, environ, overrides={"model": "c:c", "app": None})

    assert (loaded.settings.store, loaded.settings.waker, loaded.settings.model) == ("a", "b", "c:c")
    assert [loaded.sources[key] for key in ("store", "waker", "model", "app")] == [
        "opspawn.toml",
        "OPSPAWN_WAKER",
        "--model",
        "default",
    ]


def test_a_variable_is_read_as_its_setting_asks(tmp_path: Path) -> None:
    environ = {
        "OPSPAWN_WORKER__SLOTS": "7",
        "OPSPAWN_WORKER__LEASE_S": "12",
        "OPSPAWN_WORKER__QUEUES": "fast, slow",
        "OPSPAWN_TRANSPORTS": "[]",
        "OPSPAWN_MODEL": "123",
        "OPSPAWN_STORE": "",
    }

    settings = load(tmp_path, "store = 'file'", environ).settings

    assert (settings.worker.slots, settings.worker.lease_s, settings.worker.queues) == (7, 12.0, ["fast", "slow"])
    assert (settings.transports, settings.model, settings.store) == ([], "123", "file")


def test_sections_of_plugins_are_merged_with_dashes_folded(tmp_path: Path) -> None:
    text = "[plugins.plan-execute]\ndepth = 2\nwidth = 3\n[plugins.plan-execute.inner]\na = 1\n"

    loaded = load(tmp_path, text, {"OPSPAWN_PLUGINS__PLAN_EXECUTE__DEPTH": "5"}, overrides={"plugins.rest.port": 80})

    assert loaded.sections == {"plan-execute": {"depth": "5", "width": 3, "inner": {"a": 1}}, "rest": {"port": 80}}
    assert loaded.sources["plugins.plan-execute.depth"] == "OPSPAWN_PLUGINS__PLAN_EXECUTE__DEPTH"
    assert loaded.sources["plugins.rest.port"] == "--port"


@pytest.mark.parametrize(
    ("value", "allow", "block"),
    [
        ("a, b", ["a", "b"], ["x"]),
        ("none", [], ["x"]),
        ("-c", None, ["x", "c"]),
        ("a,-c", ["a"], ["x", "c"]),
        ("none,-rest", [], ["x", "rest"]),
    ],
)
def test_one_variable_allows_and_blocks_plugins(tmp_path: Path, value: str, allow: Any, block: list[str]) -> None:
    settings = load(tmp_path, "[plugins]\nblock = ['x']\n", {"OPSPAWN_PLUGINS": value}).settings

    assert (settings.plugins_allow, settings.plugins_block) == (allow, block)


def test_variables_in_the_file_are_replaced(tmp_path: Path) -> None:
    text = """
        model = "${PROVIDER}:${MODEL:-small}"
        waker = "a$${b}"
        [worker]
        slots = "${SLOTS}"
        queues = ["${PROVIDER}-queue"]
        [plugins.x]
        url = "${URL:-http://a/b}"
    """

    loaded = load(tmp_path, text, {"PROVIDER": "openai", "SLOTS": "5"})

    assert (loaded.settings.model, loaded.settings.waker) == ("openai:small", "a${b}")
    assert (loaded.settings.worker.slots, loaded.settings.worker.queues) == (5, ["openai-queue"])
    assert loaded.sections["x"]["url"] == "http://a/b"


def test_relative_paths_of_the_file_start_at_its_folder_others_at_the_current_one(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "opspawn.toml").write_text("data = 'here'\n")

    def data(environ: dict[str, str], **options: Any) -> str:
        return load_settings("project/opspawn.toml", environ=environ, cwd=tmp_path, **options).settings.data

    assert data({}) == str(project / "here")
    assert data({"OPSPAWN_DATA": "env"}) == str(tmp_path / "env")
    assert data({}, overrides={"data": "/abs"}) == "/abs"


def test_the_file_may_be_named_by_a_variable(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("store = 'other'\n")

    loaded = load(tmp_path, "store = 'usual'\n", {"OPSPAWN_CONFIG": "other.toml"})

    assert (loaded.settings.store, loaded.sources["store"]) == ("other", "other.toml")
    assert loaded.folder == tmp_path


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("stoer = 'x'", "opspawn.toml: there is no setting 'stoer'. Did you mean 'store'?"),
        ("[worker]\nslot = 1", "opspawn.toml: there is no setting 'worker.slot'. Did you mean 'worker.slots'?"),
        ("qqq = 1", "opspawn.toml: there is no setting 'qqq'. Remove it; the top level takes agents, "),
        (
            "[worker]\nslots = 'many'",
            'opspawn.toml: worker.slots must be a whole number, not "many". Correct it, or leave it out for 128.',
        ),
        ("[worker]\nslots = 0", "opspawn.toml: worker.slots must be at least 1, not 0."),
        ("[worker]\nslots = 10001", "opspawn.toml: worker.slots must be at most 10000, not 10001."),
        ("[worker]\nslots = true", "worker.slots must be a whole number, not true."),
        (
            '[schedules.s]\nrun = "agent/a"\nevery = "2x"',
            'schedules.s.every must be a span such as 90s, 10m, 2h or 1d, not "2x".',
        ),
        ("[worker]\nlease_s = nan", "worker.lease_s must be"),
        ("[limits.crm]\nburst = 3", "limits.crm.burst must be valid (it counts requests, and there is no requests_per"),
        ("[limits.crm]\nburst = 3\nrequests_per_minute = 0", "limits.crm.requests_per_minute must be more than"),
        ("[worker]\nqueues = []", "worker.queues must be a list of length 1 or more"),
        ("[worker]\nqueues = ['a', 3]", "worker.queues.1 must be a text, not 3."),
        ("worker = 3", "opspawn.toml: worker must be a table, not 3."),
        ("transports = 'rest'", 'opspawn.toml: transports must be a list, not "rest".'),
        ("store = 5", "opspawn.toml: store must be a text, not 5."),
        ("store = ''", "opspawn.toml: store must be a text of length 1 or more"),
        ("[logs]\nlevel = 'loud'", 'logs.level must be "debug", "info", "warning" or "error", not "loud".'),
        ("[plugins]\nblok = ['a']", "opspawn.toml: there is no setting 'plugins.blok'. Did you mean 'plugins.block'?"),
        ("plugins = 3", "opspawn.toml: plugins must be a table"),
        ("a = ", "opspawn.toml, at the end: Invalid value."),
        ("store = 'x'\nb c\n", "opspawn.toml:2: "),
        ("store = sqlite\n", "opspawn.toml:1: Invalid value. Correct the TOML there; texts need quotes"),
        ("stoer = 1\nwakr = 2", "(1 more mistake after this one.)"),
        (
            "model = '${NO_SUCH}'",
            "opspawn.toml: model uses ${NO_SUCH}, and the environment variable NO_SUCH is not set. Set it, or",
        ),
        ("[plugins.a]\nb = ['${NO_SUCH}']", "opspawn.toml: plugins.a.b uses ${NO_SUCH}"),
    ],
)
def test_a_mistake_in_the_file_is_one_line_with_file_key_and_remedy(tmp_path: Path, text: str, told: str) -> None:
    assert told in fault(tmp_path, text)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("OPSPAWN_STOER", "x", "OPSPAWN_STOER: there is no such setting. Did you mean OPSPAWN_STORE?"),
        ("OPSPAWN_WORKER__SLOTS", "many", 'OPSPAWN_WORKER__SLOTS: worker.slots must be a whole number, not "many".'),
        ("OPSPAWN_WORKER__SLOTS", "0", "OPSPAWN_WORKER__SLOTS: worker.slots must be at least 1, not 0."),
        ("OPSPAWN_WORKER", "5", "OPSPAWN_WORKER names a table. Set its keys one by one, e.g. OPSPAWN_WORKER__SLOTS."),
        ("OPSPAWN_PLUGINS__REST", "5", "OPSPAWN_PLUGINS__REST names no key of a plugin."),
        ("OPSPAWN_PLUGINS", "none,a", "'none' stands beside other names"),
        ("OPSPAWN_CONFIG", "nowhere.toml", "OPSPAWN_CONFIG: there is no file 'nowhere.toml'."),
    ],
)
def test_a_mistake_in_a_variable_names_the_variable(tmp_path: Path, name: str, value: str, told: str) -> None:
    assert told in fault(tmp_path, environ={name: value})


def test_a_mistake_on_the_command_line_names_the_option(tmp_path: Path) -> None:
    assert fault(tmp_path, overrides={"worker.slots": 0}).startswith("--slots: worker.slots must be at least 1")
    assert fault(tmp_path, path="nowhere.toml").startswith("--config: there is no file 'nowhere.toml'.")


@pytest.mark.parametrize(
    "name",
    [
        "OPSPAWN_SERVICE_HOST",
        "OPSPAWN_PORT",
        "OPSPAWN_PORT_8000_TCP_ADDR",
        "OPSPAWN_SERVICE_PORT_HTTP",
        "OPSPAWN_DEBUG",
    ],
)
def test_variables_that_kubernetes_sets_for_a_service_of_our_name_are_no_mistake(tmp_path: Path, name: str) -> None:
    assert set(load(tmp_path, environ={name: "tcp://10.0.0.1:8000"}).sources.values()) == {"default"}


def test_a_file_that_cannot_be_read_as_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "opspawn.toml").write_bytes(b"store = '\xff'\n")

    assert fault(tmp_path).startswith("opspawn.toml is not UTF-8 text")


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "opspawn.toml").write_bytes(b"\xef\xbb\xbfstore = 'x'\n")

    assert load(tmp_path).settings.store == "x"


@pytest.mark.parametrize(
    "key", ["api_key", "plugins.openai.api_key", "token", "db-password", "client_secret", "Authorization"]
)
def test_such_keys_are_secret(key: str) -> None:
    assert looks_secret(key)


@pytest.mark.parametrize("key", ["max_tokens", "key", "tokenizer", "keyboard", "passenger", "idempotency_key"])
def test_such_keys_are_not(key: str) -> None:
    assert not looks_secret(key)


@pytest.mark.parametrize(
    "text",
    [
        "key sk-proj-abcdef1234567890 is bad",
        "osp_k1_verysecretvalue",
        "Authorization: Bearer abc.def.ghi",
        "redis://user:hunter22@host:6379/0",
        "redis://user:x@hunter22@host:6379/0",
        "redis://user:x/hunter22?y#z@host:6379/0",
        "redis://user:x@hunter22@host,redis://user:hunter22@other",
        "password=hunter22, user=me",
        '{"api_key": "hunter22"}',
        "ghp_abcdefghijklmnopqrstuvwxyz0123",
    ],
)
def test_secrets_in_texts_are_redacted(text: str) -> None:
    shown = redact(text)

    assert "***" in shown
    for secret in ("abcdef1234567890", "verysecret", "abc.def", "hunter22", "ghp_"):
        assert secret not in shown


@pytest.mark.parametrize(
    "text",
    ["task-1234567890 is done", "ask-something-long", "max_tokens=100", "http://host:80/a@b", "a bearer of news"],
)
def test_plain_texts_are_left_alone(text: str) -> None:
    assert redact(text) == text


def test_masking_leaves_unset_secrets_visible() -> None:
    assert masked({"api_key": None, "token": "x", "inner": {"password": "y", "n": 1}}) == {
        "api_key": None,
        "token": "***",
        "inner": {"password": "***", "n": 1},
    }
