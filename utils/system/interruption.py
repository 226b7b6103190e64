"""Signals that ask the program to end: Ctrl-C, SIGTERM, SIGHUP, and SIGUSR1, which launchers and batch systems pass on.

The first one raises ``Interrupted``, or is put off until training has saved a checkpoint; a second one ends the process
at once. Python runs a signal's handler between two steps of its own, and not while TensorFlow computes. So a thread,
which the system tells of signals at once, ends the process where that is asked again or does not end by itself.
"""

import contextlib
import os
import select
import signal
import sys
import threading
import time

from utils.system import launch

# What the program says that it was.
TOLD = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "hung up", signal.SIGUSR1: "stopped"}
# What has nothing to save ends by itself within this time, or is ended.
SECONDS_TO_END = 5.0
# Some programs send a signal to a process and to its group as well: that is one.
SECONDS_OF_ONE_SIGNAL = 0.5
_SECONDS_BETWEEN_LOOKS = 0.1


class Interrupted(KeyboardInterrupt):
    """The program is to end because of a signal.

    Args:
        number: the signal's.
        told: what was saved before, for the line that the user gets, or "".
    """

    def __init__(self, number, told=""):
        super().__init__(number, told)
        self.number = number
        self.told = told


class _Watch:
    """The handling of signals while ``handled`` is in force; ``number`` is that of the first signal, or None."""

    def __init__(self, program):
        self.number = None
        self._program = program
        # When the signal was put off last, by time.monotonic; infinity while it is.
        self._put_off = 0.0
        self._handlers = {}

    def start(self):
        self._read, self._write = os.pipe()
        for end in (self._read, self._write):
            os.set_blocking(end, False)
        self._other_pipe = signal.set_wakeup_fd(self._write)
        for number in TOLD:
            # Under nohup, or in the background of a script, a signal may be one to ignore.
            if signal.getsignal(number) != signal.SIG_IGN:
                self._handlers[number] = signal.signal(number, self._handle)
        self._thread = threading.Thread(target=self._watch, name="signals", daemon=True)
        self._thread.start()

    def stop(self):
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._other_pipe)
        os.close(self._write)
        self._thread.join()
        os.close(self._read)

    def put_off(self, is_so):
        self._put_off = float("inf") if is_so else time.monotonic()

    def _handle(self, number, frame):
        if self.number is None:
            self.number = number
            if self._put_off < float("inf"):
                raise Interrupted(number)

    def _watch(self):
        first, since = None, 0.0
        while True:
            wait = None if first is None else _SECONDS_BETWEEN_LOOKS
            ready = select.select([self._read], [], [], wait)[0]
            now = time.monotonic()
            received = os.read(self._read, 64) if ready else None
            if received == b"":
                return
            for number in filter(self._handlers.__contains__, received or ()):
                if first is None:
                    first, since = number, now
                elif now - since > SECONDS_OF_ONE_SIGNAL:
                    self._end(number)
            if first is not None and now - max(since, self._put_off) > SECONDS_TO_END:
                self._end(first)

    def _end(self, number):
        # Neither Python's own streams, which the main thread may hold, nor its clearing up.
        if launch.is_first():
            os.write(sys.__stderr__.fileno(), (_line(self._program, number, "ended at once") + "\n").encode())
        os._exit(128 + number)


_watch = None


@contextlib.contextmanager
def handled(program):
    """Let signals raise ``Interrupted`` within; ``program`` is what the lines to the user begin with.

    Outside the main thread, which alone may, nothing is changed.
    """
    global _watch
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _watch = _Watch(program)
    _watch.start()
    try:
        yield
    finally:
        ended, _watch = _watch, None
        ended.stop()


def asked():
    """The number of the signal that asked the program to end, or None."""
    return _watch and _watch.number


def put_off(is_so):
    """From now on, let a first signal only be noted, for ``asked`` (True), or raise ``Interrupted`` (False)."""
    if _watch is not None:
        _watch.put_off(is_so)


def behind(error):
    """The KeyboardInterrupt that an exception is, or that it became on its way through a library; or None."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error


def report(program, error):
    """Say in one line, on the first worker, that a KeyboardInterrupt ended the program; return the exit status."""
    number = getattr(error, "number", signal.SIGINT)
    if launch.is_first():
        print(_line(program, number, getattr(error, "told", "")), file=sys.stderr)
    return 128 + number


def leave(status):
    """End the process with a status; after a signal without the clearing up of libraries, which may take its time."""
    if status > 128:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _line(program, number, told):
    return "{}: {}{}".format(program, TOLD[number], ": " + told if told else "")
