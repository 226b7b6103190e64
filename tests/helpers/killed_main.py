"""main.py, whose process gets a signal from itself at one of the moments that matter.

    python tests/helpers/killed_main.py POINT NUMBER SIGNAL ARGUMENTS...

sends SIGNAL (a number) at the call NUMBER (from 1) of what POINT names; ARGUMENTS are main.py's. Standard error then
tells `signalled` and the time by time.monotonic().
"""

import functools
import importlib
import itertools
import os
import sys
import threading
import time

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

import main
from utils.system import environment, interruption

# What is called: module, object within it or "", function.
POINTS = {
    "rename": ("os", "", "replace"),
    "preprocess": ("utils.preprocessing.cache", "", "prepare_case"),
    "array": ("numpy", "lib.format", "write_array_header_1_0"),
    "step": ("utils.hooks.training_hook", "TrainingHook", "after_run"),
    "held_out": ("utils.hooks.evaluation_hook", "EvaluationHook", "_predict"),
    "save": ("utils.model_dir.checkpoints", "tf.train.Saver", "save"),
    "saved": ("utils.model_dir.checkpoints", "", "write_list"),
    "mask": ("utils.imaging.geometry", "", "restore_slab"),
    "compress": ("gzip", "GzipFile", "write"),
    "table": ("utils.evaluation.tables", "", "write_json"),
    "predicted": ("utils.inference.masks", "MaskWriter", "write"),
}


def arm(point, number, what):
    """Make a call of what a point names send a signal."""
    module, path, name = POINTS[point]
    owner = functools.reduce(getattr, path.split(".") if path else [], importlib.import_module(module))
    function, calls = getattr(owner, name), itertools.count(1)

    @functools.wraps(function)
    def counted(*arguments, **options):
        if next(calls) == number:
            sys.stderr.write("signalled {}\n".format(time.monotonic()))
            sys.stderr.flush()
            if point == "array":
                # Its beginning is in the file.
                function(*arguments)
                arguments[0].write(bytes(int(np.prod(arguments[1]["shape"]) // 2)))
                arguments[0].flush()
            if point == "save":
                # While TensorFlow writes.
                threading.Timer(0.002, os.kill, (os.getpid(), what)).start()
            else:
                os.kill(os.getpid(), what)
        return function(*arguments, **options)

    setattr(owner, name, counted)


def run(point, number, what, *arguments):
    """Run main.py so; returns its status."""
    configure = environment.configure

    def configure_and_arm(settings):
        # Not before: what TensorFlow reads from the environment must be there when it is loaded.
        configure(settings)
        arm(point, int(number), int(what))

    environment.configure = configure_and_arm
    return main.main(list(arguments))


if __name__ == "__main__":
    interruption.leave(run(*sys.argv[1:]))
