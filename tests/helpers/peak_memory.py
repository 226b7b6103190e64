"""Runs main.py and tells its peak of resident memory, which the system counts for each process (Linux)."""

import os
import subprocess
import sys
from typing import NamedTuple

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
STATUS = "/proc/self/status"
KNOWN = os.path.exists(STATUS)


class Measured(NamedTuple):
    """A run: its exit status, what it wrote to stderr, and its peak of resident memory in MB (10**6 bytes)."""

    status: int
    errors: str
    peak: float


def measured(*arguments):
    """Run main.py with ``arguments`` in a process of its own; return a Measured."""
    reader, writer = os.pipe()
    with os.fdopen(reader) as told:
        command = [sys.executable, os.path.abspath(__file__), str(writer)] + [str(argument) for argument in arguments]
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, universal_newlines=True, pass_fds=[writer]
        )
        os.close(writer)
        errors = process.communicate()[1]
        return Measured(process.returncode, errors, float(told.read()))


def _peak():
    # Not getrusage: that counts what the process was before it became this program, too.
    with open(STATUS) as status:
        return next(int(line.split()[1]) * 1024 / 1e6 for line in status if line.startswith("VmHWM:"))


def _run(told, arguments):
    sys.path.insert(0, PROJECT)
    from main import main

    try:
        return main(arguments)
    finally:
        with os.fdopen(told, "w") as file:
            file.write("{:.1f}".format(_peak()))


if __name__ == "__main__":
    sys.exit(_run(int(sys.argv[1]), sys.argv[2:]))
