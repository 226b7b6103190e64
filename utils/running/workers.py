"""The workers of a data-parallel run: which one this is, and how they exchange numbers, through Horovod.

A run that no launcher started is one worker, needs no Horovod and exchanges nothing.
"""

import copy

import numpy as np

from utils.system import launch
from utils.system.errors import UserError
from utils.tf_runtime import tf

INSTALL_COMMAND = "make setup (or HOROVOD_WITH_TENSORFLOW=1 pip install --no-build-isolation horovod==0.28.1)"


class Workers:
    """All workers, seen from one of them.

    Attributes:
        size: how many there are.
        rank: this one's number, from 0; the worker 0 alone writes checkpoints, logs and tables.
        local_rank: its number on its machine, which is that of its GPU.
        launched: how many the launcher started, whether they work together or each by itself.
    """

    def __init__(self, cpu_session=None):
        """Args: cpu_session, the ``tf.ConfigProto`` of the sessions they exchange numbers in.

        Raises UserError where several were started without Horovod being installed.
        """
        self._cpu_session = cpu_session
        self._horovod = _horovod() if launch.size() > 1 else None
        self.size = self._horovod.size() if self._horovod else 1
        self.rank = self._horovod.rank() if self._horovod else 0
        self.local_rank = self._horovod.local_rank() if self._horovod else 0
        self.launched = self.size

    def alone(self):
        """This worker as if there were no other: the only one, and so the first, but on the GPU it has."""
        alone = copy.copy(self)
        alone._horovod, alone.size, alone.rank = None, 1, 0
        return alone

    @property
    def is_first(self):
        """Whether this is the worker that writes for all."""
        return self.rank == 0

    def share(self, items):
        """This worker's part of a sequence: every ``size``-th item."""
        return items[self.rank :: self.size]

    def average_gradients(self, optimizer):
        """An optimizer whose ``compute_gradients`` averages over the workers."""
        return self._horovod.DistributedOptimizer(optimizer) if self._horovod else optimizer

    def hooks(self):
        """Session hooks that start all workers from the variables of the first."""
        return [self._horovod.BroadcastGlobalVariablesHook(0)] if self._horovod else []

    def equaliser(self, variables):
        """A function (session) that gives all workers the first one's values of ``variables``; made here and now."""
        if self._horovod is None or not variables:
            return lambda session: None
        operation = self._horovod.broadcast_variables(variables, 0)
        return lambda session: session.run(operation)

    def gather(self, rows):
        """The rows of all workers, in their order: float64 [n, columns] -> [sum of n, columns], for everyone."""
        rows = np.asarray(rows, np.float64)
        if self._horovod is None:
            return rows
        with tf.Graph().as_default(), tf.Session(config=self._cpu_session) as session:
            return session.run(self._horovod.allgather(tf.constant(rows)))

    def wait_for_all(self):
        """Return once every worker has come here."""
        self.gather(np.zeros([1, 1]))

    def gatherer(self, columns, name):
        """The same for use in a running session: a function (session, rows) whose operation is made here and now."""
        if self._horovod is None:
            return lambda session, rows: np.asarray(rows, np.float64)
        own = tf.placeholder(tf.float64, [None, columns], name=name)
        everyones = self._horovod.allgather(own, name=name)
        return lambda session, rows: session.run(everyones, {own: np.reshape(rows, [-1, columns])})

    def adder(self, name):
        """What adds up a number of each worker's within a step of training: (placeholder, sum), float32 []; made here.

        (None, None) for one worker. It adds nothing to a step's time worth mentioning: the exchange goes on while the
        network computes, in the rounds in which the gradients are exchanged.
        """
        if self._horovod is None:
            return None, None
        with tf.device("/cpu:0"):
            own = tf.placeholder(tf.float32, [], name=name)
            return own, self._horovod.allreduce(own, op=self._horovod.Sum, name=name)


def _horovod():
    try:
        import horovod.tensorflow as horovod
    except ImportError as error:
        raise UserError(
            "{} workers were started, but Horovod is not installed ({}): {}".format(
                launch.size(), error, INSTALL_COMMAND
            )
        ) from error
    horovod.init()
    return horovod
