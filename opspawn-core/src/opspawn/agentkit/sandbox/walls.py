"""The building of the walls, in the process that will run the tool; they hold for all that it starts, and for good.

The order matters. Namespaces come first, while there may still be privileges. Then the process becomes an ordinary user
if it is root, is limited, gives up what privileges are left, and shuts the files (Landlock), then the system calls.
"""

from __future__ import annotations

import contextlib
import os
import resource
from dataclasses import dataclass

from opspawn.agentkit.sandbox import kernel, landlock, seccomp
from opspawn.agentkit.sandbox.promises import Held, Plan

#: The tools of a worker that is root run as users that nobody else is: one per call, counted from here. Where only few
#: users can be had (a container without root of its own), as "nobody".
_FIRST_USER, _NOBODY = 1_900_000_000, 65_534
#: How many processes more the others of the same user may come to have meanwhile, where all are counted together.
_GROWTH = 64
_SET_GROUP, _SET_USER, _DROP = 1 << 6, 1 << 7, 1 << 8
_MIB = 1 << 20
_NAMESPACES = {
    "net": kernel.CLONE_NEWNET,
    "ipc": kernel.CLONE_NEWIPC,
    "pid": kernel.CLONE_NEWPID,
    "mount": kernel.CLONE_NEWNS,
}
#: Not offered to tools, but Python and the C library open them now and then.
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")


@dataclass(frozen=True, slots=True)
class Place:
    """Where one call is to run: its temporary folder, the user for it if this is root, the namespaces it is in."""

    folder: str
    user: int
    namespaces: tuple[str, ...]


def user_of(guard: int) -> int:
    """The user for the call of a guard: another one for each call under way."""
    return _FIRST_USER + guard


def enter_namespaces(plan: Plan) -> tuple[str, ...]:
    """Part from the network, the processes and the mounts of others as far as the kernel lets us; say from which.

    The calling process itself stays among the processes of its parent; what it forks is among itself.
    """
    if "namespaces" not in plan.walls:
        return ()
    wanted = [name for name in _NAMESPACES if not (name == "net" and plan.network)]
    flags = sum(_NAMESPACES[name] for name in wanted)
    user, group = os.geteuid(), os.getegid()
    try:
        kernel.unshare(flags if user == 0 else flags | kernel.CLONE_NEWUSER)
        if user != 0:
            _keep_names(user, group)
    except OSError:
        return ()
    return tuple(wanted)


def mount_folder(path: str, plan: Plan) -> bool:
    """Mount an empty file system of limited size there, seen by this process and its children alone; whether it is."""
    size = f"size={plan.disk_mb}m,nr_inodes=65536,mode=0777"
    try:
        kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
        kernel.mount("tmpfs", path, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, size)
    except OSError:
        return False
    return True


def build(plan: Plan, place: Place) -> Held:
    """Build all walls that the plan names and the kernel has; says which stand.

    Raises: OSError: a path of the plan is not there, or may not be opened.
    """
    held = Held(namespaces=place.namespaces)
    rules = _rules(plan, place.folder, held)
    _be_expendable()
    held.counted = _be_counted(plan, place.user)
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    with contextlib.suppress(OSError):
        kernel.drop_capabilities()
    if rules is not None:
        rules.enforce()
    if "seccomp" in plan.walls and seccomp.supported():
        try:
            seccomp.enforce(network=plan.network, execute=bool(plan.execute))
            held.seccomp = True
        except OSError:
            held.seccomp = False
    return held


def _rules(plan: Plan, folder: str, held: Held) -> landlock.Rules | None:
    version = landlock.abi() if "landlock" in plan.walls else 0
    if not version:
        return None
    rules = landlock.Rules(version, network=plan.network)
    rules.allow([path for path in plan.base if os.path.exists(path)], landlock.READ)
    rules.allow([path for path in DEVICES if os.path.exists(path)], landlock.READ_FILE | landlock.WRITE_FILE)
    rules.allow(plan.read, landlock.READ)
    rules.allow([folder, *plan.write], rules.write)
    if plan.execute:
        rules.allow(plan.execute, landlock.READ | landlock.EXECUTE)
        rules.allow(_loaders(), landlock.READ_FILE | landlock.EXECUTE)
    held.landlock = version
    return rules


def _loaders() -> list[str]:
    """The dynamic loader, which the kernel runs on behalf of a program."""
    folders = ("/lib64", "/lib", "/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu")
    return [
        entry.path
        for folder in folders
        if os.path.isdir(folder)
        for entry in os.scandir(folder)
        if entry.name.startswith(("ld-linux", "ld-musl"))
    ]


def _be_expendable() -> None:
    """Should memory run out, this process goes first."""
    with contextlib.suppress(OSError):
        _write("/proc/self/oom_score_adj", "1000")


def _be_counted(plan: Plan, user: int) -> bool:
    """Set the limits, as a user whose processes the kernel counts; whether their number is limited.

    It counts those of a user over the whole machine or, in a user namespace of its own, those in there. It never counts
    those of root.
    """
    if os.geteuid() == 0:
        counted = "user" in plan.walls and _become(user)
        _limit(plan, 0)
        return counted
    own, group = os.geteuid(), os.getegid()
    try:
        if "namespaces" not in plan.walls:
            raise OSError
        kernel.unshare(kernel.CLONE_NEWUSER)
        with contextlib.suppress(OSError):
            _keep_names(own, group)
        _limit(plan, 0)
    except OSError:
        _limit(plan, _processes_of(own) + _GROWTH)
    return True


def _become(user: int) -> bool:
    """Turn from root into another user in all but the eyes of the file system; whether that went well.

    What a tool may do to files is for Landlock to say, and what it leaves behind in `write` should be the worker's. So
    it keeps root's place as to files, without the privilege to pass over permissions.
    """
    try:
        kernel.prctl(kernel.PR_SET_KEEPCAPS, 1)
        os.setgroups([])
        try:
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
        except OSError:
            os.setresgid(_NOBODY, _NOBODY, _NOBODY)
            os.setresuid(_NOBODY, _NOBODY, _NOBODY)
        kernel.keep_capabilities(_SET_GROUP | _SET_USER | _DROP)
        kernel.set_file_owner(0, 0)
    except OSError:
        return False
    return True


def _keep_names(user: int, group: int) -> None:
    """In a new user namespace: be called there what one was called before."""
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{user} {user} 1")
    _write("/proc/self/gid_map", f"{group} {group} 1")


def _limit(plan: Plan, others: int) -> None:
    used = _memory_in_use()
    for what, soft, hard in (
        (resource.RLIMIT_CPU, plan.cpu_s, plan.cpu_s + 1),
        (resource.RLIMIT_AS, used + plan.memory_mb * _MIB, None),
        (resource.RLIMIT_FSIZE, plan.disk_mb * _MIB, None),
        (resource.RLIMIT_NPROC, others + plan.processes, None),
        (resource.RLIMIT_NOFILE, plan.files, None),
        (resource.RLIMIT_CORE, 0, None),
        (resource.RLIMIT_MSGQUEUE, 0, None),
    ):
        _, most = resource.getrlimit(what)
        limit = soft if hard is None else hard
        top = limit if most == resource.RLIM_INFINITY else min(limit, most)
        resource.setrlimit(what, (min(soft, top), top))


def _memory_in_use() -> int:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def _processes_of(user: int) -> int:
    """How many processes and threads a user has now."""
    count = 0
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with (
                contextlib.suppress(OSError),
                open(f"/proc/{entry.name}/status", "rb") as file,
            ):
                fields = dict(line.split(b":", 1) for line in file if b":" in line)
                if int(fields[b"Uid"].split()[0]) == user:
                    count += int(fields[b"Threads"])
    return count


def _write(path: str, text: str) -> None:
    with open(path, "wb") as file:  # no encoding: it might have to be imported, which may no longer be possible
        file.write(text.encode())
