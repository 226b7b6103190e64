"""The logger: hands every event to the backends that want it."""

from datetime import datetime

from dllogger.backends import Verbosity


class Logger:
    """Hands events to `backends`, a list of Backend; an empty list makes a logger that keeps silent."""

    def __init__(self, backends):
        self.backends = list(backends)
        self._start = datetime.now()

    def log(self, step, data, verbosity=Verbosity.DEFAULT):
        """Logs one event.

        Args:
            step: where in the run: "PARAMETER" for its settings, a global step (int), a tuple such as
                (epoch,) or (epoch, step), or () for the whole run.
            data: dict of metric name to value; NumPy scalars are fine.
            verbosity: the least verbosity of a backend that takes it.
        """
        now = datetime.now()
        for backend in self._taking(verbosity):
            backend.log(now, self._elapsed(now), step, data)

    def metadata(self, metric, metadata):
        """Logs what is known of a metric: a dict, such as {"unit": "images/s", "GOAL": "MAXIMIZE"}."""
        now = datetime.now()
        for backend in self._taking(Verbosity.DEFAULT):
            backend.metadata(now, self._elapsed(now), metric, metadata)

    def flush(self):
        """Brings everything logged so far to its destination."""
        for backend in self.backends:
            backend.flush()

    def _taking(self, verbosity):
        return [b for b in self.backends if b.verbosity != Verbosity.OFF and b.verbosity >= verbosity]

    def _elapsed(self, now):
        return (now - self._start).total_seconds()
