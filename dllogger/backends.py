"""Where events go: the terminal, or a file of JSON lines."""

import json
import os
import sys
from enum import IntEnum

from dllogger.values import plain

LINE_START = "DLLL "


class Verbosity(IntEnum):
    """How much a backend takes. An event reaches the backends whose verbosity is at least its own."""

    OFF = -1
    DEFAULT = 0
    VERBOSE = 1


class Backend:
    """What every backend offers; subclass it to send events elsewhere.

    `timestamp` is a datetime.datetime, `elapsedtime` the seconds since the logger was made.
    """

    def __init__(self, verbosity):
        self.verbosity = Verbosity(verbosity)

    def log(self, timestamp, elapsedtime, step, data):
        """Takes one event: `step` says where in the run (see Logger.log), `data` maps metric to value."""
        raise NotImplementedError

    def metadata(self, timestamp, elapsedtime, metric, metadata):
        """Takes what is known of `metric`: a dict, such as its unit."""
        raise NotImplementedError

    def flush(self):
        """Brings everything taken so far to its destination."""
        raise NotImplementedError


def default_step_format(step):
    """Returns "PARAMETER" and other texts as they are, an int or (epoch, step, ...) with its parts named."""
    if isinstance(step, str):
        return step
    parts = list(step) if isinstance(step, (list, tuple)) else [step]
    if not parts:
        return "Summary:"
    names = ["Epoch:", "Step:", "Substep:"] if len(parts) > 1 else ["Step:"]
    names += [""] * (len(parts) - len(names))
    return " ".join("{} {}".format(name, part).strip() for name, part in zip(names, parts))


def default_metric_format(metric, metadata, value):
    """Returns "metric : value unit", the value in the format its metadata gives, if any ("format": "{:.3f}")."""
    text = "undefined" if value is None else metadata.get("format", "{}").format(value)
    return " ".join(part for part in (metric, ":", text, metadata.get("unit") or "") if part)


def default_prefix_format(timestamp):
    """Returns what each line begins with."""
    return "DLL {} - ".format(timestamp)


class StdOutBackend(Backend):
    """Prints one line per event for people to read.

    Args:
        verbosity: a Verbosity.
        step_format: function of (step) -> str.
        metric_format: function of (metric name, its metadata dict, value) -> str.
        prefix_format: function of (datetime) -> str.
        write_line: function of (str) that puts a line on standard output.
    """

    def __init__(
        self,
        verbosity,
        step_format=default_step_format,
        metric_format=default_metric_format,
        prefix_format=default_prefix_format,
        write_line=print,
    ):
        super().__init__(verbosity)
        self._step_format = step_format
        self._metric_format = metric_format
        self._prefix_format = prefix_format
        self._write_line = write_line
        self._metadata = {}

    def log(self, timestamp, elapsedtime, step, data):
        metrics = [self._metric_format(name, self._metadata.get(name, {}), value) for name, value in data.items()]
        self._write_line(self._prefix_format(timestamp) + " ".join([self._step_format(step)] + metrics))
        self.flush()

    def metadata(self, timestamp, elapsedtime, metric, metadata):
        self._metadata.setdefault(metric, {}).update(metadata)

    def flush(self):
        sys.stdout.flush()


class JSONStreamBackend(Backend):
    """Writes one `DLLL {json}` line per event to a file; a line is in the file once log() has returned.

    Keys of an event: timestamp (seconds since 1970), datetime and elapsedtime (s), each as text; type
    ("LOG" or "METADATA"); then step and data, or metric and metadata. Non-finite numbers become null.

    Args:
        verbosity: a Verbosity.
        filename: path of the file; its folder is made if need be.
        append: whether events go after those in the file, or the file starts anew. Of a last line that a
            killed run left unfinished nothing can be read: it is dropped.

    Raises:
        OSError: the file, which it names, cannot be opened or, by log() and metadata(), written.
    """

    def __init__(self, verbosity, filename, append=False):
        super().__init__(verbosity)
        os.makedirs(os.path.dirname(os.path.abspath(str(filename))), exist_ok=True)
        if append and os.path.exists(str(filename)):
            _end_last_line(str(filename))
        # Unbuffered, so that what a full disk refuses does not come up again at every later write.
        self._file = open(str(filename), "ab" if append else "wb", buffering=0)
        self._unfinished = False

    def log(self, timestamp, elapsedtime, step, data):
        self._write(timestamp, elapsedtime, type="LOG", step=step, data=data)

    def metadata(self, timestamp, elapsedtime, metric, metadata):
        self._write(timestamp, elapsedtime, type="METADATA", metric=metric, metadata=metadata)

    def flush(self):
        """Does nothing, as nothing waits."""

    def close(self):
        """Closes the file; the backend takes no more events."""
        self._file.close()

    def _write(self, timestamp, elapsedtime, **content):
        event = {"timestamp": str(timestamp.timestamp()), "datetime": str(timestamp), "elapsedtime": str(elapsedtime)}
        event.update(plain(content))
        line = (LINE_START + json.dumps(event, allow_nan=False) + "\n").encode("utf-8")
        try:
            self._write_line(line)
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._file.name) from error

    def _write_line(self, line):
        if self._unfinished:
            # A part of a line is there, which must not spoil this one.
            line = b"\n" + line
        while line:
            self._unfinished = True
            line = line[self._file.write(line) :]
        self._unfinished = False


def _end_last_line(filename):
    """Makes the file end with a line's end: completes a whole event, cuts off a part of one."""
    position, last = 0, b""
    with open(filename, "rb+") as file:
        for line in file:
            position, last = position + len(last), line
        if not last or last.endswith(b"\n"):
            return
        start = LINE_START.encode()
        if start.startswith(last[: len(start)]) and not _is_event(last[len(start) :]):
            file.truncate(position)
        else:
            file.seek(0, os.SEEK_END)
            file.write(b"\n")


def _is_event(text):
    try:
        json.loads(text.decode("utf-8"))
    except ValueError:
        return False
    return True
