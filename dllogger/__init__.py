"""Logging of a run's settings, metrics and results, for people and for programs.

    import dllogger
    from dllogger import JSONStreamBackend, StdOutBackend, Verbosity

    dllogger.init(backends=[
        StdOutBackend(Verbosity.DEFAULT),
        JSONStreamBackend(Verbosity.VERBOSE, "results/dllogger.json", append=True),
    ])
    dllogger.log(step="PARAMETER", data={"batch_size": 2})
    dllogger.metadata("loss", {"unit": None})
    dllogger.log(step=(1,), data={"loss": 0.5})

The functions of the module speak to the one logger that init() makes. A process that is to keep silent,
such as a worker that is not the first, says so with init(backends=[]).
"""

from dllogger.backends import Backend, JSONStreamBackend, StdOutBackend, Verbosity, default_metric_format
from dllogger.logger import Logger

__all__ = [
    "Backend",
    "JSONStreamBackend",
    "Logger",
    "NotInitialisedError",
    "StdOutBackend",
    "Verbosity",
    "default_metric_format",
    "flush",
    "init",
    "log",
    "metadata",
]

_logger = None


class NotInitialisedError(RuntimeError):
    """Something was logged before init()."""


def init(backends):
    """Makes the logger that the module's functions speak to; a second call replaces it.

    Args:
        backends: list of Backend; empty to log nothing.
    """
    global _logger
    _logger = Logger(backends)


def log(step, data, verbosity=Verbosity.DEFAULT):
    """Logs one event: see Logger.log. Raises NotInitialisedError before init()."""
    _initialised().log(step, data, verbosity)


def metadata(metric, metadata):
    """Logs what is known of a metric: see Logger.metadata. Raises NotInitialisedError before init()."""
    _initialised().metadata(metric, metadata)


def flush():
    """Brings everything logged so far to its destination. Before init() there is nothing to bring."""
    if _logger is not None:
        _logger.flush()


def _initialised():
    if _logger is None:
        raise NotInitialisedError("dllogger: call dllogger.init(backends) first; init([]) logs nothing")
    return _logger
