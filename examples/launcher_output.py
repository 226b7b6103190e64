"""What horovodrun writes: the exception with which it ends where a worker failed becomes one line."""

import re
import threading

FIRST_LINE = b"Traceback (most recent call last):"
# Of the workers each line has this before it; those without are the launcher's own.
OF_A_WORKER = re.compile(rb"\[\d+\]<std(out|err)>:")
FAILED = re.compile(rb"Process name: (\S+)\s+Exit code: (-?\d+)")
SECONDS_TO_READ = 5


class Relay:
    """Copies a launcher's standard error, a binary stream, line by line to another one, in a thread of its own.

    Attributes:
        status: the exit status of the worker that failed first, as the launcher tells it, or None.
    """

    def __init__(self, source, target):
        self.status = None
        self._source = source
        self._target = target
        self._thread = threading.Thread(target=self._copy, name="launcher's output", daemon=True)
        self._thread.start()

    def finish(self):
        """Wait for the end of what the launcher wrote, once it has ended; returns the status."""
        # What a worker has left behind may still hold the stream.
        self._thread.join(SECONDS_TO_READ)
        return self.status

    def _copy(self):
        held = []
        for line in iter(self._source.readline, b""):
            if (held or line.startswith(FIRST_LINE)) and not OF_A_WORKER.match(line):
                held.append(line)
            else:
                self._tell(line)
        self._tell(self._in_a_line(b"".join(held)))

    def _in_a_line(self, told):
        failed = FAILED.search(told)
        if failed is None:
            return told
        status = int(failed.group(2))
        self.status = 128 - status if status < 0 else status
        return "horovodrun: worker {} ended with the status {}\n".format(failed.group(1).decode(), self.status).encode()

    def _tell(self, line):
        self._target.write(line)
        self._target.flush()
