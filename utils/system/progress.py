"""How far a long piece of work has come: a bar on a terminal, a line now and then elsewhere."""

import contextlib
import os
import shutil
import sys
import time

from tqdm import tqdm

from utils.system.errors import UserError
from utils.system.printable import printable

SECONDS_BETWEEN_LINES = 10.0


# What the lines of the work at hand begin with.
_heading = ""


class _Bar(tqdm):
    # No watching thread: processes are forked while bars are up.
    monitor_interval = 0


@contextlib.contextmanager
def headed(heading):
    """Lets all lines and bars within begin with `heading`."""
    global _heading
    before, _heading = _heading, heading
    try:
        yield
    finally:
        _heading = before


def say(text):
    """Prints text on standard output: above the bar, if there is one.

    Control characters, and what the output's encoding lacks, are shown by their codes, as names of structures and files
    may hold anything.
    """
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    text = printable(_heading + text, lines=True)
    try:
        _Bar.write(text.encode(encoding, "backslashreplace").decode(encoding), file=sys.stdout)
        sys.stdout.flush()
    except OSError as error:
        raise OSError(error.errno, error.strerror, "standard output") from error


def say_lines(lines):
    """Prints lines; a reader that has seen enough, such as `head`, may leave. UserError where that is impossible."""
    try:
        for line in lines:
            say(line)
    except BrokenPipeError:
        # What is left in the buffer must go somewhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        raise UserError("standard output: cannot be written ({})".format(error.strerror)) from error


class Progress:
    """Context manager that shows how much of `total` is done, how fast, and how long the rest will take.

        with Progress(total=1872, description="training", unit="images", initial=468) as progress:
            progress.update(2, loss=0.123)

    On a terminal that is a bar; elsewhere (a file, a pipe, a worker of mpirun) a line with the time of day at
    most every ten seconds, and one at the end.

    Args:
        total: how many units there are in all.
        description: what is being done.
        unit: what is counted, in the plural.
        initial: how many units were done before, in an earlier run.
        stream: where to write; standard error by default.
        clock: function () -> seconds.
    """

    def __init__(self, total, description, unit, initial=0, stream=None, clock=time.monotonic):
        stream = sys.stderr if stream is None else stream
        form = _BarForm if stream.isatty() else _LineForm
        self._form = form(stream, total, _heading + description, unit, initial, clock)

    def __enter__(self):
        self._form.start()
        return self

    def __exit__(self, *_):
        self._form.end()

    def update(self, count=1, **values):
        """Tells that `count` more units are done. `values` are shown beside them, such as loss=0.123."""
        self._form.update(count, ", ".join("{} {:.4g}".format(name, value) for name, value in values.items()))


class Silence:
    """Stands in for a Progress where nothing is to be shown; takes what it takes."""

    def __init__(self, *_, **__):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def update(self, count=1, **values):
        """Shows nothing."""


class _BarForm:
    def __init__(self, stream, total, description, unit, initial, clock):
        self._stream = stream
        self._arguments = {
            "total": total,
            "desc": description + ":",
            "initial": initial,
            "bar_format": "{desc} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} "
            + unit
            + ", {rate_noinv_fmt}{postfix}, {remaining} left",
            "unit": " " + unit,
        }
        self._arguments.update(_size(stream))
        self._bar = None

    def start(self):
        # tqdm has no percentage of nothing.
        self._bar = _Bar(file=self._stream, disable=not self._arguments["total"], **self._arguments)

    def update(self, count, values):
        if values:
            self._bar.set_postfix_str(values, refresh=False)
        # tqdm has no percentage above a hundred.
        self._bar.total = max(self._bar.total, self._bar.n + count)
        self._bar.update(count)

    def end(self):
        self._bar.close()


def _size(stream):
    """Returns tqdm's arguments for the size of the terminal."""
    try:
        known = all(os.get_terminal_size(stream.fileno()))
    except OSError:
        known = False
    if known:
        return {"dynamic_ncols": True}
    # A pseudo-terminal may have no rows and columns, in which tqdm shows nothing.
    size = shutil.get_terminal_size()
    return {"ncols": size.columns, "nrows": size.lines}


class _LineForm:
    def __init__(self, stream, total, description, unit, initial, clock):
        self._stream, self._total, self._description, self._unit = stream, total, description, unit
        self._done = self._initial = self._done_at_line = initial
        self._clock = clock
        self._values = ""
        self._start = self._time_of_line = None

    def start(self):
        self._start = self._time_of_line = self._clock()

    def update(self, count, values):
        self._done += count
        self._values = values or self._values
        now = self._clock()
        if now - self._time_of_line >= SECONDS_BETWEEN_LINES and self._done < self._total:
            rate = (self._done - self._done_at_line) / (now - self._time_of_line)
            left = "{} left".format(_duration((self._total - self._done) / rate)) if rate else ""
            self._write_state(rate, left)
            self._time_of_line, self._done_at_line = now, self._done

    def end(self):
        seconds = self._clock() - self._start
        rate = (self._done - self._initial) / seconds if seconds else 0.0
        self._write_state(rate, "{} taken".format(_duration(seconds)))

    def _write_state(self, rate, duration):
        percentage = " ({:.0f}%)".format(100.0 * self._done / self._total) if self._total else ""
        parts = [
            "{}: {}/{} {}{}".format(self._description, self._done, self._total, self._unit, percentage),
            "{:.2f} {}/s".format(rate, self._unit),
            self._values,
            duration,
        ]
        line = time.strftime("%H:%M:%S ") + ", ".join(part for part in parts if part)
        # A full disk behind standard error takes nothing from the work.
        with contextlib.suppress(OSError):
            print(line, file=self._stream, flush=True)


def _duration(seconds):
    """Returns hours, minutes and seconds as the bar writes them: 1:02:03 or 02:03."""
    return tqdm.format_interval(seconds)
