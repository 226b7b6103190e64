"""One contender as a long-lived process: started once, told when to run, and stopped while it is another's turn."""

import ctypes
import json
import os
import select
import signal
import subprocess
import tempfile
import time

from benchmarks.registry import PROJECT

PR_SET_PDEATHSIG = 1
SECONDS_TO_START = 300
SECONDS_TO_ANSWER = 180
SECONDS_TO_END = 10


class ContenderFailed(Exception):
    """A contender cannot be measured; the message says why, in one line."""


def die_with_parent():
    """Asks the system to kill this process when the one that started it ends, however it does."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Child:
    """A contender's process, or the launcher of its workers.

    Args:
        command: its command line, a list of str.

    Attributes:
        description: what it said of itself once it was ready: a dict.

    Raises ContenderFailed where it does not start, and from any method where it has ended.
    """

    def __init__(self, command):
        self._log = tempfile.TemporaryFile()
        self._unread = b""
        self._groups = ()
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                cwd=PROJECT,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        except OSError as error:
            self._log.close()
            raise ContenderFailed("{}: cannot be started: {}".format(command[0], error.strerror)) from error
        try:
            self.description = self._answer(SECONDS_TO_START)
            self._groups = tuple(sorted({os.getpgid(process) for process in self.description["processes"]}))
        except BaseException:
            self.close()
            raise

    def run(self, cell_name, seconds):
        """Lets it run a cell for about so many seconds; returns its answer, a dict with "rate"."""
        self._send({"cell": cell_name, "seconds": seconds})
        return self._answer(seconds + SECONDS_TO_ANSWER)

    def pause(self):
        """Stops all its processes, so that none takes a core from the others."""
        self._signal(signal.SIGSTOP)

    def resume(self):
        """Lets them go on."""
        self._signal(signal.SIGCONT)

    def close(self):
        """Ends it, with force where it must."""
        self._signal(signal.SIGCONT)
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass  # It ended before it read the last order.
        for end in (lambda: None, self._process.terminate, self._kill):
            end()
            try:
                self._process.wait(SECONDS_TO_END)
                break
            except subprocess.TimeoutExpired:
                continue
        self._process.stdout.close()
        self._log.close()

    def _kill(self):
        self._signal(signal.SIGKILL)
        self._process.kill()

    def _signal(self, number):
        # A launcher's workers are in process groups of their own; the launcher itself only waits.
        for group in self._groups:
            try:
                os.killpg(group, number)
            except ProcessLookupError:
                continue  # It has ended; the next answer that is missing tells.

    def _send(self, order):
        try:
            self._process.stdin.write(json.dumps(order).encode("ascii") + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise ContenderFailed(self._last_words()) from error

    def _answer(self, seconds):
        """The next line it writes, a JSON object; raises ContenderFailed where that is an error, or none comes."""
        deadline = time.monotonic() + seconds
        while b"\n" not in self._unread:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise ContenderFailed("gave no answer in {:.0f} s".format(seconds))
            text = os.read(self._process.stdout.fileno(), 65536)
            if not text:
                raise ContenderFailed(self._last_words())
            self._unread += text
        line, self._unread = self._unread.split(b"\n", 1)
        answer = json.loads(line.decode("utf-8"))
        if "error" in answer:
            raise ContenderFailed(answer["error"])
        return answer

    def _last_words(self):
        try:
            status = self._process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            return "closed its output"
        if status == -signal.SIGKILL:
            return "was killed by the system, which happens where memory runs out"
        self._log.seek(0)
        lines = [line.strip() for line in self._log.read().decode("utf-8", "replace").splitlines() if line.strip()]
        return "ended with status {}{}".format(status, ": " + lines[-1] if lines else "")
