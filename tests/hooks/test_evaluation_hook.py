import os
import signal

import numpy as np
import pytest
from command_line import checkpoint_steps, read_json
from plans import images_of
from training_sessions import summaries_in, training_session

from utils.data_loader import Volumes
from utils.evaluation.scores import mean_of_defined, soft_dice
from utils.hooks.evaluation_hook import OVERLAYS, EvaluationHook, best_score, best_step
from utils.imaging.tasks import Pages
from utils.model_dir.epoch_state import Unfinished
from utils.running.workers import Workers
from utils.sampling.tiling import Whole
from utils.system.errors import UserError
from utils.system.interruption import Interrupted
from utils.tf_runtime import tf
from utils.visualization.overlays import overlay_png

SHAPE = (4, 3, 5)
STRUCTURES = ["Upper", "Lower"]
CASES = 5
# The network's only weight after each step: the larger, the surer and the better it is.
WEIGHTS = [1.0, 3.0, 2.0, 4.0, 0.5, 5.0]


@pytest.fixture
def volumes(kept_volumes):
    """Cases whose image's channel k stands out where the label is k."""
    made = kept_volumes(CASES, SHAPE, channels=3)
    random = np.random.RandomState(0)
    for index, kept in enumerate(made.kept):
        image = np.eye(3)[made.label(index)] + random.uniform(-0.2, 0.2, SHAPE + (3,))
        np.save(kept.image, image.astype(np.float32))
    return made


def probabilities(volumes, weight):
    """What the network gives for each case, computed without TensorFlow: [N, X, Y, Z, K]."""
    exponentials = np.exp(weight * images_of(volumes).astype(np.float64))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def expected_dice(volumes, weight):
    """The mean held-out soft Dice of each structure."""
    per_case = [
        soft_dice(predicted, volumes.label(index))[1:] for index, predicted in enumerate(probabilities(volumes, weight))
    ]
    return mean_of_defined(per_case, axis=0)


class Training:
    """Runs of a training whose network's weight at each step is known, with held-out cases to score."""

    def __init__(self, volumes, model_dir):
        self.volumes = volumes
        self.model_dir = str(model_dir)
        self.best_dir = os.path.join(self.model_dir, "best")
        self.workers = Workers()
        self.seen = []
        self.unfinished = Unfinished()
        self.asked = lambda: None

    def _see(self, images):
        self.seen.append(images)
        return images

    def _network(self, images):
        watched = tf.numpy_function(self._see, [images], tf.float32)
        watched.set_shape(images.shape)
        return tf.nn.softmax(self._weight * watched)

    def run(self, weights, batch_size=2, steps_per_epoch=1, every_epochs=1):
        """Go on from the last checkpoint, one step for each weight."""
        with tf.Graph().as_default():
            step = tf.train.create_global_step()
            self._weight = tf.get_variable("weight", [], trainable=False)
            self._next_weight = tf.placeholder(tf.float32, [])
            with tf.control_dependencies([tf.assign(self._weight, self._next_weight)]):
                operation = tf.assign_add(step, 1)
            hook = EvaluationHook(
                workers=self.workers,
                volumes=self.volumes,
                feeding=Whole(SHAPE),
                channels=3,
                network=self._network,
                structures=STRUCTURES,
                batch_size=batch_size,
                every_epochs=every_epochs,
                steps_per_epoch=steps_per_epoch,
                model_dir=self.model_dir,
                unfinished=self.unfinished,
                asked=lambda: self.asked(),
            )
            with training_session(self.model_dir, hook) as session:
                for weight in weights:
                    if not session.should_stop():
                        session.run(operation, {self._next_weight: weight})

    def best_weight(self):
        """The weight in the best checkpoint."""
        return float(tf.train.load_variable(tf.train.latest_checkpoint(self.best_dir), "weight"))

    def summaries(self):
        """What TensorBoard reads."""
        return summaries_in(self.model_dir)


@pytest.fixture
def training(volumes, tmp_path, logged):
    return Training(volumes, tmp_path / "model")


class TestScores:
    @pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 9])
    def test_each_case_counts_once_whatever_the_batch_size(self, training, logged, batch_size):
        training.run(WEIGHTS[:2], batch_size)
        for epoch, (step, figures) in enumerate(logged(), 1):
            assert step == [epoch]
            found = [figures["soft_dice_" + name] for name in STRUCTURES]
            assert len(figures) == 2
            np.testing.assert_allclose(found, expected_dice(training.volumes, WEIGHTS[epoch - 1]), rtol=1e-5)
        assert len(logged()) == 2
        np.testing.assert_array_equal(np.concatenate(training.seen), np.concatenate([images_of(training.volumes)] * 2))
        assert all(len(batch) <= batch_size for batch in training.seen)

    def test_tensorboard_has_them_at_the_optimizer_step(self, training):
        training.run(WEIGHTS[:4], steps_per_epoch=2)
        expected = {
            ("held_out/soft_dice_" + name, step): value
            for step in (2, 4)
            for name, value in zip(STRUCTURES, expected_dice(training.volumes, WEIGHTS[step - 1]))
        }
        scalars = {key: value for key, value in training.summaries().items() if key[0].startswith("held_out/")}
        assert scalars == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize(
        "steps_per_epoch, every_epochs, epochs", [(1, 2, [2, 4, 6]), (2, 1, [1, 2, 3]), (3, 2, [2]), (2, 4, [])]
    )
    def test_come_at_the_end_of_the_epochs_asked_for(self, training, logged, steps_per_epoch, every_epochs, epochs):
        training.run(WEIGHTS, 5, steps_per_epoch, every_epochs)
        assert [step for step, _ in logged()] == [[epoch] for epoch in epochs]

    def test_a_structure_in_no_case_is_left_out(self, training, logged):
        for index, kept in enumerate(training.volumes.kept):
            label = np.minimum(training.volumes.label(index), 1)
            np.save(kept.label, label)
            np.save(kept.image, np.eye(3, dtype=np.float32)[label])
        training.run([2.0])
        ((_, figures),) = logged()
        assert list(figures) == ["soft_dice_Upper"]
        upper = expected_dice(training.volumes, 2.0)[0]
        assert figures["soft_dice_Upper"] == pytest.approx(upper, rel=1e-5)
        assert best_score(training.best_dir) == pytest.approx(upper, rel=1e-5)

    def test_no_structure_anywhere_leaves_nothing(self, training, logged):
        for index, kept in enumerate(training.volumes.kept):
            label = np.zeros_like(training.volumes.label(index))
            np.save(kept.label, label)
            np.save(kept.image, np.eye(3, dtype=np.float32)[label])
        training.run([2.0])
        assert logged() == [] and not os.path.exists(training.best_dir)


class TestOverlays:
    def test_tensorboard_has_those_of_the_first_cases_after_each_evaluation(self, training):
        training.run(WEIGHTS[:4], batch_size=2, steps_per_epoch=2)
        shown = {key: value for key, value in training.summaries().items() if isinstance(value, bytes)}
        volumes = training.volumes
        expected = {
            ("overlay/case_{}".format(index), step): overlay_png(
                volumes.image(index)[..., 0],
                probabilities(volumes, WEIGHTS[step - 1])[index].argmax(axis=-1),
                volumes.label(index),
            )[0]
            for step in (2, 4)
            for index in range(OVERLAYS)
        }
        assert shown == expected

    def test_pages_of_stacks_are_the_right_way_up(self, training, kept_volumes):
        page, scan = kept_volumes(2, SHAPE, channels=3).kept
        page = page._replace(case=page.case._replace(pages=Pages()))
        training.volumes = volumes = Volumes([page, scan])
        training.run(WEIGHTS[:1])
        shown = training.summaries()
        for index, is_page in enumerate((True, False)):
            mask = probabilities(volumes, WEIGHTS[0])[index].argmax(axis=-1)
            pictures = [overlay_png(volumes.image(index)[..., 0], mask, volumes.label(index), way)[0] for way in (0, 1)]
            assert pictures[0] != pictures[1]
            assert shown["overlay/case_{}".format(index), 1] == pictures[is_page]

    def test_as_many_as_there_are_cases(self, training, kept_volumes):
        training.volumes = kept_volumes(1, SHAPE, channels=3)
        training.run(WEIGHTS[:1])
        assert len([value for value in training.summaries().values() if isinstance(value, bytes)]) == 1


class TestBest:
    def test_is_replaced_only_by_a_better_one(self, training):
        training.run(WEIGHTS)
        dice = [expected_dice(training.volumes, weight).mean() for weight in WEIGHTS]
        assert dice[1] > dice[0] and dice[2] < dice[1] < dice[3] < dice[5] and dice[4] < dice[3]
        assert checkpoint_steps(training.best_dir) == [6] and training.best_weight() == 5.0

    @pytest.mark.parametrize("until, best", [(1, 1), (2, 2), (3, 2), (4, 4), (5, 4)])
    def test_is_the_best_so_far(self, training, until, best):
        training.run(WEIGHTS[:until])
        assert checkpoint_steps(training.best_dir) == [best]
        assert training.best_weight() == WEIGHTS[best - 1]
        kept = read_json(training.best_dir, "score.json")
        expected = expected_dice(training.volumes, WEIGHTS[best - 1]).mean()
        assert kept == {"step": best, "soft_dice": pytest.approx(expected, rel=1e-5)}
        assert best_score(training.best_dir) == kept["soft_dice"]

    def test_an_equal_one_does_not_replace_it(self, training):
        training.run([3.0, 3.0])
        assert checkpoint_steps(training.best_dir) == [1]

    def test_no_score_is_known_before_the_first(self, tmp_path):
        assert best_score(str(tmp_path)) is None

    @pytest.mark.parametrize("text", ["[]", "{}", '{"soft_dice": null}', '{"soft_dice": "0.5"}'])
    def test_a_damaged_score_is_named(self, tmp_path, text):
        (tmp_path / "score.json").write_text(text)
        with pytest.raises(UserError, match=r"score\.json: holds no Dice: delete the folder"):
            best_score(str(tmp_path))

    def test_a_worse_one_after_a_resume_does_not_replace_it(self, training):
        training.run(WEIGHTS[:2])
        training.run(WEIGHTS[2:3])
        assert checkpoint_steps(training.model_dir)[-1] == 3
        assert checkpoint_steps(training.best_dir) == [2] and training.best_weight() == WEIGHTS[1]

    def test_a_better_one_after_a_resume_takes_its_place(self, training, logged):
        training.run(WEIGHTS[:3])
        training.run(WEIGHTS[3:5])
        assert [step for step, _ in logged()] == [[1], [2], [3], [4], [5]]
        assert checkpoint_steps(training.best_dir) == [4] and training.best_weight() == WEIGHTS[3]

    def test_restores_where_the_folder_was_moved_to(self, training, tmp_path):
        training.run(WEIGHTS[:3])
        os.rename(training.model_dir, str(tmp_path / "moved"))
        with tf.Graph().as_default(), tf.Session() as session:
            weight, step = tf.get_variable("weight", []), tf.train.create_global_step()
            tf.train.Saver().restore(session, tf.train.latest_checkpoint(str(tmp_path / "moved" / "best")))
            assert session.run([weight, step]) == [WEIGHTS[1], 2]


class TestStopping:
    def test_an_evaluation_that_is_stopped_is_left_to_the_next_run(self, training, logged):
        # Asked in the second of the three batches of the second epoch's evaluation.
        training.asked = lambda: signal.SIGTERM if len(training.seen) > 4 else None
        training.run(WEIGHTS, batch_size=2)
        assert len(training.seen) == 5 and training.unfinished.is_due
        assert checkpoint_steps(training.model_dir)[-1] == 2
        assert [step for step, _ in logged()] == [[1]]
        training.asked = lambda: None
        training.run(WEIGHTS[2:4])
        assert not training.unfinished.is_due
        assert [step for step, _ in logged()] == [[1], [2], [3], [4]]
        second = [figures["soft_dice_" + name] for name in STRUCTURES for _, figures in logged()[1:2]]
        np.testing.assert_allclose(second, expected_dice(training.volumes, WEIGHTS[1]), rtol=1e-5)
        assert checkpoint_steps(training.best_dir) == [4] and training.best_weight() == WEIGHTS[3]

    def test_one_that_is_left_again_is_still_left(self, training, logged):
        training.asked = lambda: signal.SIGINT
        training.run(WEIGHTS[:1])
        assert training.unfinished.is_due
        with pytest.raises(Interrupted) as caught:
            training.run(WEIGHTS[1:2])
        assert caught.value.number == signal.SIGINT
        assert training.unfinished.is_due and checkpoint_steps(training.model_dir)[-1] == 1 and logged() == []


class TestKilled:
    def test_between_the_score_and_the_list(self, training):
        training.run(WEIGHTS[:2])
        path = os.path.join(training.best_dir, "checkpoint")
        with open(path, "rb") as file:
            before = file.read()
        training.run(WEIGHTS[2:4])
        assert read_json(training.best_dir, "score.json")["step"] == 4
        with open(path, "wb") as file:
            file.write(before)
        assert best_step(training.best_dir) == 4
        # A worse one does not replace it, and the list names it again.
        training.run(WEIGHTS[4:5])
        assert checkpoint_steps(training.best_dir) == [4] and training.best_weight() == WEIGHTS[3]

    def test_a_best_one_that_is_damaged_is_no_rival(self, training):
        training.run(WEIGHTS[:4])
        os.remove(os.path.join(training.best_dir, "model.ckpt-4.index"))
        assert best_score(training.best_dir) is None
        training.run(WEIGHTS[4:5])
        assert checkpoint_steps(training.best_dir) == [5]


class TestOtherWorkers:
    def test_score_but_write_nothing(self, training, logged):
        training.workers.rank = 1
        training.run(WEIGHTS[:2])
        assert len(np.concatenate(training.seen)) == 2 * CASES
        assert logged() == [] and training.summaries() == {} and not os.path.exists(training.best_dir)

    def test_a_worker_without_a_held_out_case_gathers_nothing(self, training, logged, kept_volumes):
        training.workers.rank = 1
        training.volumes = kept_volumes(0)
        training.run(WEIGHTS[:1])
        assert training.seen == [] and logged() == []
