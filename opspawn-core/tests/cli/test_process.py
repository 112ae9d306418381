"""What `opspawn serve` does to its process."""

from __future__ import annotations

import gc
import subprocess
import sys

_ASKED = "import gc; from opspawn.cli.process import settle_in; {}; print(gc.get_freeze_count(), gc.get_threshold()[0])"


def _told(act: str) -> list[int]:
    command = [sys.executable, "-c", _ASKED.format(act)]
    return [int(word) for word in subprocess.check_output(command, text=True, timeout=50).split()]


def test_a_process_of_its_own_leaves_what_is_loaded_out_of_the_search_for_cycles() -> None:
    frozen, threshold = _told("settle_in()")

    assert frozen > 1000
    assert threshold == 100_000


def test_a_process_that_only_imports_it_is_left_alone() -> None:
    assert _told("0") == [0, gc.get_threshold()[0]]
