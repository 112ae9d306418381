"""`python3 dev guards`: removes one guard after the other from a copy of the core, and runs the test that must notice.

A suite that stays green without a guard proves nothing about it. The copy stands first on the path of the tests; the
repository itself is not touched.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from .table import GUARDS, Guard

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "opspawn-core" / "src" / "opspawn"
#: A test that a missing guard leaves hanging has noticed, too; so long it may take, in seconds.
TEST_TIMEOUT_S = 40


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 if the loss of every guard is noticed, 1 if one is not, 2 for a wrong command line."""
    parser = argparse.ArgumentParser(
        prog="dev guards", description="Remove one guard after the other; a test must fail."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="words from the names of guards; by default all")
    given = parser.parse_args(arguments)
    chosen = [guard for guard in GUARDS if not given.names or any(word in guard.name for word in given.names)]
    if not chosen:
        parser.error(f"no guard is named like that. Known: {'; '.join(guard.name for guard in GUARDS)}.")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="opspawn-guards-") as folder:
        copy = Path(folder) / "opspawn"
        shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__"))
        if not _passes(folder, sorted({guard.test for guard in chosen})):
            print("The tests fail even with every guard in place; mend that first.")
            return 1
        lost = [guard for guard in chosen if not _is_noticed(guard, copy)]
    took = time.monotonic() - began
    print(f"{len(chosen) - len(lost)} of {len(chosen)} guards are noticed when they are removed ({took:.0f} s).")
    return 1 if lost else 0


def _is_noticed(guard: Guard, copy: Path) -> bool:
    """Whether its test fails without a guard; says so in a line."""
    path = copy / guard.file
    whole = path.read_text(encoding="utf-8")
    if (times := whole.count(guard.old)) != 1:
        print(f"{guard.name:<46} its words stand {times} times in {guard.file}: mend tests/guards/table.py")
        return False
    path.write_text(whole.replace(guard.old, guard.new), encoding="utf-8")
    try:
        noticed = not _passes(str(copy.parent), [guard.test])
    finally:
        path.write_text(whole, encoding="utf-8")
    print(f"{guard.name:<46} {'noticed' if noticed else 'NOT NOTICED'}   {guard.test.rpartition('/')[2]}", flush=True)
    return noticed


def _passes(path: str, tests: list[str]) -> bool:
    """Whether tests pass with the copy of the core. Only a failed test counts as failed, not one that is not there."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", f"--timeout={TEST_TIMEOUT_S}"]
    env = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([*command, *tests], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(f"pytest could not run {', '.join(tests)}:\n{done.stdout}{done.stderr}")
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
