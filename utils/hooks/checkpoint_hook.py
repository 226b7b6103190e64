"""Checkpoints at the end of epochs and where training ends, of weights that are numbers."""

from utils.model_dir import checkpoints
from utils.tf_runtime import tf


class CheckpointHook(tf.train.SessionRunHook):
    """Saves what the model function's ``Scaffold`` saves; to be the last hook, so that what is saved is also measured.

    Args:
        folder: where the checkpoints go.
        every_steps: optimizer steps between two checkpoints; they fall on multiples of it.
        kept: how many checkpoints stay.
        unfinished: the ``utils.model_dir.epoch_state.Unfinished`` of the epoch, saved with a checkpoint within one.
        diverged: function (step, text) -> the exception for weights that are no numbers any more.
    """

    def __init__(self, folder, every_steps, kept, unfinished, diverged):
        self.folder = folder
        self.every_steps = every_steps
        self.kept = kept
        self.unfinished = unfinished
        self.diverged = diverged

    def begin(self):
        self._step = tf.train.get_global_step()
        (self._saver,) = tf.get_collection(tf.GraphKeys.SAVERS)
        numbers = [variable for variable in tf.global_variables() if variable.dtype.base_dtype.is_floating]
        self._all_finite = tf.reduce_all([tf.reduce_all(tf.is_finite(variable)) for variable in numbers])
        self._writer = tf.summary.FileWriterCache.get(self.folder)

    def after_create_session(self, session, coord):
        self._writer.add_graph(tf.get_default_graph())
        self._done = session.run(self._step)
        # TensorBoard then forgets what an earlier run showed of the steps that are to be done again.
        self._writer.add_session_log(tf.SessionLog(status=tf.SessionLog.START), self._done + 1)
        self._saved = self._done
        # One that an earlier run left is not written again: a kill would leave the folder without any.
        if self._done == 0 and checkpoints.last_listed(self.folder) is None:
            self._save(session)

    def after_run(self, run_context, run_values):
        self._done += 1
        if self._done % self.every_steps == 0:
            self._save(run_context.session)

    def end(self, session):
        if self._saved != self._done:
            self._save(session)
        self._writer.flush()

    def _save(self, session):
        if not session.run(self._all_finite):
            raise self.diverged(self._done - 1, "the weights are no numbers any more after the step")
        checkpoints.save(self._saver, session, self.folder, self._done, self.kept, note=self.unfinished.note())
        self._saved = self._done
