"""What a run is made with: versions, machine, command line, and the revision of the code."""

import os
import platform
import shlex
import subprocess
import sys

import numpy as np
import SimpleITK as sitk

from utils.system import hardware

# The release that CHANGELOG.md begins with, or the one that is to come.
VERSION = "0.2.0.dev0"
PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Nobody is to wait longer for a folder that answers slowly.
SECONDS_FOR_GIT = 10


def about_run(tensorflow, workers):
    """Returns a dict that JSON can hold of the run that this process does.

    Args:
        tensorflow: what ``utils.tf_runtime.version`` returns.
        workers: how many there are.

    Keys: "command", "versions" (dict: "project", "python", "tensorflow",
    "horovod", "numpy", "simpleitk"), "revision" (git's, with "-dirty" where files were changed, or None) and "host"
    (dict: "name", "system", "cores", "cpu", "instructions", "gpus"), "workers".
    """
    return {
        "command": command_line(),
        "versions": {
            "project": VERSION,
            "python": platform.python_version(),
            "tensorflow": tensorflow,
            "horovod": horovod_version(),
            "numpy": np.__version__,
            "simpleitk": sitk.Version.VersionString(),
        },
        "revision": revision(),
        "host": dict(name=platform.node(), system=platform.platform(), **hardware.describe()),
        "workers": workers,
    }


def command_line(argv=None):
    """Returns the command line of this process, or of a list of arguments, as a shell would take it."""
    words = sys.argv if argv is None else ["main.py"] + list(argv)
    return " ".join(shlex.quote(word) for word in [os.path.basename(words[0])] + words[1:])


def horovod_version():
    """Returns Horovod's version where it is loaded, which it is for several workers; else None."""
    return getattr(sys.modules.get("horovod"), "__version__", None)


def revision(folder=PROJECT):
    """Returns the git revision of the code in `folder`, the project's, with "-dirty" where its files were changed.

    None where it is no checkout, as in a copy that was installed within another repository, and where there is no git.
    """
    if os.path.realpath(_git(folder, "rev-parse", "--show-toplevel") or os.devnull) != os.path.realpath(folder):
        return None
    # A copy at the top of someone else's repository is none of theirs either, unless they keep it there.
    if not _git(folder, "ls-files", "main.py"):
        return None
    commit, changes = _git(folder, "rev-parse", "HEAD"), _git(folder, "status", "--porcelain", "--untracked-files=no")
    return commit and commit + ("-dirty" if changes else "")


def _git(folder, *arguments):
    """What git says, or None where it fails."""
    # Variables of git's own, as within its hooks, name another repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    # Nothing is written into the repository, and no program is started that its configuration names.
    command = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-C", folder] + list(arguments)
    try:
        said = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=SECONDS_FOR_GIT,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return os.fsdecode(said.stdout).strip() if said.returncode == 0 else None
