"""An environment with stand-ins for what starts workers, where nothing else is to be found."""

import os
import resource
import shutil
import subprocess
import sys
from typing import List, NamedTuple

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MAIN = os.path.join(PROJECT, "main.py")


def run_script(name, *arguments, limit=None, environment=None):
    """Run an example script with this interpreter, to success; `limit`: bytes of memory it may ask for.

    `environment`: more variables.
    """
    command = [sys.executable, os.path.join(PROJECT, "examples", name)]
    finished = subprocess.run(
        command + [str(argument) for argument in arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        env=dict(os.environ, **(environment or {})),
        preexec_fn=None if limit is None else lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    assert finished.returncode == 0, finished.stderr
    return finished


class Ended(NamedTuple):
    """What a run of a script came to: its exit status, and what it wrote."""

    status: int
    output: str
    errors: str

    @property
    def command(self) -> List[str]:
        """The command line that it printed first."""
        return self.output.splitlines()[0].split()


class Machine:
    """This interpreter with its packages in a folder of its own, whose programs are those that are put there."""

    def __init__(self, folder):
        self.bin = os.path.join(str(folder), "bin")
        os.makedirs(self.bin)
        os.symlink(sys.executable, os.path.join(self.bin, "python"))
        settings = os.path.join(sys.prefix, "pyvenv.cfg")
        if os.path.exists(settings):
            shutil.copy(settings, str(folder))
            os.symlink(os.path.join(sys.prefix, "lib"), os.path.join(str(folder), "lib"))
        self.environment = {
            "PATH": self.bin,
            "LD_LIBRARY_PATH": "libraries",
            "TF_VAR_SECRET": "kept",
            "NCCL_DEBUG": "WARN",
        }
        self.environment["TF_XLA_FLAGS"] = "--tf_xla_clustering_debug"

    def install(self, name, script):
        """Put a shell script there."""
        path = os.path.join(self.bin, name)
        with open(path, "w") as file:
            file.write("#!/bin/sh\n" + script + "\n")
        os.chmod(path, 0o755)
        return path

    def command(self, script, *arguments):
        """The command line of an example script, by its name."""
        path = os.path.join(PROJECT, "examples", script)
        return [os.path.join(self.bin, "python"), path] + [str(argument) for argument in arguments]

    def start(self, script, *arguments):
        """Start an example script; return its Popen."""
        return subprocess.Popen(
            self.command(script, *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
            env=self.environment,
        )

    def run(self, script, *arguments):
        """Run an example script to its end; return an Ended."""
        process = self.start(script, *arguments)
        output, errors = process.communicate()
        return Ended(process.returncode, output, errors)


def process_of_rank(rank, model_dir):
    """The id of the running main.py of this model's folder whose launcher gave it this rank, or None."""
    wanted = "OMPI_COMM_WORLD_RANK={}".format(rank).encode(), "HOROVOD_RANK={}".format(rank).encode()
    for number in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/{}/environ".format(number), "rb") as file:
                environment = file.read().split(b"\0")
            with open("/proc/{}/cmdline".format(number), "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            continue
        if words[1:2] == [MAIN.encode()] and set(wanted) & set(environment) and str(model_dir).encode() in words:
            return int(number)
    return None
