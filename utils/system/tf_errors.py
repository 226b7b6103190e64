"""What stops a run and is nobody's bug, in one line: what TensorFlow and the system say of disks, memory, files."""

import errno
import os
import re

from utils.system.errors import UserError
from utils.tf_runtime import tf

# What the system says of a disk that takes nothing more, or is gone.
DISK = [
    os.strerror(code)
    for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ENODEV, errno.ESTALE)
]
_ON_DISK = re.compile("|".join(map(re.escape, DISK)))
# An error of Python's own within a graph: its text holds the traceback.
_OF_PYTHON = re.compile(r"\[Errno \d+\] ([^:\n]+): '([^'\n]+)'")
# A variable that params.json makes and the checkpoint lacks, or has in another shape.
_MISSING = re.compile(r"Key (\S+) not found in checkpoint|Tensor name \"(\S+)\" not found in checkpoint")
_OTHER_SHAPE = re.compile(r"shapes? of both tensors to match|shape in shape_and_slice spec|Shape mismatch")
# Where TensorFlow tells of its graph rather than of the trouble.
_ABOUT_THE_GRAPH = ("Graph execution", "Detected at", "Original stack", "Hint", "File ", "node ", "[[") + (
    "defined at",
    "errors imp",
)


def told(error, model_dir):
    """The UserError for a ``tf.errors.OpError`` or an OSError that stopped a run in ``model_dir``."""
    if isinstance(error, OSError):
        # A full disk, or one that went away.
        where = error.filename or "--model_dir {}".format(model_dir)
        advice = ": make room and start the same command again" if error.strerror in DISK else ""
        return UserError("{}: cannot go on: {}{}".format(where, error.strerror or error, advice))
    return UserError("--model_dir {}: {}".format(model_dir, _reason(error)))


def _reason(error):
    """What stopped TensorFlow: a full disk, a damaged or another checkpoint, a worker that is gone."""
    on_disk, of_python = _ON_DISK.search(error.message), _OF_PYTHON.search(error.message)
    if of_python:
        return "cannot go on: {}: {}".format(of_python.group(2), of_python.group(1))
    if on_disk:
        # A full disk exhausts a resource as well.
        return "cannot be written: {}: make room and start the same command again".format(on_disk.group())
    missing = _MISSING.search(error.message)
    if missing:
        return _another_network("{} is not in it".format(next(filter(None, missing.groups()))))
    if _OTHER_SHAPE.search(error.message):
        return _another_network(_first_line(error))
    if isinstance(error, tf.errors.ResourceExhaustedError):
        return "out of memory: use a smaller --batch_size or --input_shape"
    return "TensorFlow cannot go on: {}".format(_first_line(error))


def _another_network(difference):
    return (
        "the checkpoint is of another network than params.json describes ({}): put back the files that belong "
        "together, or use another --model_dir".format(difference)
    )


def _first_line(error):
    lines = [line.strip() for line in error.message.splitlines() if line.strip()]
    found = [line for line in lines if not line.startswith(_ABOUT_THE_GRAPH)]
    return (found or [type(error).__name__])[0]
