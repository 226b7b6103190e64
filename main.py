#!/usr/bin/env python3
"""Trains V-Net on a task of the Medical Segmentation Decathlon form, evaluates it, and predicts masks with it."""

import sys

from utils import check, environment, job, params, run_lock
from utils.errors import UserError, comes_from_interrupt
from utils.modes import CHECK
from utils.printable import printable


def main(argv=None):
    """Flags -> params -> Runner; returns the exit status."""
    try:
        settings = params.from_command_line(argv)
        if settings["exec_mode"] == CHECK:
            check.run(settings)
            return 0
        cases = job.plan(settings)
        environment.configure(settings)
        with run_lock.held(settings, argv):
            # TensorFlow loads here: after flags and task are known to be good, and its environment is set.
            from utils.runner import run

            run(settings, cases)
    except UserError as error:
        print("main.py: error: {}".format(printable(error, lines=True)), file=sys.stderr)
        return 2
    except BaseException as error:
        if not comes_from_interrupt(error):
            raise
        print("main.py: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
