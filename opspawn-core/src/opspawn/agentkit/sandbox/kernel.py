"""System calls that Python 3.11 does not offer. Each raises OSError with what the kernel answered."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import sys

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWTIME = 0x10000000, 0x20000000, 0x40000000, 0x00000080
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE = 2, 4, 8, 16384, 1 << 18
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_SET_KEEPCAPS, PR_SET_SECCOMP, PR_CAPBSET_DROP = 1, 8, 22, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 36, 38, 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
CAPSET = {"x86_64": 126, "aarch64": 91}
_LAST_CAPABILITY = 63

machine = platform.machine()
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def call(number: int, *arguments: object) -> int:
    """A system call by its number."""
    if _libc is None:
        raise OSError(38, "not Linux")
    return _checked(_libc.syscall(ctypes.c_long(number), *arguments))


def prctl(option: int, *arguments: object) -> None:
    """Zeroes stand for the arguments that are not given: the kernel insists on them."""
    if _libc is None:
        raise OSError(38, "not Linux")
    given = [ctypes.c_ulong(one) if isinstance(one, int) else one for one in arguments]
    _checked(_libc.prctl(option, *given, *[ctypes.c_ulong(0)] * (4 - len(given))))


def unshare(flags: int) -> None:
    if _libc is None:
        raise OSError(38, "not Linux")
    _checked(_libc.unshare(ctypes.c_int(flags)))


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    assert _libc is not None
    _checked(_libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode()))


def unmount(target: str) -> None:
    assert _libc is not None
    _checked(_libc.umount2(target.encode(), MNT_DETACH))


def drop_capabilities() -> None:
    """Give up every capability for good, and those that a program could bring."""
    for number in range(_LAST_CAPABILITY + 1):
        try:
            prctl(PR_CAPBSET_DROP, number)
        except OSError:  # not privileged, or past the last one: nothing to drop
            break
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    keep_capabilities(0)


def keep_capabilities(kept: int) -> None:
    """Give up all capabilities but these, a bit each (of the first 32), which must be permitted."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    values = (ctypes.c_uint32 * 6)(kept, kept, 0, 0, 0, 0)
    call(CAPSET[machine], ctypes.byref(header), ctypes.byref(values))


def set_file_owner(user: int, group: int) -> None:
    """Be `user` and `group` as to files alone. Raises: OSError: the kernel refuses, which it does in silence."""
    assert _libc is not None
    for set_one, wanted in ((_libc.setfsgid, group), (_libc.setfsuid, user)):
        set_one(ctypes.c_uint32(wanted))
        if set_one(ctypes.c_uint32(0xFFFFFFFF)) != wanted:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def _checked(answer: int) -> int:
    if answer == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer
