"""Tools that do what no tool should. Harmless where the walls do not hold: they try, and tell how far they got."""

from __future__ import annotations

import ctypes
import encodings.idna  # noqa: F401 - looking up a host imports it, and where this Python may not be read, that fails
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from typing import Any

from opspawn import Sandbox, tool

TIGHT = Sandbox(processes=8, disk_mb=8, memory_mb=128, cpu_s=20)
_LIBC = ctypes.CDLL(None, use_errno=True)


def hostile(**options: Any) -> Any:
    return tool(effect="read", sandbox=options.pop("sandbox", TIGHT), **options)


def _system_call(number: int, *arguments: Any) -> str:
    answer = _LIBC.syscall(ctypes.c_long(number), *arguments)
    return "done" if answer >= 0 else f"errno {ctypes.get_errno()}"


# -- time, memory, processes -------------------------------------------------------------------------------------------


@hostile(timeout_s=1.5)
def endless_loop() -> None:
    while True:
        pass


@hostile(sandbox=Sandbox(cpu_s=1))
def burn_cpu() -> None:
    while True:
        pass


@hostile(timeout_s=1.5)
def ignore_sigterm() -> None:
    for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGXCPU):
        signal.signal(one, signal.SIG_IGN)
    while True:
        time.sleep(1)


@hostile()
def fork_bomb() -> str:
    """Fork up to 500 processes, which then wait."""
    made = 0
    try:
        while made < 500:
            if os.fork() == 0:
                time.sleep(60)
                os._exit(0)
            made += 1
    except OSError as error:
        return f"{made} processes, then errno {error.errno}"
    return f"{made} processes"


@hostile()
def allocate() -> int:
    return len(bytearray(4 << 30))


@hostile()
def leave_a_daemon() -> str:
    """Leave the session and the parent, twice, and live on as `hostile-daemon`."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in range(3, 256):
                try:
                    os.close(number)
                except OSError:
                    continue
            _LIBC.prctl(15, b"hostile-daemon", 0, 0, 0)
            time.sleep(60)
        os._exit(0)
    time.sleep(0.3)
    return "left"


# -- files -------------------------------------------------------------------------------------------------------------


@hostile()
def read_file(path: str) -> str:
    with open(path, "rb") as file:
        return repr(file.read(100))


@hostile()
def list_folder(path: str) -> list[str]:
    return os.listdir(path)


@hostile()
def write_file(path: str) -> str:
    with open(path, "w", encoding="utf-8") as file:
        file.write("owned")
    return "written"


@hostile()
def remove_file(path: str) -> str:
    os.remove(path)
    return "removed"


@hostile()
def empty_file(path: str) -> str:
    os.truncate(path, 0)
    return "emptied"


@hostile()
def follow_a_link(path: str) -> str:
    os.symlink(path, "innocent")
    with open("innocent", "rb") as file:
        return repr(file.read(100))


@hostile()
def move_in(path: str) -> str:
    os.link(path, "mine")
    with open("mine", "rb") as file:
        return repr(file.read(100))


@hostile()
def fill_the_disk() -> str:
    written = 0
    try:
        for number in range(4000):
            with open(f"file-{number}", "wb") as file:
                file.write(b"x" * (1 << 20))
            written += 1
    except OSError as error:
        return f"{written} MiB, then errno {error.errno}"
    return f"{written} MiB"


@hostile()
def nest_folders() -> str:
    depth = 0
    try:
        while depth < 3000:
            os.mkdir("d")
            os.chdir("d")
            depth += 1
    except OSError as error:
        return f"{depth}, then errno {error.errno}"
    return f"{depth}"


@hostile()
def open_files() -> str:
    files = []
    try:
        for _ in range(100_000):
            files.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        return f"{len(files)} files, then errno {error.errno}"
    return f"{len(files)} files"


@hostile()
def read_variable(name: str) -> str:
    return os.environ.get(name, "not there")


# -- others ------------------------------------------------------------------------------------------------------------


@hostile()
def connect_tcp(port: int) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        return "connected"


@hostile()
def send_udp(port: int) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.sendto(b"leak", ("127.0.0.1", port))
    return "sent"


@hostile()
def connect_unix(address: str) -> str:
    """`address`: a path, or a name that begins with "@" for one in the abstract namespace."""
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(f"\0{address[1:]}" if address.startswith("@") else address)
    return "connected"


@hostile()
def signal_process(pid: int) -> str:
    os.kill(pid, signal.SIGURG)  # which is ignored by whoever does not ask for it
    return "signalled"


@hostile()
def trace_process(pid: int) -> str:
    answer = _LIBC.ptrace(ctypes.c_long(0x4206), ctypes.c_long(pid), None, None)  # PTRACE_SEIZE stops nobody
    return "traced" if answer == 0 else f"errno {ctypes.get_errno()}"


@hostile()
def read_memory(pid: int) -> str:
    with open(f"/proc/{pid}/environ", "rb") as file:
        return repr(file.read(100))


@hostile()
def run_program() -> str:
    return subprocess.run(["/bin/echo", "ran"], capture_output=True, text=True, check=True).stdout


@hostile()
def become_another_program() -> None:
    os.execv("/bin/echo", ["echo", "ran"])


@hostile()
def run_own_program() -> str:
    with open("own", "wb") as file:
        file.write(b"#!/bin/echo ran\n")
    os.chmod("own", 0o755)
    return subprocess.run(["./own"], capture_output=True, text=True, check=True).stdout


@hostile()
def become_root() -> str:
    os.setuid(0)
    return "root"


@hostile()
def make_namespace() -> str:
    return _system_call(272, ctypes.c_int(0x10000000))


@hostile()
def memory_file() -> str:
    return _system_call(319, b"hidden", ctypes.c_uint(0))


@hostile()
def io_uring() -> str:
    return _system_call(425, ctypes.c_uint(8), ctypes.create_string_buffer(struct.calcsize("30I")))


# -- answers -----------------------------------------------------------------------------------------------------------


@hostile()
def print_much() -> str:
    for _ in range(5):
        print("x" * (1 << 20))
        print("y" * (1 << 20), file=sys.stderr)
    return "printed"


@hostile(sandbox=Sandbox(memory_mb=1024))
def return_much() -> str:
    return "x" * (50 << 20)


@hostile()
def close_everything() -> str:
    os.close(1)
    os.close(2)
    return "still here"


@hostile()
def close_the_answer() -> str:
    os.closerange(0, 256)
    return "never seen"


@hostile()
def answer_nonsense() -> None:
    os.write(3, b"[" * 100_000)
    os._exit(0)


@hostile()
def answer_another_shape() -> None:
    os.write(3, b'{"hello": "world"}')
    os._exit(0)


@hostile()
def leave_at_once() -> None:
    print("before I go")
    sys.stdout.flush()
    os._exit(3)


@hostile()
def crash() -> None:
    ctypes.string_at(0)


@hostile()
def leave() -> None:
    sys.exit("bye")


@hostile()
def huge_error() -> None:
    def deeper(text: str) -> None:
        deeper(text)

    try:
        deeper("x")
    except RecursionError as error:
        raise ValueError("x" * (10 << 20)) from error


@hostile()
def endless_name() -> None:
    class Endless(Exception):
        def __str__(self) -> str:
            raise self

    raise Endless


@hostile()
def not_json() -> object:
    return object()


@hostile()
def a_circle() -> list[Any]:
    circle: list[Any] = []
    circle.append(circle)
    return circle
