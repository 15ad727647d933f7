"""Become a program: the last step between the supervisor and what it runs.

The supervisor knows only this file and a path. The path names a sheet (JSON, mode 0600) with the
command, the folder, the account and the environment, so that no secret stands on a command line, in
the supervisor's configuration or in the environment of a neighbour. Before it turns into the
program it leaves a record of who it is, for `orphans` to recognise it after a crash.

Only the standard library is imported: it runs as `python -I -S launch.py SHEET`, in about 15 ms.
"""

import json
import os
import subprocess
import sys
from pathlib import Path


def executable_of(pid: int) -> str:
    """Return the path of the file that process `pid` executes, or "" if it is gone."""
    try:
        # A binary replaced on disk by an update keeps running under a marked name.
        return os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)")
    except FileNotFoundError:
        return "" if Path("/proc/self").exists() else _ps(pid, "comm=")
    except (PermissionError, ProcessLookupError):
        return ""


def birth_of(pid: int) -> str:
    """Return a mark that no other process with this pid ever had, or "" if there is none."""
    try:
        # Field 22 counts from boot, so the boot is part of the mark. The name in field 2 may hold
        # spaces and brackets; what follows the last bracket is plain.
        ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return "" if Path("/proc/self").exists() else _ps(pid, "lstart=")
    return f"{boot}/{ticks}"


def _ps(pid: int, column: str) -> str:
    answer = subprocess.run(  # noqa: S603  fixed command; pid is a number
        ["/bin/ps", "-o", column, "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return answer.stdout.strip()


def record_identity(record: Path, pid: int, executable: str) -> None:
    """Write who `pid` is, whole or not at all."""
    identity = {"pid": pid, "birth": birth_of(pid), "executable": executable}
    draft = record.with_suffix(".draft")
    draft.write_text(json.dumps(identity))
    draft.replace(record)


def become(sheet: Path) -> None:
    """Replace this process by the program that `sheet` describes; returns never."""
    order = json.loads(sheet.read_text())
    command: list[str] = order["command"]
    environment: dict[str, str] = order["environment"]
    record_identity(Path(order["record"]), os.getpid(), os.path.realpath(command[0]))
    if order["stdin"]:
        # Read by the program as its configuration; a pipe holds far more than we ever write.
        reading, writing = os.pipe()
        os.write(writing, order["stdin"].encode())
        os.close(writing)
        os.dup2(reading, 0)
        os.close(reading)
    os.umask(0o077)
    os.chdir(order["directory"])
    if order["account"] is not None:
        os.setgroups([])
        os.setgid(order["account"])
        os.setuid(order["account"])
    os.execve(command[0], command, environment)  # noqa: S606  no shell is wanted


if __name__ == "__main__":
    become(Path(sys.argv[1]))
