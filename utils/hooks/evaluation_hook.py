"""Held-out soft Dice at the end of epochs, pictures of a few cases, and the checkpoint that was best by it."""

import itertools
import os
import signal

import numpy as np

import dllogger
from model.layers import MOVING_STATISTICS
from utils.evaluation import scores
from utils.hooks.training_hook import write_scalars
from utils.imaging.case_files import is_stack
from utils.model_dir import checkpoints
from utils.model_dir.log import metric_name
from utils.model_dir.paths import BEST_FOLDER
from utils.sampling.tiling import items_of, put_together
from utils.system.errors import UserError
from utils.system.files import read_json, write_json_atomically
from utils.system.interruption import Interrupted
from utils.tf_runtime import tf

# Cases whose masks TensorBoard shows after each evaluation.
OVERLAYS = 3
# The colour space's number in TensorBoard's images.
RGBA = 4
SCORE = "score.json"


class EvaluationHook(tf.train.SessionRunHook):
    """Scores the held-out cases in the training session, so that no graph is built and nothing reloaded.

    All workers have one and score their share; the first tells the result and keeps the best checkpoint.

    Args:
        workers: the ``utils.running.workers.Workers``.
        volumes: this worker's share of the held-out cases, a ``utils.data_loader.Volumes``.
        feeding: how the cases come to the network, as items of ``item_shape`` (U, V, W).
        channels: C of the images.
        network: function from items float32 [N, U, V, W, C] to probabilities float32 [N, U, V, W, K].
        structures: names of the structures, background left out.
        batch_size: items predicted at a time.
        every_epochs: epochs between two evaluations.
        steps_per_epoch: optimizer steps in an epoch.
        model_dir: the best checkpoint goes into ``<model_dir>/best``.
        unfinished: the ``utils.model_dir.epoch_state.Unfinished`` that says whether an earlier run left an evaluation
            to this one.
        asked: function () -> whether this worker is asked to stop.

    Where one of the workers is, an evaluation is left to the run that goes on, and ``unfinished`` says so.
    """

    def __init__(
        self,
        workers,
        volumes,
        feeding,
        channels,
        network,
        structures,
        batch_size,
        every_epochs,
        steps_per_epoch,
        model_dir,
        unfinished,
        asked,
    ):
        self.workers = workers
        self.volumes = volumes
        self.feeding = feeding
        self.channels = channels
        self.network = network
        self.structures = structures
        self.batch_size = batch_size
        self.every_steps = every_epochs * steps_per_epoch
        self.steps_per_epoch = steps_per_epoch
        self.model_dir = model_dir
        self.best_dir = os.path.join(model_dir, BEST_FOLDER)
        self.unfinished = unfinished
        self.asked = asked

    def begin(self):
        shape = (None,) + self.feeding.item_shape + (self.channels,)
        self._images = tf.placeholder(tf.float32, shape, name="held_out_images")
        self._probabilities = self.network(self._images)
        self._gather = self.workers.gatherer(len(self.structures), "held_out_scores")
        self._gather_asked = self.workers.gatherer(1, "stop_evaluation")
        # Each worker has moving statistics of its own; those of the first are saved, and so are to be measured.
        self._equalise = self.workers.equaliser(tf.get_collection(MOVING_STATISTICS))
        self._step = tf.train.get_global_step()
        if self.workers.is_first:
            self._prepare_to_keep()

    def _prepare_to_keep(self):
        self._saver = tf.train.Saver()
        self._writer = tf.summary.FileWriterCache.get(self.model_dir)
        self._best = best_score(self.best_dir)
        if self._best is not None:
            # A run that was killed may have come as far as the score, and not to the list.
            checkpoints.write_list(self.best_dir, [best_step(self.best_dir)])

    def after_create_session(self, session, coord):
        self._done = session.run(self._step)
        if self._done == 0 and self.workers.is_first:
            # What an earlier run in this folder left is no rival to this one.
            self._best = None
        if self.unfinished.is_due:
            self.unfinished.is_due = bool(self._evaluate(session))
            if self.unfinished.is_due:
                # Nothing new to save.
                raise Interrupted(self.asked() or signal.SIGTERM)

    def after_run(self, run_context, run_values):
        self._done += 1
        if self._done % self.every_steps == 0:
            self.unfinished.is_due = bool(run_context.stop_requested or self._evaluate(run_context.session))
            if self.unfinished.is_due:
                run_context.request_stop()

    def _evaluate(self, session):
        """Score the held-out cases, tell the result and keep the best; True where that is left to the next run."""
        self._equalise(session)
        per_case = []
        for index, probabilities in enumerate(self._predict(session)):
            if self.asked():
                break
            per_case.append(scores.soft_dice(probabilities, self.volumes.label(index))[1:])
            if self.workers.is_first and index < OVERLAYS:
                self._show(index, probabilities)
        if self._gather_asked(session, [[bool(self.asked())]]).any():
            return True
        everyones = self._gather(session, np.reshape(per_case, [-1, len(self.structures)]))
        if self.workers.is_first:
            self._tell(session, scores.mean_of_defined(everyones, axis=0))
        return False

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
        """The probabilities [X, Y, Z, K] of each case in turn."""
        numbers = iter(range(len(self.volumes)))

        def next_case():
            number = next(numbers)
            return number, self.volumes.label(number).shape

        for _, probabilities in put_together(self._predicted_items(session), next_case, self.feeding):
            yield probabilities

    def _predicted_items(self, session):
        images = (self.volumes.image(number) for number in range(len(self.volumes)))
        items = itertools.chain.from_iterable(items_of(image, self.feeding) for image in images)
        for batch in iter(lambda: list(itertools.islice(items, self.batch_size)), []):
            for probabilities in session.run(self._probabilities, {self._images: np.stack(batch)}):
                yield probabilities

    def _show(self, index, probabilities):
        """TensorBoard's picture of one case: the mask on the network's grid over the first channel."""
        # Here, since matplotlib takes a third of a second to load, which prediction need not wait for.
        from utils.visualization.overlays import overlay_png

        mask = np.argmax(probabilities, axis=-1).astype(np.uint8)
        case = self.volumes.kept[index].case
        png, height, width = overlay_png(
            self.volumes.image(index)[..., 0], mask, self.volumes.label(index), page=is_stack(case)
        )
        image = tf.Summary.Image(height=height, width=width, colorspace=RGBA, encoded_image_string=png)
        value = tf.Summary.Value(tag="overlay/" + case.name, image=image)
        self._writer.add_summary(tf.Summary(value=[value]), self._done)

    def _keep_best(self, session, mean):
        score = {"step": int(self._done), "soft_dice": mean}
        # From when its score is written on, the checkpoint is the best one: `best_step` goes by that.
        checkpoints.save(
            self._saver,
            session,
            self.best_dir,
            score["step"],
            kept=1,
            write_graph=False,
            before_listed=lambda: write_json_atomically(os.path.join(self.best_dir, SCORE), score),
        )
        self._best = mean


def best_score(best_dir):
    """The mean held-out soft Dice of the best checkpoint kept so far, or None where there is none that can be read.

    Raises UserError if what is known of it is damaged.
    """
    kept = _read_score(best_dir)
    if kept is None or checkpoints.damage(checkpoints.path_of(best_dir, kept["step"])):
        return None
    return kept["soft_dice"]


def best_step(best_dir):
    """The step of the best checkpoint as its score says it, or None; raises UserError if that is damaged."""
    kept = _read_score(best_dir)
    return kept and kept["step"]


def _read_score(best_dir):
    path = os.path.join(best_dir, SCORE)
    if not os.path.isfile(path):
        return None
    kept = read_json(path)
    if not isinstance(kept, dict) or not isinstance(kept.get("soft_dice"), float) or not _is_count(kept.get("step")):
        raise UserError("{}: holds no Dice: delete the folder, which the next evaluation fills anew".format(path))
    return kept


def _is_count(value):
    return isinstance(value, int) and not isinstance(value, bool)
