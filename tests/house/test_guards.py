"""Each guard that `python3 dev guards` removes is where the table says, and so is the test that must notice."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..guards.table import GUARDS, Guard


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name.replace(" ", "-"))
def test_a_guard_stands_once_in_its_file_and_has_its_test(guard: Guard, root: Path) -> None:
    source = (root / "opspawn-core" / "src" / "opspawn" / guard.file).read_text(encoding="utf-8")
    file, _, test = guard.test.partition("::")

    assert source.count(guard.old) == 1
    assert f"def {test}(" in (root / file).read_text(encoding="utf-8")


def test_no_two_guards_share_a_name() -> None:
    assert len({guard.name for guard in GUARDS}) == len(GUARDS)
