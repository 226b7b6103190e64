#!/usr/bin/env python3
"""Trains V-Net or U-Net on a task of the Medical Segmentation Decathlon form, evaluates it, and predicts with it."""

from utils.system import interruption, startup
from utils.system.errors import UserError, refuse

PROGRAM = "main.py"


def main(argv=None, program=PROGRAM, run=None):
    """Flags -> params -> Runner; returns the exit status. ``run`` may stand in for that of ``utils/runner.py``."""
    startup.open_streams()
    with interruption.handled(program):
        try:
            _run(argv, run)
        except BaseException as error:
            # What is told from here on is not to be cut short.
            interruption.put_off(True)
            interrupt = interruption.behind(error)
            if interrupt is not None:
                return interruption.report(program, interrupt)
            told = startup.in_one_line(error)
            if not isinstance(told, UserError):
                raise
            return refuse(program, told)
    return 0


def _run(argv, run):
    # Here, so that a signal that comes while they load ends in one line too.
    from utils import job, params
    from utils.config.modes import CHECK, PLAN
    from utils.inspection import check
    from utils.model_dir import lock as run_lock
    from utils.planning import plan
    from utils.system import environment, launch, memory

    launch.refuse_leftovers()
    settings = params.from_command_line(argv)
    if settings["exec_mode"] == CHECK:
        check.run(settings)
        return
    if settings["exec_mode"] == PLAN:
        plan.run(settings, argv)
        return
    memory.refuse_small_address_space()
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
