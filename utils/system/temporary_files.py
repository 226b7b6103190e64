"""Names of unfinished files, which say whose they are, and the removal of what dead processes left of them."""

import contextlib
import hashlib
import os
import re
import shutil
import socket
import uuid

_NAME = re.compile(r"\.([0-9a-f]{8})-(\d+)-[0-9a-f]{12}\.")


def temporary_name(ending):
    """A new file name, with a dot at its beginning, of this process of this machine; ``ending`` begins with a dot."""
    return ".{}-{}-{}{}".format(_machine(), os.getpid(), uuid.uuid4().hex[:12], ending)


def remove_leftovers(*folders):
    """Remove the unfinished files and folders that processes of this machine left in folders when they were killed.

    To be called before this process writes: what bears its number is that of an earlier process, as in containers,
    whose numbers begin anew. What belongs to living processes and to other machines stays, as do folders that are
    missing or cannot be written.
    """
    for folder in folders:
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            match = _NAME.match(name)
            if match and match.group(1) == _machine() and not _lives(int(match.group(2))):
                _remove(os.path.join(folder, name))


def _machine():
    name = socket.gethostname()
    with contextlib.suppress(OSError):
        # Containers may share a host's name, and number processes each by itself.
        name += os.readlink("/proc/self/ns/pid")
    return hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=4).hexdigest()


def _lives(number):
    if number == os.getpid():
        return False
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _remove(path):
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
        return
    try:
        os.remove(path)
    except OSError:
        # Another process was quicker, or the folder is to be read alone: nothing depends on it.
        pass
