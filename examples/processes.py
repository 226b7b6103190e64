"""Running a command so that it gets the signals sent to this program, and does not outlive it.

A launcher that is asked to end gives its workers one second, or five. So the first signal goes to the workers it has
started on this machine, which agree with all others on a step to stop after, save a checkpoint and end; the launcher
then ends too. What comes after goes to the launcher as well.
"""

import ctypes
import os
import shlex
import signal
import subprocess
import time

from utils.system.errors import UserError
from utils.system.interruption import SECONDS_OF_ONE_SIGNAL

FORWARDED_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
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
        worker: the program whose processes, started by the command, are its workers: the path that follows the
            interpreter in their command lines. None where the command starts none.

    Raises UserError where the command cannot be started.
    """

    def __init__(self, command, worker=None, **options):
        self.received = None
        self.worker = worker
        self._received_at = 0.0
        # The signal that the workers got in place of the command.
        self._told_workers = None
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

    @property
    def errors(self):
        """The command's standard error, a binary stream, where `options` ask for one."""
        return self._process.stderr

    def wait(self, timeout=None):
        """Returns the exit status, 128 + n where signal n ended the command; None after `timeout` seconds."""
        try:
            status = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None
        if self._told_workers and status:
            # Launchers have a status of their own for workers that did not end with 0.
            return 128 + self._told_workers
        return 128 - status if status < 0 else status

    def _pass_on(self, number, frame):
        if number == self.received and time.monotonic() - self._received_at < SECONDS_OF_ONE_SIGNAL:
            # Sent to this process and to its group as well.
            return
        is_first = self.received is None
        self.received, self._received_at = number, time.monotonic()
        workers = self._workers() if self.worker else []
        for worker in workers:
            _signal(worker, number)
        if is_first and workers:
            self._told_workers = number
        else:
            self._process.send_signal(number)

    def _workers(self):
        """The process ids of the workers on this machine."""
        return [number for number in descendants(self._process.pid) if _program(number) == self.worker]

    def _stop(self):
        if self._process.poll() is None:
            self._process.terminate()
            if self.wait(SECONDS_TO_STOP) is None:
                self._process.kill()
                self._process.wait()


def descendants(process):
    """Returns the ids of the processes that a process has started, of those that these have started, and so on."""
    children = _children()
    found, waiting = [], [process]
    while waiting:
        started = children.get(waiting.pop(), [])
        waiting += started
        found += started
    return found


def _signal(number, what):
    try:
        os.kill(number, what)
    except ProcessLookupError:
        # It has ended in the meantime.
        pass


def _children():
    """{process id: ids of the processes it has started}, of all processes that run."""
    children = {}
    for number in filter(str.isdigit, os.listdir("/proc")):
        # The name of the program, in parentheses, may hold anything.
        fields = _read("/proc/{}/stat".format(number)).rpartition(b")")[2].split()
        if len(fields) > 1:
            children.setdefault(int(fields[1]), []).append(int(number))
    return children


def _program(number):
    """The second word of a process's command line, as text; "" where there is none."""
    words = _read("/proc/{}/cmdline".format(number)).split(b"\0")
    return os.fsdecode(words[1]) if len(words) > 1 else ""


def _read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        # The process has ended in the meantime.
        return b""
