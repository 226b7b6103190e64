"""Held-out soft Dice at the end of epochs, pictures of a few cases, and the checkpoint that was best by it."""

import os

import numpy as np

import dllogger
from model.layers import MOVING_STATISTICS
from utils import scores
from utils.errors import UserError
from utils.files import read_json, write_json_atomically
from utils.hooks.training_hook import write_scalars
from utils.model_folder import BEST_FOLDER
from utils.run_log import metric_name
from utils.tf_runtime import tf

# Cases whose masks TensorBoard shows after each evaluation.
OVERLAYS = 3
# The colour space's number in TensorBoard's images.
RGBA = 4


class EvaluationHook(tf.train.SessionRunHook):
    """Scores the held-out cases in the training session, so that no graph is built and nothing reloaded.

    All workers have one and score their share; the first tells the result and keeps the best checkpoint.

    Args:
        workers: the ``utils.workers.Workers``.
        volumes: this worker's share of the held-out cases, a ``utils.data_loader.Volumes``.
        image_shape: X, Y, Z, C of the images.
        network: function from images float32 [N, X, Y, Z, C] to probabilities float32 [N, X, Y, Z, K].
        structures: names of the structures, background left out.
        batch_size: cases predicted at a time.
        every_epochs: epochs between two evaluations.
        steps_per_epoch: optimizer steps in an epoch.
        model_dir: the best checkpoint goes into ``<model_dir>/best``.
    """

    def __init__(
        self, workers, volumes, image_shape, network, structures, batch_size, every_epochs, steps_per_epoch, model_dir
    ):
        self.workers = workers
        self.volumes = volumes
        self.image_shape = tuple(image_shape)
        self.network = network
        self.structures = structures
        self.batch_size = batch_size
        self.every_steps = every_epochs * steps_per_epoch
        self.steps_per_epoch = steps_per_epoch
        self.model_dir = model_dir
        self.best_dir = os.path.join(model_dir, BEST_FOLDER)

    def begin(self):
        self._images = tf.placeholder(tf.float32, (None,) + self.image_shape, name="held_out_images")
        self._probabilities = self.network(self._images)
        self._gather = self.workers.gatherer(len(self.structures), "held_out_scores")
        # Each worker has moving statistics of its own; those of the first are saved, and so are to be measured.
        self._equalise = self.workers.equaliser(tf.get_collection(MOVING_STATISTICS))
        self._step = tf.train.get_global_step()
        if self.workers.is_first:
            self._prepare_to_keep()

    def _prepare_to_keep(self):
        # Relative paths, so that the folder can be moved.
        self._saver = tf.train.Saver(max_to_keep=1, save_relative_paths=True)
        kept = tf.train.get_checkpoint_state(self.best_dir)
        if kept is not None:
            self._saver.recover_last_checkpoints(kept.all_model_checkpoint_paths)
        self._writer = tf.summary.FileWriterCache.get(self.model_dir)
        self._best = best_score(self.best_dir)

    def after_create_session(self, session, coord):
        self._done = session.run(self._step)
        if self._done == 0 and self.workers.is_first:
            # What an earlier run in this folder left is no rival to this one.
            self._best = None

    def after_run(self, run_context, run_values):
        self._done += 1
        if self._done % self.every_steps == 0:
            self._evaluate(run_context.session)

    def _evaluate(self, session):
        self._equalise(session)
        per_case = []
        for index, probabilities in enumerate(self._predict(session)):
            per_case.append(scores.soft_dice(probabilities, self.volumes.label(index))[1:])
            if self.workers.is_first and index < OVERLAYS:
                self._show(index, probabilities)
        everyones = self._gather(session, np.reshape(per_case, [-1, len(self.structures)]))
        if self.workers.is_first:
            self._tell(session, scores.mean_of_defined(everyones, axis=0))

    def _tell(self, session, per_structure):
        figures = {
            metric_name("soft_dice", name): float(value)
            for name, value in zip(self.structures, per_structure)
            if np.isfinite(value)
        }
        if not figures:
            # No structure in any held-out case, and none predicted.
            return
        dllogger.log(step=(self._done // self.steps_per_epoch,), data=figures)
        write_scalars(self._writer, "held_out", figures, self._done)
        mean = float(np.mean(list(figures.values())))
        if self._best is None or mean > self._best:
            self._keep_best(session, mean)

    def _predict(self, session):
        for first in range(0, len(self.volumes), self.batch_size):
            indices = range(first, min(first + self.batch_size, len(self.volumes)))
            for probabilities in session.run(self._probabilities, {self._images: self.volumes.images(indices)}):
                yield probabilities

    def _show(self, index, probabilities):
        """TensorBoard's picture of one case: the mask on the network's grid over the first channel."""
        # Here, since matplotlib takes a third of a second to load, which prediction need not wait for.
        from utils.overlays import overlay_png

        mask = np.argmax(probabilities, axis=-1).astype(np.uint8)
        png, height, width = overlay_png(self.volumes.image(index)[..., 0], mask, self.volumes.label(index))
        image = tf.Summary.Image(height=height, width=width, colorspace=RGBA, encoded_image_string=png)
        value = tf.Summary.Value(tag="overlay/" + self.volumes.kept[index].case.name, image=image)
        self._writer.add_summary(tf.Summary(value=[value]), self._done)

    def _keep_best(self, session, mean):
        os.makedirs(self.best_dir, exist_ok=True)
        self._saver.save(session, os.path.join(self.best_dir, "model.ckpt"), self._done, write_meta_graph=False)
        write_json_atomically(os.path.join(self.best_dir, "score.json"), {"step": int(self._done), "soft_dice": mean})
        self._best = mean


def best_score(best_dir):
    """The mean held-out soft Dice of the best checkpoint kept so far, or None; raises UserError if it is damaged."""
    path = os.path.join(best_dir, "score.json")
    if not os.path.isfile(path):
        return None
    kept = read_json(path)
    if not isinstance(kept, dict) or not isinstance(kept.get("soft_dice"), float):
        raise UserError("{}: holds no Dice: delete the folder, which the next evaluation fills anew".format(path))
    return kept["soft_dice"]
