"""On what sort of file system a file lies."""

from __future__ import annotations

import os
import re
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
#: Shared between machines. SQLite's log needs memory that all writers share, and locks that hold, which these lack.
NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "afs", "lustre", "beegfs", "gpfs", "ocfs2", "gfs2", "ncpfs"}
    | {f"fuse.{name}" for name in ("sshfs", "glusterfs", "ceph", "s3fs", "rclone", "gcsfuse", "juicefs", "cephfs")}
)
#: Shared with the host of a virtual machine or container: it depends on them whether locks hold.
DOUBTFUL = frozenset({"9p", "virtiofs", "vboxsf", "fuse", "fuse.grpcfuse", "fuse.osxfs"})


def sort_of(path: Path) -> str | None:
    """The name of the file system that holds a path, as Linux calls it; None where nobody says."""
    try:
        mounts = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    real = os.path.realpath(path)
    found: tuple[int, str | None] = (-1, None)
    for line in mounts:
        before, _, after = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), before.split(" ")[4])
        if (real + "/").startswith(point.rstrip("/") + "/") and len(point) >= found[0]:  # the last one lies on top
            found = (len(point), after.split(" ")[0])
    return found[1]
