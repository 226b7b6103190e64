"""A coverage-guided fuzzer: inputs changed at random, kept where they reach new code, tried one by one within limits.

Nothing may come of an input but success or a UserError: no other exception, no hang, no file outside the folders that
are named to the program, no process, and no memory beyond a bound.
"""

import contextlib
import faulthandler
import io
import os
import random
import resource
import shutil
import signal
import sys
import threading
import time
import traceback
from typing import Any, Callable, List, NamedTuple

from fuzz_inputs import changed_bytes

from utils.system.errors import UserError
from utils.system.printable import printable

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WATCHED = tuple(os.path.join(PROJECT, name) for name in ("utils", "examples", "download_dataset.py", "main.py"))
SECONDS = 10.0
MOST_FINDINGS = 20
# What a program has that asks the system for something which no input may make ours ask for.
FORBIDDEN = ("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.posix_spawn", "pickle.find_class")
FORBIDDEN += ("socket.connect", "socket.bind", "os.chmod", "os.chown")
# Started without any argument that an input decides.
PROGRAMS = ("nvidia-smi",)
# Each with the place of the path among the event's arguments.
WRITING = {"os.mkdir": 0, "os.rename": 1, "os.remove": 0, "os.rmdir": 0, "os.truncate": 0, "shutil.rmtree": 0}
WRITING.update({"os.link": 1, "os.symlink": 1})


class Kind(NamedTuple):
    """One kind of input.

    ``attempt(content, folder)`` uses an input, bytes, and writes into the folder alone; ``changed`` are functions
    (random, bytes) -> bytes that know what it means.
    """

    name: str
    seeds: List[bytes]
    changed: List[Callable[[random.Random, bytes], bytes]]
    attempt: Callable[[bytes, str], Any]


class Broken(Exception):
    """What an input must not do was done."""


class _TooLong(BaseException):
    """An input took too long; no BaseException of its own may be caught on the way."""


class Reached:
    """Which lines ran after which in the project's files: what tells an input that does something new."""

    def __init__(self):
        self.all, self.new = set(), False
        self._last = threading.local()

    @contextlib.contextmanager
    def watching(self):
        """Watch this thread and those that it starts."""
        self.new = False
        before = sys.gettrace()
        threading.settrace(self._call)
        sys.settrace(self._call)
        try:
            yield
        finally:
            sys.settrace(before)
            threading.settrace(None)

    def _call(self, frame, event, argument):
        if not frame.f_code.co_filename.startswith(WATCHED):
            return None
        self._last.line = None
        return self._line

    def _line(self, frame, event, argument):
        if event == "line":
            step = (frame.f_code, getattr(self._last, "line", None), frame.f_lineno)
            self._last.line = frame.f_lineno
            if step not in self.all:
                self.all.add(step)
                self.new = True
        return self._line


class Guard:
    """Notes what the running input makes Python do outside its folder (Python 3.8 and later tell of it)."""

    def __init__(self):
        self.folder, self.broken = None, []
        if hasattr(sys, "addaudithook"):
            sys.addaudithook(self._hear)

    def _hear(self, event, arguments):
        if self.folder is None:
            return
        if event in FORBIDDEN and arguments[0] not in PROGRAMS:
            self.broken.append("{} {}".format(event, ascii(arguments)[:200]))
        elif event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
                self._check(event, path)
        elif event in WRITING:
            self._check(event, arguments[WRITING[event]], arguments[-1])

    def _check(self, event, path, beside=None):
        if isinstance(path, (str, bytes)):
            # Some functions take a path from an open folder on.
            start = os.readlink("/proc/self/fd/{}".format(beside)) if isinstance(beside, int) and beside >= 0 else ""
            path = os.path.realpath(os.path.join(start, os.fsdecode(path)))
            if not (path + os.sep).startswith(self.folder + os.sep) and path != os.devnull:
                self.broken.append("{} {}".format(event, ascii(path)))


GUARD = Guard()


def snapshot(folder, left_out):
    """What lies in a folder, but for the one of this name: paths, kinds, sizes and times."""
    found = {}
    for parent, folders, files in os.walk(folder):
        if parent == folder:
            folders[:] = [name for name in folders if name != left_out]
        for name in folders + files:
            path = os.path.join(parent, name)
            status = os.lstat(path)
            found[path] = (status.st_mode, status.st_size, None if name in folders else status.st_mtime_ns)
    return found


def fuzz(kind, count, seed, root, seconds=SECONDS):
    """Try ``count`` inputs of a Kind in ``<root>/<kind>``; returns a dict of what came of it, for JSON.

    The input that is being tried lies in ``<root>/<kind>/input``, so that it is known if it ends the process.
    """
    chosen, reached = random.Random("{} {}".format(seed, kind.name)), Reached()
    place = os.path.realpath(os.path.join(root, kind.name))
    folder = os.path.join(place, "work")
    os.makedirs(place)
    with open(os.path.join(place, "outside.txt"), "w") as file:
        file.write("untouched")
    corpus, findings, outcomes, slowest = [], {}, {"accepted": 0, "refused": 0}, 0.0
    accepted = list(kind.seeds)
    started = time.monotonic()
    for number in range(count):
        content = kind.seeds[number] if number < len(kind.seeds) else _changed(kind, chosen, accepted, corpus)
        with open(os.path.join(place, "input"), "wb") as file:
            file.write(content)
        os.mkdir(folder)
        before, begun, outcome = snapshot(place, "work"), time.monotonic(), None
        try:
            outcome = _attempt(kind, content, folder, reached, seconds)
            outcomes[outcome] += 1
            if snapshot(place, "work") != before:
                raise Broken("wrote outside its folder")
        except Exception as error:
            if len(findings) < MOST_FINDINGS:
                findings.setdefault(_signature(error), []).append((content, traceback.format_exc()))
        slowest = max(slowest, time.monotonic() - begun)
        shutil.rmtree(folder)
        if reached.new and len(content) < 1 << 16:
            (accepted if outcome == "accepted" else corpus).append(content)
    return dict(
        outcomes,
        kind=kind.name,
        inputs=count,
        kept=len(accepted) + len(corpus),
        steps=len(reached.all),
        seconds=round(time.monotonic() - started, 1),
        slowest=round(slowest, 3),
        findings=[_told(place, name, found) for name, found in findings.items()],
    )


def _changed(kind, chosen, accepted, corpus):
    # What was refused at once stays so, whatever else is changed in it; what was found last is the least tried.
    found = corpus if corpus and chosen.randrange(4) == 0 else accepted
    content = chosen.choice(found[-max(5, len(found) // 4) :] if chosen.randrange(2) else found)
    for _ in range(chosen.choice((1, 1, 1, 2, 3))):
        content = chosen.choice(kind.changed + [changed_bytes] if chosen.randrange(3) == 0 else kind.changed)(
            chosen, content
        )
    return content


def _attempt(kind, content, folder, reached, seconds):
    def stop(number, frame):
        raise _TooLong()

    former = signal.signal(signal.SIGALRM, stop)
    # What does not come back to Python gets no signal: that ends the process.
    faulthandler.dump_traceback_later(3 * seconds, exit=True, file=sys.__stderr__)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    GUARD.folder, GUARD.broken = folder, []
    shown = io.StringIO()
    try:
        with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown), reached.watching():
            outcome = _outcome(kind, content, folder)
    except _TooLong:
        raise Broken("took longer than {} s".format(seconds)) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, former)
        GUARD.folder = None
    if GUARD.broken:
        raise Broken("did what no input may make it do: " + GUARD.broken[0])
    text = shown.getvalue()
    if "Traceback" in text or printable(text.replace("\r", ""), lines=True) != text.replace("\r", ""):
        raise Broken("showed what it must not show: " + ascii(text[-500:]))
    return outcome


def _outcome(kind, content, folder):
    try:
        status = kind.attempt(content, folder)
    except UserError as error:
        if not str(error).strip():
            raise Broken("refused without a word") from error
        return "refused"
    except SystemExit as error:
        status = error.code
    if status not in (None, 0, 2):
        raise Broken("ended with the status {!r}".format(status))
    return "refused" if status == 2 else "accepted"


def _signature(error):
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(PROJECT)]
    place = ["{}:{}".format(os.path.relpath(frame.filename, PROJECT), frame.lineno) for frame in frames[-1:]]
    return "{} {} {}".format(type(error).__name__, str(error)[:60] if isinstance(error, Broken) else "", *place)


def _told(place, name, found):
    """A finding: what it is, how often it came, and the smallest input, which is left in a file."""
    content, told = min(found, key=lambda entry: len(entry[0]))
    path = os.path.join(place, "finding-{}".format(abs(hash(name))))
    with open(path, "wb") as file:
        file.write(content)
    return {"what": name, "times": len(found), "input": path, "traceback": told[-3000:]}


def peak_memory():
    """Most bytes of memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def limit_memory(more):
    """Let this process have so many bytes more address space than it has now, and no more."""
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + more, resource.getrlimit(resource.RLIMIT_AS)[1]))
