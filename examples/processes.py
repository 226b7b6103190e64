"""Running a command so that it gets the signals sent to this program, and does not outlive it."""

import ctypes
import shlex
import signal
import subprocess

from utils.errors import UserError

FORWARDED_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SECONDS_TO_STOP = 15
PR_SET_PDEATHSIG = 1


def in_words(command):
    """Returns a command line (list of str) as a shell would take it."""
    return " ".join(shlex.quote(word) for word in command)


class Process:
    """A context in which `command` (list of str) runs without a shell; `options` are those of subprocess.Popen.

    The command is in a session of its own, so that Ctrl-C, which goes to all processes of a terminal, reaches it once:
    by being passed on, as are the other signals that ask this program to end.

    Attributes:
        received: the number of the last signal that was passed on, or None.

    Raises UserError where the command cannot be started.
    """

    def __init__(self, command, **options):
        self.received = None
        self._command = command
        self._options = options
        self._handlers = {}

    def __enter__(self):
        # A signal that comes while the command starts waits until there is something to pass it on to.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED_SIGNALS)
        try:
            self._process = self._start(mask)
            for number in FORWARDED_SIGNALS:
                # Under nohup, or in the background of a script, a signal may be one to ignore.
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._handlers[number] = signal.signal(number, self._pass_on)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return self

    def _start(self, mask):
        libc = ctypes.CDLL(None)

        def prepare():
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            # However this program ends, its workers must not be left behind.
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

        try:
            return subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=prepare, **self._options
            )
        except OSError as error:
            raise UserError("{}: cannot be started: {}".format(self._command[0], error.strerror)) from error

    def __exit__(self, *exception):
        self._stop()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def wait(self, timeout=None):
        """Returns the exit status, 128 + n where signal n ended the command; None after `timeout` seconds."""
        try:
            status = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None
        return 128 - status if status < 0 else status

    def _pass_on(self, number, frame):
        self.received = number
        self._process.send_signal(number)

    def _stop(self):
        if self._process.poll() is None:
            self._process.terminate()
            if self.wait(SECONDS_TO_STOP) is None:
                self._process.kill()
                self._process.wait()
