"""The core works where nothing else of ours is installed: the matrix runs this with the core alone."""

from __future__ import annotations

import subprocess
import sys

IMPORT_EVERYTHING = """
import importlib, pkgutil
import opspawn
for module in pkgutil.walk_packages(opspawn.__path__, "opspawn."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""


def test_every_module_of_the_core_can_be_imported() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT_EVERYTHING], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
