"""A provider made through the plugin's own door, talking real HTTP to the scripted server."""

from __future__ import annotations

import pytest

import opspawn_model_anthropic.provider  # noqa: F401  else the first test does, for ten seconds where nothing is compiled


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "ANTHROPIC_CUSTOM_HEADERS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
