"""A filter of system calls: what no tool needs and what would lead around the other walls.

It is written out as a program for the kernel's BPF machine, so that it needs no library. It closes what Landlock leaves
open, without any privileges: UDP and every other sort of socket, Unix sockets by path, memory that counts for nobody
(memfd, System V), tracing, mounting, new namespaces, io_uring (which would open sockets past the filter).
"""

from __future__ import annotations

import ctypes
import errno
import struct

from opspawn.agentkit.sandbox import kernel

#: AUDIT_ARCH_…, and the place of each machine in the table.
_ARCH = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
_X32 = 0x40000000

#: System call: its number on x86_64 and on aarch64 (None: it has none there).
_NUMBERS: dict[str, tuple[int | None, int | None]] = {
    "acct": (163, 89), "add_key": (248, 217), "adjtimex": (159, 171), "bpf": (321, 280), "chroot": (161, 51),
    "clock_adjtime": (305, 266), "clock_settime": (227, 112), "delete_module": (176, 106),
    "fanotify_init": (300, 262), "finit_module": (313, 273), "fsconfig": (431, 431), "fsmount": (432, 432),
    "fsopen": (430, 430), "fspick": (433, 433), "init_module": (175, 105), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427), "io_uring_setup": (425, 425), "ioperm": (173, None), "iopl": (172, None),
    "kcmp": (312, 272), "kexec_file_load": (320, 294), "kexec_load": (246, 104), "keyctl": (250, 219),
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "modify_ldt": (154, None), "mount": (165, 40),
    "mount_setattr": (442, 442), "move_mount": (429, 429), "mq_open": (240, 180), "msgget": (68, 186),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "open_tree": (428, 428),
    "perf_event_open": (298, 241), "personality": (135, 92), "pidfd_getfd": (438, 438), "pivot_root": (155, 41),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "ptrace": (101, 117), "quotactl": (179, 60),
    "reboot": (169, 142), "request_key": (249, 218), "semget": (64, 190), "setdomainname": (171, 162),
    "sethostname": (170, 161), "setns": (308, 268), "settimeofday": (164, 170), "shmget": (29, 194),
    "swapoff": (168, 225), "swapon": (167, 224), "syslog": (103, 116), "umount2": (166, 39), "unshare": (272, 97),
    "userfaultfd": (323, 282),
}  # fmt: skip
_SOCKET, _CLONE, _CLONE3, _EXECVE, _EXECVEAT = (41, 198), (56, 220), (435, 435), (59, 221), (322, 281)
_NAMESPACES = (
    kernel.CLONE_NEWNS
    | kernel.CLONE_NEWCGROUP
    | kernel.CLONE_NEWUTS
    | kernel.CLONE_NEWIPC
    | kernel.CLONE_NEWUSER
    | kernel.CLONE_NEWPID
    | kernel.CLONE_NEWNET
    | kernel.CLONE_NEWTIME
)
_AF_INET, _AF_INET6, _AF_NETLINK = 2, 10, 16

_LOAD, _JUMP_EQUAL, _JUMP_GREATER_EQUAL, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_KILL, _ERROR, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16


def supported() -> bool:
    return kernel.machine in _ARCH


def enforce(*, network: bool, execute: bool) -> None:
    """From now on, for this process and what it starts. `no_new_privs` must be set. Raises: OSError."""
    program = _program(network=network, execute=execute)
    code = ctypes.create_string_buffer(b"".join(program), 8 * len(program))

    class _Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))

    kernel.prctl(kernel.PR_SET_SECCOMP, 2, ctypes.byref(_Program(len(program), ctypes.cast(code, ctypes.c_void_p))))


def _program(*, network: bool, execute: bool) -> list[bytes]:
    architecture, place = _ARCH[kernel.machine]
    program = [
        _line(_LOAD, _ARCHITECTURE),
        _line(_JUMP_EQUAL, architecture, 1, 0),
        _line(_RETURN, _KILL),
        _line(_LOAD, _NUMBER),
    ]
    if kernel.machine == "x86_64":  # a second set of numbers for the same calls
        program += [_line(_JUMP_GREATER_EQUAL, _X32, 0, 1), _line(_RETURN, _ERROR | errno.ENOSYS)]
    refused = {numbers[place]: errno.EPERM for numbers in _NUMBERS.values()}
    refused[_CLONE3[place]] = errno.ENOSYS  # its flags are out of sight here; everybody falls back to clone
    if not execute:
        refused |= {_EXECVE[place]: errno.EACCES, _EXECVEAT[place]: errno.EACCES}
    if not network:
        refused[_SOCKET[place]] = errno.EACCES
    for number, answer in refused.items():
        if number is not None:
            program += [_line(_JUMP_EQUAL, number, 0, 1), _line(_RETURN, _ERROR | answer)]
    if network:
        program += [
            _line(_JUMP_EQUAL, _SOCKET[place], 0, 6),
            _line(_LOAD, _FIRST_ARGUMENT),
            _line(_JUMP_EQUAL, _AF_INET, 2, 0),
            _line(_JUMP_EQUAL, _AF_INET6, 1, 0),
            _line(_JUMP_EQUAL, _AF_NETLINK, 0, 1),
            _line(_RETURN, _ALLOW),
            _line(_RETURN, _ERROR | errno.EACCES),
        ]
    return [
        *program,
        _line(_JUMP_EQUAL, _CLONE[place], 0, 3),
        _line(_LOAD, _FIRST_ARGUMENT),
        _line(_JUMP_ANY_BIT, _NAMESPACES, 0, 1),
        _line(_RETURN, _ERROR | errno.EPERM),
        _line(_RETURN, _ALLOW),
    ]


def _line(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
