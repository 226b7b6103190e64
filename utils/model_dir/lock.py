"""One run at a time in a model's folder: a lock that ends with its process, however that one ends."""

import contextlib
import errno
import fcntl
import json
import os
import platform
import time

from utils.model_dir.paths import model_folders
from utils.model_dir.provenance import command_line
from utils.system import launch
from utils.system.errors import UserError
from utils.system.progress import say

FILE_NAME = ".lock"
HELD_BY_ANOTHER = (errno.EAGAIN, errno.EACCES)
# What file systems say that have no locks.
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)
LONGEST_COMMAND = 200


@contextlib.contextmanager
def held(params, argv=None):
    """Holds the folders that a run writes into, the folds' among them; other runs there are refused meanwhile.

    It is the first worker that holds them, for all.

    Args:
        params: the validated params dict of ``utils.params``.
        argv: the command line, a list of str; sys.argv[1:] by default.

    Raises:
        UserError: another run holds a folder, it cannot be written, or it was deleted before the end.
    """
    with contextlib.ExitStack() as folders:
        for folder in _folders(params) if launch.is_first() else ():
            folders.enter_context(_held(params["model_dir"], folder, argv))
        yield


def _folders(params):
    model_dir = params["model_dir"]
    if params["benchmark"]:
        # Of the model it needs nothing; but its log and its copies may lie there.
        writes = model_dir in (params["log_dir"], os.path.dirname(params["cache_dir"]))
        return [model_dir] if writes else []
    return [model_dir] + (model_folders(model_dir, params["folds"]) if params["folds"] else [])


@contextlib.contextmanager
def _held(model_dir, folder, argv):
    path = os.path.join(folder, FILE_NAME)
    descriptor, found = _acquired(model_dir, folder, path), _identity(folder)
    try:
        _describe(descriptor, argv)
        yield
    except Exception as error:
        if _identity(folder) != found:
            told = ": {}".format(error) if isinstance(error, UserError) else ""
            raise UserError(_gone(folder) + told) from error
        raise
    finally:
        if descriptor is not None:
            with contextlib.suppress(OSError):
                if _identity(path) == _identity(descriptor):
                    os.remove(path)
            os.close(descriptor)
    if _identity(folder) != found:
        raise UserError(_gone(folder))


def _acquired(model_dir, folder, path):
    """The descriptor of the locked file; None where there are no locks."""
    while True:
        try:
            os.makedirs(folder, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            raise UserError(
                "--model_dir {}: {} cannot be written ({}): every mode writes there: make room or get the right to, or "
                "use a copy of it elsewhere".format(model_dir, path, error.strerror)
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The one before may have removed the file, and another one made it anew, since it was opened.
            if _identity(path) == _identity(descriptor):
                return descriptor
            os.close(descriptor)
        except OSError as error:
            os.close(descriptor)
            if error.errno in HELD_BY_ANOTHER:
                raise UserError(
                    "--model_dir {}: {} is in use by another run{}: wait for its end, or use another "
                    "--model_dir".format(model_dir, folder, _holder(path))
                ) from error
            if error.errno in NO_LOCKS:
                say("{}: this file system has no locks: see to it that no other run uses the folder".format(folder))
                return None
            raise UserError(
                "--model_dir {}: {} cannot be locked ({})".format(model_dir, path, error.strerror)
            ) from error


def _identity(path):
    """What tells a file or folder, by path or descriptor, from every other; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _gone(folder):
    return (
        "--model_dir {}: was deleted, moved or replaced while this run was writing there: put it back, or start "
        "again".format(folder)
    )


def _describe(descriptor, argv):
    if descriptor is None:
        return
    holder = {
        "host": platform.node(),
        "process": os.getpid(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "command": command_line(argv),
    }
    # On a full disk the lock holds all the same.
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode("ascii"), 0)


def _holder(path):
    """What the file says of the one who holds it, in words; nothing where it says nothing."""
    try:
        with open(path, encoding="utf-8") as file:
            holder = json.load(file)
        told = " (process {process} on {host} since {since}: {command})".format(**holder)
    except (OSError, ValueError, TypeError, KeyError):
        return ""
    told = "".join(letter if letter.isprintable() else "?" for letter in told)
    return told if len(told) <= LONGEST_COMMAND else told[:LONGEST_COMMAND] + " ...)"
