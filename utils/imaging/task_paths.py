"""The paths that a task names: they must lead to files within its folder, and what is told of those that do not."""

import os
import re

from utils.system.errors import UserError
from utils.system.printable import is_printable

# What a shell or a browser would make a path of.
UNEXPANDED = re.compile(r"~|\$|[A-Za-z][A-Za-z0-9+.-]+://")


def inside(name, data_dir, source):
    """Return the path of a file that dataset.json names, which must lie within the task's folder, also behind links.

    ``source`` is where it is named, for the UserError of one that does not, or that is no name of a file.
    """
    if not name or not is_printable(name):
        raise UserError("{}: {} is not a file name: correct it".format(source, ascii(name)))
    # As it is used: where a link is on the way, "link/../scan" and "scan" are two files. An absolute path stays one.
    used = os.path.join(data_dir, os.path.normpath(name))
    problem = None if os.path.lexists(used) else _misspelling(name)
    if problem:
        raise UserError("{}: {}: {}".format(source, shown(repr(name)), problem))
    refuse_leading_out(used, data_dir, source, shown(name))
    return used


def _misspelling(name):
    """What is wrong with a name by which no file is there, and what to do, where the name alone tells that."""
    if "\\" in name:
        return "has back-slashes, as on Windows: write / instead, in all paths of the file"
    if name != name.strip():
        return "begins or ends with a space: take that away"
    if UNEXPANDED.match(name):
        return "is taken as it stands: name the file by its path from the task's folder"
    return None


def refuse_leading_out(used, data_dir, source, told):
    """Raises UserError for a path out of the task's folder, which says where a symbolic link leads that is to blame."""
    if not _is_outside(used, data_dir):
        return
    link = _link_out(used, data_dir)
    why = ": name files within it"
    if link is not None:
        why = ": {} is a symbolic link to {}: put what it leads to in its place".format(
            shown(link), shown(os.path.realpath(link))
        )
    raise UserError("{}: {} leads out of the task's folder{}".format(source, told, why))


def _link_out(used, data_dir):
    """The symbolic link within the task's folder by which a path leaves it; None for one that was never there."""
    while not (
        os.path.islink(used) and _is_outside(used, data_dir) and not _is_outside(os.path.dirname(used), data_dir)
    ):
        used, before = os.path.dirname(used), used
        if used == before:
            return None
    return used


def _is_outside(used, data_dir):
    folder, resolved = os.path.realpath(data_dir), os.path.realpath(used)
    return os.path.commonpath([folder, resolved]) != folder


def with_neighbour(path):
    """A missing file as it is told, with the one beside it that its name may mean: other case, other extension."""
    folder, name = os.path.split(path)
    try:
        names = sorted(other for other in os.listdir(folder or ".") if _likened(other) == _likened(name))
    except OSError:
        names = []
    return shown(path) + (" (there is {})".format(shown(names[0])) if names else "")


def _likened(name):
    name = name.strip().lower()
    return name[: -len(".gz")] if name.endswith(".gz") else name


def is_same_file(path, other):
    """Tell whether two paths lead to one file, which need not be there."""
    return os.path.realpath(path) == os.path.realpath(other)


def shown(value):
    """A value as text that a terminal shows."""
    text = str(value)
    return text if is_printable(text) else ascii(text)
