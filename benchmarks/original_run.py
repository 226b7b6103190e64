#!/usr/bin/env python3
"""Trains and evaluates the original's graph as main.py does this recipe's: the same flags, cases, files and scores.

What the graph does not have, such as clipping or mixed precision, stays out whatever the flags say.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from utils import environment, interruption, job, params, run_lock
from utils.errors import UserError, refuse

PROGRAM = "original_run.py"


def main(argv=None):
    """Trains and evaluates what a command line asks for; returns the exit status."""
    with interruption.handled(PROGRAM):
        try:
            settings = params.from_command_line(argv)
            cases = job.plan(settings)
            environment.configure(settings)
            with run_lock.held(settings, argv):
                run(settings, cases)
        except interruption.Interrupted as interrupt:
            return interruption.report(PROGRAM, interrupt)
        except UserError as error:
            return refuse(PROGRAM, error)
    return 0


def run(settings, cases):
    """Trains and evaluates; raises UserError as the runner does."""
    from benchmarks import original
    from utils.runner import Runner

    runner = Runner(settings, cases, model_fn=original.model_fn)
    runner.train()
    runner.evaluate()
    runner.finish()


if __name__ == "__main__":
    interruption.leave(main())
