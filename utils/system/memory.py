"""How much memory there is, and whether what is asked for can fit at all: known before it is taken.

The estimates are lower bounds: what they refuse fits on no account. What passes may still be too much.
"""

import contextlib
import functools
import operator
import os
import resource

from utils.system.errors import UnusableFile, UserError, about

GIGABYTE = 1e9
CGROUPS = "/sys/fs/cgroup"
# Bytes of a number.
FLOAT, HALF_FLOAT = 4, 2
# What the smallest training takes with one thread, on Linux and x86-64: 2.3 GB on both runtimes. TensorFlow itself ends
# the process, or waits for ever, where a thread or a library finds no room.
LEAST_ADDRESS_SPACE = 2.3e9


def limit():
    """Bytes that this process may have: the least of the machine's memory and of what its control groups and its
    resource limits allow."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = [resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
    return min([machine] + [one for one in limits if one != resource.RLIM_INFINITY] + _cgroup_limits())


def _cgroup_limits(listing="/proc/self/cgroup", root=CGROUPS):
    """The limits of the control groups that ``listing`` names, and of those around them, as far as they are told."""
    try:
        with open(listing, encoding="utf-8", errors="surrogateescape") as file:
            groups = [line.rstrip("\n").split(":", 2) for line in file]
    except OSError:
        return []
    found = []
    for _, controllers, path in (group for group in groups if len(group) == 3):
        if not controllers:
            folder, name = root, "memory.max"
        elif "memory" in controllers.split(","):
            folder, name = os.path.join(root, "memory"), "memory.limit_in_bytes"
        else:
            continue
        parts = [part for part in path.split("/") if part]
        # In a container the path may be the one outside of it, of which only the root is there.
        for depth in range(len(parts) + 1):
            found += _number_in(os.path.join(folder, *parts[:depth] + [name]))
    return found


def _number_in(path):
    try:
        with open(path, encoding="ascii") as file:
            return [int(file.read())]
    except (OSError, ValueError):
        # No such group here, or "max".
        return []


def refuse_small_address_space():
    """Raise UserError where the process may not have the address space that TensorFlow needs."""
    allowed = resource.getrlimit(resource.RLIMIT_AS)[0]
    if allowed != resource.RLIM_INFINITY and allowed < LEAST_ADDRESS_SPACE:
        raise UserError(
            "this process may use {:.1f} GB of address space (ulimit -v), and TensorFlow needs at least {:.1f} GB: "
            "allow it more".format(allowed / GIGABYTE, LEAST_ADDRESS_SPACE / GIGABYTE)
        )


def refuse_beyond(needed, what, advice, kind=UserError):
    """Raises a `kind` of UserError, "<what> at least so much memory, and there is so much: <advice>", where so many
    bytes cannot fit."""
    there_is = limit()
    if needed > there_is:
        raise kind(
            "{} at least {:.1f} GB of memory, and there are {:.1f} GB: {}".format(
                what, needed / GIGABYTE, there_is / GIGABYTE, advice
            )
        )


@contextlib.contextmanager
def running_out_over(path):
    """Raises UnusableFile for what libraries raise where memory runs out within, over a file."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # SimpleITK's errors are all of one class.
        if isinstance(error, RuntimeError) and not any(word in str(error) for word in ("memory", "bad_alloc")):
            raise
        raise UnusableFile(
            "{}: takes more memory than there is: leave it out, or use a machine that has more".format(path)
        ) from error


@contextlib.contextmanager
def trouble_over(path, raised=RuntimeError):
    """The same, and for all else that SimpleITK raises within, or for other errors than its RuntimeError."""
    with about(path, raised), running_out_over(path):
        yield


def voxels(shape):
    """The number of voxels of a shape, exact however large it is."""
    return functools.reduce(operator.mul, (int(size) for size in shape), 1)


def by_axis(shape):
    """A shape as people write it: 512 x 512 x 300."""
    return " x ".join(str(size) for size in shape)
