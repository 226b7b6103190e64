"""Large scans take turns: each takes hundreds of megabytes while it is read, or while its mask is made."""

import contextlib
import threading

from utils.imaging.nifti_header import HeaderError, read_header

# As a scan of 256 x 256 x 256; the smaller ones are worked on in several threads at a time.
LARGE = 1 << 24
_turn = threading.Lock()


def turn_of(path):
    """``in_turn`` for the scan in a file."""
    try:
        return in_turn(read_header(path).dimensions)
    except (HeaderError, OSError):
        # Reading will tell what is wrong.
        return in_turn(())


@contextlib.contextmanager
def in_turn(dimensions):
    """Hold up this thread while a large scan is in the hands of another, if one of these dimensions is large itself."""
    voxels = 1
    for size in dimensions:
        voxels *= size
    if voxels < LARGE:
        yield
        return
    with _turn:
        yield
