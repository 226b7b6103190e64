"""Copies of the model that the tests share, parts run on them in this process, and what those leave behind."""

import os
import shutil

import main


def copy_of(model, parent):
    """A Model (of ``command_line``) in a folder that a test may change; without masks, so that those found are new."""
    copy = shutil.copytree(model.model_dir, str(parent / "moved"))
    shutil.rmtree(os.path.join(copy, "eval"))
    return model._replace(model_dir=copy)


def run(mode, model, *flags):
    """Run a part on a model in this process."""
    arguments = ["--exec_mode", mode, "--data_dir", model.data_dir, "--model_dir", model.model_dir] + list(flags)
    assert main.main(arguments + ["--threads", "1"]) == 0


def content(*path):
    """The bytes of a file."""
    with open(os.path.join(*path), "rb") as file:
        return file.read()


def masks(model_dir):
    """What is in the folder of masks: {file name: content}."""
    folder = os.path.join(model_dir, "eval")
    return {name: content(folder, name) for name in os.listdir(folder)}


def dice(mask, truth, value):
    """Dice of one structure in two masks [X, Y, Z]."""
    both = ((mask == value) & (truth == value)).sum()
    return 2 * both / ((mask == value).sum() + (truth == value).sum())
