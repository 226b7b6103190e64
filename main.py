#!/usr/bin/env python3
"""Trains V-Net or U-Net on a task of the Medical Segmentation Decathlon form, evaluates it, and predicts with it."""

from utils import interruption
from utils.errors import UserError, refuse

PROGRAM = "main.py"


def main(argv=None, program=PROGRAM, run=None):
    """Flags -> params -> Runner; returns the exit status. ``run`` may stand in for that of ``utils/runner.py``."""
    with interruption.handled(program):
        try:
            _run(argv, run)
        except BaseException as error:
            # What is told from here on is not to be cut short.
            interruption.put_off(True)
            interrupt = interruption.behind(error)
            if interrupt is not None:
                return interruption.report(program, interrupt)
            if not isinstance(error, UserError):
                raise
            return refuse(program, error)
    return 0


def _run(argv, run):
    # Here, so that a signal that comes while they load ends in one line too.
    from utils import check, environment, job, launch, params, run_lock
    from utils.modes import CHECK, PLAN
    from utils.planning import plan

    settings = params.from_command_line(argv)
    if settings["exec_mode"] == CHECK:
        check.run(settings)
        return
    if settings["exec_mode"] == PLAN:
        plan.run(settings, argv)
        return
    cases = job.plan(settings)
    environment.configure(settings)
    with run_lock.held(settings, argv):
        if launch.is_first() and params.from_command_line(argv) != settings:
            told = "--model_dir {}: another run has changed it meanwhile: start again"
            raise UserError(told.format(settings["model_dir"]))
        # TensorFlow loads here: after flags and task are known to be good, and its environment is set.
        if run is None:
            from utils.runner import run
        run(settings, cases)


if __name__ == "__main__":
    interruption.leave(main())
