"""The end of training where a signal asks for it: after a step, and after the same one on all workers."""

from utils.system import interruption
from utils.tf_runtime import tf


class StoppingHook(tf.train.SessionRunHook):
    """Stops the training after the step during which a worker was asked to, or after the next one with several workers.

    All workers have one, before the hooks whose work takes long. From its beginning on signals are put off, so that
    the hook that saves the last checkpoint is not disturbed.

    Args:
        workers: the ``utils.running.workers.Workers``.
        asked: function () -> whether this worker is asked to stop.

    Attributes:
        has_stopped: whether it has.
    """

    def __init__(self, workers, asked):
        self.workers = workers
        self.asked = asked
        self.has_stopped = False

    def begin(self):
        self._own, self._everyones = self.workers.adder("stop_training")

    def after_create_session(self, session, coord):
        interruption.put_off(True)

    def before_run(self, run_context):
        if self._own is not None:
            # In the step's own call, so that it costs no exchange of its own.
            return tf.train.SessionRunArgs(self._everyones, {self._own: float(bool(self.asked()))})

    def after_run(self, run_context, run_values):
        if self.asked() if self._own is None else run_values.results:
            self.has_stopped = True
            run_context.request_stop()
