"""How several runs of the tests share the files: each takes the next one that no other run has begun."""

import functools
import os

# These first, so that at the end no run is left with a long one alone.
LONGEST = (
    "test_several_workers.py",
    "test_end_to_end.py",
    "test_examples.py",
    "test_ten_tasks.py",
    "test_kills_of_workers.py",
    "test_model_fn.py",
    "test_kills.py",
    "test_cross_validation.py",
    "test_runner.py",
    "test_disk.py",
)


@functools.lru_cache(maxsize=None)
def taken(folder, name):
    """Whether the tests of a file are this run's, which takes them where no other one has."""
    try:
        os.mkdir(os.path.join(folder, name))
    except FileExistsError:
        return False
    return True


def place(name):
    """Where a file comes among the others: a number to sort by."""
    return LONGEST.index(name) if name in LONGEST else len(LONGEST)
