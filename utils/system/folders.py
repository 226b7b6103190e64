"""Folders that appear finished or not at all."""

import contextlib
import os
import shutil
import tempfile


@contextlib.contextmanager
def folder_on_success(directory):
    """Gives the path of an empty folder to fill; on success it becomes `directory`, on failure it is removed.

    The folder that holds `directory` is made where missing. Raises OSError where the system refuses, and where
    `directory` is there already and not empty.
    """
    parent, name = os.path.split(os.path.abspath(directory))
    os.makedirs(parent, exist_ok=True)
    workshop = tempfile.mkdtemp(prefix="." + name + ".", dir=parent)
    try:
        # One level further down, as what mkdtemp makes is closed to everyone else.
        unfinished = os.path.join(workshop, name)
        os.mkdir(unfinished)
        yield unfinished
        os.replace(unfinished, directory)
    finally:
        shutil.rmtree(workshop)
