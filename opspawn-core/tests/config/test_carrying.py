"""A configuration goes to another process as JSON and comes back the same."""

from __future__ import annotations

import json
from pathlib import Path

from opspawn.config import load_settings
from opspawn.config.carrying import loaded_from_json, loaded_to_json
from opspawn.config.loaded import Section, Text


def test_a_configuration_survives_the_way_to_another_process(tmp_path: Path) -> None:
    (tmp_path / "opspawn.toml").write_text('model = "openai:x"\n[worker]\nslots = 3\n[plugins.sqlite]\npath = "a.db"\n')
    environ = {"OPSPAWN_PLUGINS__SQLITE__BUSY_TIMEOUT_S": "7", "OPSPAWN_DATA": str(tmp_path / "data")}
    loaded = load_settings(cwd=tmp_path, environ=environ)

    again = loaded_from_json(json.loads(json.dumps(loaded_to_json(loaded))))

    assert again == loaded
    section = again.sections["sqlite"]
    assert isinstance(section, Section)
    assert isinstance(section["busy_timeout_s"], Text)  # the field that takes it decides what it is
    assert (section.folder, section.file, section.sources) == (
        tmp_path,
        "opspawn.toml",
        loaded.sections["sqlite"].sources,
    )  # type: ignore[attr-defined]
