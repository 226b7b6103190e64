"""Disks that fill up: a limit on the size of files, which every user may set, and a small disk of one's own."""

import contextlib
import resource
import shutil
import subprocess

import pytest

# Within it the disk is there; it goes with the last process that sees it, so what is on it is copied at the end.
_SMALL_DISK = """
mount -t tmpfs -o size="$1" none "$2" || exit 99
disk=$2 copy=$3
shift 3
"$@"
status=$?
cp -a "$disk/." "$copy"
exit $status
"""


@contextlib.contextmanager
def no_file_above(size):
    """Within it, what this process writes beyond the first `size` bytes of a file is refused: "File too large"."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def run_on_small_disk(command, size, disk, copy, **options):
    """Run a command to which the folder `disk` is a disk of its own of `size` ("2m"); `copy` then has what is on it.

    Returns the subprocess.CompletedProcess. Skips the test where this user can have no such disk.
    """
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare, which gives a process a disk of its own")
    # As root of a namespace of users of its own, so that it takes no rights.
    isolated = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run(isolated + ["mount", "-t", "tmpfs", "none", str(disk)], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("this system gives no process a disk of its own")
    words = isolated + ["sh", "-c", _SMALL_DISK, "sh", size, str(disk), str(copy)] + list(command)
    return subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
