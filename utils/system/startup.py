"""What every program does before its work: it opens missing streams, and tells in a line of libraries that fail.

Only the standard library is imported here, so that a missing package can still be told of.
"""

import contextlib
import os
import platform
import re
import resource
import sys

from utils.system.errors import UserError, refuse

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Packages that are installed under another name than they are imported by.
INSTALLED_AS = {"PIL": "Pillow", "google": "protobuf", "tensorflow": "TensorFlow"}
# What the dynamic loader and NumPy's OpenBLAS say where there is no memory for a library.
_NO_MEMORY = re.compile("failed to map segment|cannot allocate memory|cannot create .*(thread|object)", re.IGNORECASE)
_NO_THREAD = "can't start new thread"
_REASON = re.compile(r"^(?:ImportError|OSError): (.+)$", re.MULTILINE)


def open_streams():
    """Open what is closed of standard input, output and error as /dev/null, for this process and those it starts.

    Otherwise the next file that is opened would take the place of the stream, and get what libraries print.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number is given out, which is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            stream = open(descriptor, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
            setattr(sys, name, stream)
            setattr(sys, "__{}__".format(name), stream)


@contextlib.contextmanager
def loading(program):
    """Open the streams; end the program with one line and status 2 where a library cannot be loaded within."""
    open_streams()
    try:
        yield
    except Exception as error:
        told = in_one_line(error)
        if not isinstance(told, UserError):
            raise
        sys.exit(refuse(program, told))


def in_one_line(error):
    """Return the UserError for a package that is missing or cannot be loaded, and for what the system refuses.

    That is memory, threads, and files, among them a working directory that is gone. Any other exception is returned as
    it is.
    """
    if isinstance(error, ModuleNotFoundError) and not _is_own(error.name):
        return UserError(_missing(error.name))
    if isinstance(error, MemoryError) or _is_about_memory(error):
        return UserError("out of memory" + _limit())
    if isinstance(error, ImportError) and not _is_own(error.name):
        return UserError(
            "{} cannot load a library: {}: make the environment anew (make clean, make setup)".format(
                _interpreter(), _reason(error)
            )
        )
    if isinstance(error, OSError):
        return UserError(_refused(error))
    return error


def _refused(error):
    """What an OSError says, in one line."""
    try:
        os.getcwd()
    except OSError:
        return "the folder in which this command was given is gone: change to one that is there, and give it again"
    return "{}: cannot go on: {}".format(error.filename or "the system", error.strerror or error)


def _is_own(module):
    """Whether a module (its name, or None) is one of this project's."""
    first = (module or "").split(".")[0]
    return bool(first) and any(os.path.exists(os.path.join(PROJECT, first + end)) for end in ("", ".py"))


def _missing(module):
    first = module.split(".")[0]
    environment = ".venv-tf1" if sys.version_info < (3, 9) else ".venv"
    activation = ". {}/bin/activate".format(os.path.join(PROJECT, environment))
    if os.path.exists(os.path.join(PROJECT, environment, "bin", "activate")):
        advice = "activate the project's environment: {}".format(activation)
    else:
        advice = (
            "make the project's environment with make setup, or with pip install -r requirements-tf2.txt under Python "
            "3.9 to 3.11, and activate it"
        )
    return "{} has no package {}: {}".format(_interpreter(), INSTALLED_AS.get(first, first), advice)


def _interpreter():
    return "{} (Python {})".format(sys.executable or "this interpreter", platform.python_version())


def _is_about_memory(error):
    if isinstance(error, RuntimeError):
        return _NO_THREAD in str(error)
    return isinstance(error, (ImportError, SystemError)) and any(_NO_MEMORY.search(text) for text in _texts(error))


def _texts(error):
    """What an exception says, and what those say that led to it."""
    while error is not None:
        yield str(error)
        error = error.__cause__ or error.__context__


def _reason(error):
    """What the dynamic loader said: packages put paragraphs of advice around it."""
    texts = list(_texts(error))
    found = [match for text in texts for match in _REASON.findall(text)]
    return found[-1] if found else texts[-1].strip().splitlines()[0]


def _limit():
    """What limits the memory, as far as it is known, and what to do."""
    soft = resource.getrlimit(resource.RLIMIT_AS)[0]
    if soft == resource.RLIM_INFINITY:
        return ": use a smaller --batch_size or --input_shape, or a machine that has more"
    return ": this process may use {:.1f} GB of address space (ulimit -v): allow it more".format(soft / 1e9)
