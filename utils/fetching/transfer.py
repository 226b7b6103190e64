"""Many bytes on their way to a disk: whether there is room, how far they have come, and what went wrong, in a line."""

import contextlib
import shutil

from utils.system.errors import UserError
from utils.system.progress import Progress

CHUNK_BYTES = 1 << 20
MEGABYTE = 10**6


@contextlib.contextmanager
def byte_progress(description, total, done=0):
    """Show progress in megabytes; gives the function to tell how many more bytes are done. `total` may be None."""
    with Progress((total or 0) // MEGABYTE, description, "MB", initial=done // MEGABYTE) as progress:

        def count(size):
            nonlocal done
            progress.update((done + size) // MEGABYTE - done // MEGABYTE)
            done += size

        yield count


def check_room(directory, needed):
    """Raise UserError where the disk of a folder (empty: the working directory) has less than so many bytes free."""
    free = shutil.disk_usage(directory or ".").free
    if needed > free:
        raise UserError(
            "{}: needs {:.1f} MB more and has {:.1f} MB free; make room or choose another --data_dir".format(
                directory or ".", needed / MEGABYTE, free / MEGABYTE
            )
        )


def one_line(error):
    """Return what an exception says, in one line."""
    return " ".join(str(error).split())
