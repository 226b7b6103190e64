"""Cases through the network, one after another, while others are read and what came before is used."""

import collections

from model.averaging import mirrorings
from utils import data_loader
from utils.inference.prediction_batch import prediction_batch_size
from utils.preprocessing.cache import keep_in_turn, view
from utils.sampling.tiling import items_of, put_together
from utils.system import memory
from utils.system.environment import threads
from utils.system.errors import CannotWrite, UnusableFile, UserError, attempted
from utils.system.tf_errors import told
from utils.system.thread_pool import overlapped
from utils.tf_runtime import gpus, tf


def batch_size_of(params):
    """How many items are predicted at a time, without mirrored ones."""
    return params["prediction_batch_size"] or prediction_batch_size(params, bool(gpus()))


class Pipeline:
    """Predicts cases with a trained model.

    Args:
        params: the params dict, with those of the task.
        preparation: the ``utils.running.preparation.Preparation``.
        estimator: the ``tf.estimator.Estimator``.
        checkpoint: the path of the checkpoint that it starts from.
        note: function (Kept) for each case that was read.
    """

    def __init__(self, params, preparation, estimator, checkpoint, note):
        self._params = params
        self._settings, self._feeding = preparation.settings, preparation.feeding
        self._estimator = estimator
        self._checkpoint = checkpoint
        self._note = note

    def use_each(self, cases, use, progress):
        """What ``use`` makes of each case's (Kept, probabilities), in order; UserErrors of others; what stopped it.

        Reading, the network and ``use`` work at the same time. Where something goes wrong that is not about the files
        of one case, such as a full disk, no further case begins, what is under way is finished, and the UserError for
        it comes third; else that is None.
        """
        results, errors, troubles = [], [], []

        def used(predicted):
            with memory.trouble_over(predicted[0].case.image):
                return use(predicted)

        def predicted():
            try:
                for one in self._predicted(cases, errors, troubles):
                    yield one
                    if troubles:
                        return
            except UserError as error:
                troubles.append(error)
            except (OSError, tf.errors.OpError) as error:
                troubles.append(told(error, self._params["model_dir"]))

        # What a batch gives comes all at once: all of it is handed on, so that the next one can begin.
        ahead = 0 if None in self._feeding.case_shape else batch_size_of(self._params)
        for result in overlapped(lambda one: attempted(used, one), predicted(), threads(self._params), ahead):
            if isinstance(result, UserError):
                (errors if isinstance(result, UnusableFile) else troubles).append(result)
            else:
                results.append(result)
            progress.update()
        if not troubles:
            return results, errors, None
        left = "; cases left: {}".format(len(cases) - len(results) - len(errors)) if results else ""
        return results, errors, UserError("{}{}".format(troubles[0], left))

    def _predicted(self, cases, errors, troubles):
        """Each case's Kept and class probabilities float32 [X, Y, Z, K] in turn; UserErrors of others to ``errors``."""
        read, failed = collections.deque(), []

        def items():
            # In a thread of TensorFlow's, which would make errors of its own of what is raised here.
            try:
                folder = self._params["cache_dir"]
                for kept in keep_in_turn(cases, self._settings, folder, threads(self._params)):
                    if isinstance(kept, CannotWrite):
                        troubles.append(kept)
                        return
                    if isinstance(kept, UserError):
                        errors.append(kept)
                        continue
                    image = view(kept.image)
                    self._note(kept)
                    read.append((kept, image.shape[:3]))
                    for item in items_of(image, self._feeding):
                        yield item
            except Exception as error:
                failed.append(error)

        shape = self._feeding.item_shape + (len(self._params["modalities"]),)
        flips = len(mirrorings(self._params["flip_axes"])) if self._params["test_time_flips"] else 1
        batch_size = self._params["prediction_batch_size"] or max(1, batch_size_of(self._params) // flips)
        predictions = self._estimator.predict(
            lambda: data_loader.streamed_dataset(items, shape, batch_size), checkpoint_path=self._checkpoint
        )
        probabilities = (prediction["probabilities"] for prediction in predictions)
        for predicted in put_together(probabilities, read.popleft, self._feeding):
            yield predicted
        if failed:
            raise failed[0]
