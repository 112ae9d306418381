"""What holds for every test: its level follows from its folder, and it leaves the process as it found it."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

LEVELS = ("unit", "integration", "acceptance")
HANGS_S = 240
"""How long a test may take that starts one process after another, on a machine with other things to do."""

# Half a million objects are made while thousands of tests are collected, and none of them goes: looking through them
# again and again would be a fifth of the work. See `pytest_collection_finish`.
gc.disable()

# How long an example takes says how busy the machine is, and nothing of what is tested.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with its level: that of its own mark, else of the nearest folder with such a name, else unit.

    Acceptance tests get more time before they count as hanging. The slow tests come first, so that none of them runs
    alone at the end while the other cores have nothing to do.
    """
    for item in items:
        if not any(item.get_closest_marker(level) for level in LEVELS):
            named = [part for part in reversed(item.path.parts) if part in LEVELS]
            item.add_marker(named[0] if named else "unit")
        if item.get_closest_marker("acceptance") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(HANGS_S))
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_collection_finish() -> None:
    """From here on only what the tests make is looked through for garbage."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def plain_environment() -> Iterator[None]:
    """No setting or key of whoever runs the tests reaches one; a test that wants a variable sets it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("OPSPAWN_", "OPENAI_")):
                patch.delenv(name)
        yield


@pytest.fixture(autouse=True)
def nothing_leaks(plain_environment: None) -> Iterator[None]:
    """A test that changes the environment or the working folder for the next one fails."""
    environment, folder = variables(), os.getcwd()
    yield
    now, here = variables(), os.getcwd()
    os.chdir(folder)
    changed = sorted(name for name in environment.keys() | now.keys() if environment.get(name) != now.get(name))
    for name in changed:
        os.environ.pop(name, None)
    os.environ.update({name: environment[name] for name in changed if name in environment})
    assert not changed, f"the test left these variables changed: {', '.join(changed)}; use monkeypatch"
    assert here == folder, f"the test left {here} as the working folder; use monkeypatch.chdir"


def variables() -> dict[str, str]:
    """The environment, without what pytest itself writes there."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
