"""Landlock: which files and TCP ports a process may reach, and whom it may signal. Unprivileged, and for good.

https://docs.kernel.org/userspace-api/landlock.html says which ABI brought what: 1 files, 3 truncation, 4 TCP, 6 signals
and abstract Unix sockets.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable

from opspawn.agentkit.sandbox import kernel

_CREATE, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION, _PATH_BENEATH = 1, 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_CHAR, _MAKE_BLOCK = 1 << 6, 1 << 11
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_TCP, _SCOPES = 0b11, 0b11
READ = READ_FILE | READ_DIR
#: What a file, other than a folder, can be given.
_FILE_RIGHTS = EXECUTE | WRITE_FILE | READ_FILE | _TRUNCATE | _IOCTL_DEV


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def abi() -> int:
    """The kernel's version of Landlock; 0 where there is none."""
    try:
        return kernel.call(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION))
    except OSError:
        return 0


class Rules:
    """A set of rules in the making. Paths are opened as they are added, so that later changes of rights do no harm."""

    def __init__(self, version: int, *, network: bool) -> None:
        self._handled = (1 << 13) - 1
        self._handled |= _REFER if version >= 2 else 0
        self._handled |= _TRUNCATE if version >= 3 else 0
        self._handled |= _IOCTL_DEV if version >= 5 else 0
        values = [self._handled]
        if version >= 4:
            values.append(0 if network else _TCP)
        if version >= 6:
            values.append(_SCOPES)
        attributes = (ctypes.c_uint64 * len(values))(*values)
        self._set = kernel.call(_CREATE, ctypes.byref(attributes), ctypes.c_size_t(8 * len(values)), ctypes.c_uint32(0))

    @property
    def write(self) -> int:
        """All that can be done to files, but to run them and to make devices."""
        return self._handled & ~(EXECUTE | _MAKE_CHAR | _MAKE_BLOCK | _IOCTL_DEV)

    def allow(self, paths: Iterable[str], rights: int) -> None:
        """Raises: OSError: there is no such path."""
        for path in paths:
            opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
            try:
                given = rights & self._handled
                if not stat.S_ISDIR(os.fstat(opened).st_mode):
                    given &= _FILE_RIGHTS
                rule = _PathBeneath(given, opened)
                kernel.call(
                    _ADD_RULE,
                    ctypes.c_int(self._set),
                    ctypes.c_int(_PATH_BENEATH),
                    ctypes.byref(rule),
                    ctypes.c_uint32(0),
                )
            finally:
                os.close(opened)

    def enforce(self) -> None:
        """From now on, for this thread and what it starts. `no_new_privs` must be set."""
        kernel.call(_RESTRICT_SELF, ctypes.c_int(self._set), ctypes.c_uint32(0))
        os.close(self._set)
