"""What the tests of stores share: what is collected where."""

from __future__ import annotations

import os
import subprocess


def _may_mount() -> bool:
    """Whether this user may mount a disk: root outside of most containers."""
    if os.geteuid() != 0:
        return False
    tried = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(tried, capture_output=True, check=False).returncode == 0


#: Only who may mount a small disk can fill one; `test_a_full_disk_is_an_error_and_not_a_loss` is for all.
collect_ignore = [] if _may_mount() else ["test_sqlite_full_disk.py"]
