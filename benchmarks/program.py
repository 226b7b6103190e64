"""How the programs of this folder end: with status 2 and a line for what a user can put right, or by a signal."""

import signal

from utils.system.errors import UserError, refuse

LATER = (signal.SIGTERM, signal.SIGHUP)


def status_of(program, work):
    """Calls `work` without arguments for a program of that name; returns the exit status."""
    for number in LATER:
        # Under nohup, or in the background of a script, a signal may be one to ignore.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    try:
        work()
    except UserError as error:
        return refuse(program, error)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0
