"""Turn from root into an ordinary user, and become the program that the arguments name.

Where that user may not even read this Python (one below /root, say), it may read all files: the walls must then hold
alone what permissions would hold as well.
"""

from __future__ import annotations

import ctypes
import os
import sys

from opspawn.agentkit.sandbox import kernel

NOBODY = 65_534
_READ_ALL = 2
_AMBIENT_RAISE = 2


def main() -> None:
    kernel.prctl(kernel.PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    if not os.access(os.path.realpath(sys.executable), os.X_OK):
        bit = 1 << _READ_ALL
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)
        kernel.call(kernel.CAPSET[kernel.machine], ctypes.byref(header), (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0))
        kernel.prctl(kernel.PR_CAP_AMBIENT, _AMBIENT_RAISE, _READ_ALL)
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])


main()
