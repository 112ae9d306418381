"""Temporary folders of tools: how large one is, and its removal, whatever the tool has made of it."""

from __future__ import annotations

import contextlib
import os


def size_of(folder: str) -> int:
    """How many bytes the files below a folder take, as far as it can be seen."""
    total, left = 0, [folder]
    while left:
        with contextlib.suppress(OSError), os.scandir(left.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        left.append(entry.path)
    return total


def remove(folder: str) -> None:
    """Remove a folder and all below it. What cannot be removed stays; nothing is raised.

    Folders within are moved up before they are emptied: a path through a thousand of them is too long for any call.
    """
    moved = 0
    left = [folder]
    while left:
        current = left.pop()
        with contextlib.suppress(OSError):
            os.chmod(current, 0o700)
            with os.scandir(current) as entries:
                found = [(entry.path, entry.is_dir(follow_symlinks=False)) for entry in entries]
            for path, is_folder in found:
                with contextlib.suppress(OSError):
                    if not is_folder:
                        os.unlink(path)
                    elif current == folder:
                        left.append(path)
                    else:
                        moved += 1
                        target = os.path.join(folder, f"moved-{os.getpid()}-{moved}")
                        os.chmod(path, 0o700)
                        os.rename(path, target)
                        left.append(target)
            if current != folder:
                os.rmdir(current)
    with contextlib.suppress(OSError):
        os.rmdir(folder)
