import io

import numpy as np
import pytest
from plans import plan_of
from training_sessions import summaries_in, training_session

from utils.hooks.training_hook import TrainingHook, write_scalars
from utils.model_dir.epoch_state import Unfinished
from utils.running.workers import Workers
from utils.sampling.augmentation import Augmentation
from utils.system.progress import Progress
from utils.tf_runtime import tf

# 5 cases, 2 a batch: an epoch is three steps, of 2, 2 and 1 cases.
LOSSES = np.array([1.0, 2.0, 6.0, 5.0, 4.0, 3.0, 0.5, 0.25, 8.0])
CASES = np.array([2, 2, 1] * 3)
SECONDS = np.array([0.5, 1.5, 1.0, 2.0, 4.0, 8.0, 0.1, 0.2, 0.3])
BETWEEN_STEPS = 100.0


def clock(seconds):
    """A clock that is read before and after each step, which takes so many seconds."""
    waits = np.ravel([(BETWEEN_STEPS, each) for each in seconds])
    return iter(np.cumsum(waits)).__next__


class Diverged(Exception):
    pass


class Training:
    """Runs of a graph whose loss at each step is known, in a model folder."""

    def __init__(self, model_dir):
        self.model_dir = str(model_dir)
        self.plan = plan_of(5, 2, 0, Augmentation())
        self.workers = Workers()
        self.shown = io.StringIO()
        self.losses = LOSSES

    def run(self, first, last, log_every=100, unfinished=None):
        """Train from a step, where the checkpoint is, up to another one; returns what is left unfinished."""
        unfinished = unfinished or Unfinished()
        with tf.Graph().as_default():
            step = tf.train.create_global_step()
            loss = tf.gather(tf.constant(self.losses, tf.float32), step, name="loss")
            with tf.control_dependencies([loss]):
                operation = tf.assign_add(step, 1)
            total = self.plan.items_before(last)
            done = self.plan.items_before(first)
            with Progress(total, "training", "images", initial=done, stream=self.shown) as progress:
                hook = TrainingHook(
                    self.workers,
                    self.plan,
                    progress,
                    log_every,
                    self.model_dir,
                    unfinished,
                    Diverged,
                    clock(SECONDS[first:last]),
                )
                with training_session(self.model_dir, hook) as session:
                    for _ in range(first, last):
                        session.run(operation)
        return unfinished

    def summaries(self):
        """What TensorBoard reads."""
        return summaries_in(self.model_dir)


def mean_loss(first, last):
    """The mean over the cases of the steps from `first` up to `last` (exclusive)."""
    return np.average(LOSSES[first:last], weights=CASES[first:last])


def rate(first, last):
    """Images per second of those steps."""
    return CASES[first:last].sum() / SECONDS[first:last].sum()


@pytest.fixture
def training(tmp_path, logged):
    return Training(tmp_path / "model")


def of_epochs(events):
    """What was logged of whole epochs: a list of (epoch, figures)."""
    return [(step[0], data) for step, data in events if len(step) == 1]


def of_steps(events):
    """What was logged within epochs: a list of (epoch, step, loss)."""
    return [(step[0], step[1], data["loss"]) for step, data in events if len(step) == 2]


class TestEpochs:
    def test_the_mean_loss_of_the_cases_and_the_speed_are_logged(self, training, logged):
        training.run(0, 9)
        epochs = of_epochs(logged())
        assert [number for number, _ in epochs] == [1, 2, 3]
        for number, figures in epochs:
            steps = 3 * (number - 1), 3 * number
            assert sorted(figures) == ["images_per_second", "loss"]
            assert figures["loss"] == pytest.approx(mean_loss(*steps))
            assert figures["images_per_second"] == pytest.approx(rate(*steps))

    def test_an_epoch_of_one_step(self, training, logged):
        training.plan = plan_of(5, 50, 0, Augmentation())
        training.run(0, 2)
        losses = [(number, figures["loss"]) for number, figures in of_epochs(logged())]
        assert losses == [(1, pytest.approx(LOSSES[0])), (2, pytest.approx(LOSSES[1]))]
        assert of_epochs(logged())[0][1]["images_per_second"] == pytest.approx(5 / SECONDS[0])

    def test_an_unfinished_epoch_is_not_logged(self, training, logged):
        training.run(0, 5)
        assert [number for number, _ in of_epochs(logged())] == [1]

    def test_tensorboard_has_them_at_the_optimizer_step(self, training, logged):
        training.run(0, 9)
        expected = {}
        for first, last in ((0, 3), (3, 6), (6, 9)):
            expected["training/loss", last] = mean_loss(first, last)
            expected["training/images_per_second", last] = rate(first, last)
        assert training.summaries() == pytest.approx(expected, rel=1e-5)


class TestSteps:
    @pytest.mark.parametrize("log_every, steps", [(1, [1, 2, 4, 5, 7, 8]), (2, [2, 4, 8]), (4, [4, 8]), (10, [])])
    def test_the_running_mean_every_so_many_steps(self, training, logged, log_every, steps):
        training.run(0, 9, log_every)
        found = of_steps(logged())
        assert [step for _, step, _ in found] == steps
        for epoch, step, loss in found:
            assert epoch == (step - 1) // 3 + 1
            assert loss == pytest.approx(mean_loss(3 * (epoch - 1), step))

    def test_progress_counts_cases_and_shows_the_loss(self, training):
        training.run(0, 6)
        assert "training: 10/10 images (100%)" in training.shown.getvalue()
        assert "loss {:.4g}".format(mean_loss(3, 6)) in training.shown.getvalue()


class TestResume:
    @pytest.mark.parametrize("stop", [3, 4, 5, 6])
    def test_numbers_go_on_where_they_were(self, training, logged, stop):
        training.run(0, stop, log_every=1)
        before = len(logged())
        training.run(stop, 9, log_every=1)
        after = logged()[before:]
        assert [number for number, _ in of_epochs(after)] == list(range(stop // 3 + 1, 4))
        assert [step for _, step, _ in of_steps(after)] == [step for step in range(stop + 1, 9) if step % 3]
        assert "training: 15/15 images (100%)" in training.shown.getvalue()

    def test_a_half_epoch_is_measured_by_its_own_cases(self, training, logged):
        training.run(0, 4)
        training.run(4, 9)
        _, second, third = of_epochs(logged())
        assert second[1]["loss"] == pytest.approx(mean_loss(4, 6))
        assert second[1]["images_per_second"] == pytest.approx(rate(4, 6))
        assert third[1]["images_per_second"] == pytest.approx(rate(6, 9))

    @pytest.mark.parametrize("stop", [1, 4, 5])
    def test_the_mean_loss_of_an_epoch_is_that_of_all_its_cases(self, training, logged, stop):
        left = training.run(0, stop)
        begun = stop // 3 * 3
        assert left.cases == CASES[begun:stop].sum()
        assert left.loss == pytest.approx((LOSSES * CASES)[begun:stop].sum())
        left = training.run(stop, 9, unfinished=left)
        assert (left.cases, left.loss) == (0, 0)
        epochs = {number: figures["loss"] for number, figures in of_epochs(logged())}
        assert epochs == pytest.approx({1: mean_loss(0, 3), 2: mean_loss(3, 6), 3: mean_loss(6, 9)})

    def test_tensorboard_goes_on_in_the_same_folder(self, training, logged):
        training.run(0, 3)
        training.run(3, 9)
        found = training.summaries()
        assert [found["training/loss", step] for step in (3, 6, 9)] == pytest.approx(
            [mean_loss(0, 3), mean_loss(3, 6), mean_loss(6, 9)], rel=1e-5
        )


class TestDivergence:
    @pytest.mark.parametrize("loss", [np.nan, np.inf, -np.inf])
    def test_a_loss_that_is_no_number_ends_it_at_once(self, training, logged, loss):
        training.losses = np.array(LOSSES)
        training.losses[4] = loss
        with pytest.raises(Diverged) as caught:
            training.run(0, 9, log_every=1)
        assert caught.value.args == (4, "the loss is {} in".format(loss))
        assert of_steps(logged())[-1][:2] == (2, 4) and len(of_epochs(logged())) == 1
        # The step's own weights are those of a checkpoint neither here nor later.
        assert tf.train.latest_checkpoint(training.model_dir).endswith("-0")


class TestOtherWorkers:
    def test_log_nothing(self, training, logged):
        training.workers.rank = 1
        training.run(0, 6)
        assert of_epochs(logged()) == [] and training.summaries() == {}

    def test_the_first_tells_what_all_did(self, training, logged):
        training.plan = plan_of(7, 2, 0, Augmentation(), workers=2, rank=0)
        training.run(0, 2)
        assert training.plan.shares == [4, 3] and training.plan.steps_per_epoch == 2
        ((_, figures),) = of_epochs(logged())
        assert figures["images_per_second"] == pytest.approx(7 / SECONDS[:2].sum())
        assert "training: 7/7 images" in training.shown.getvalue()


def test_scalars_are_written_under_their_group(tmp_path):
    with tf.Graph().as_default():
        write_scalars(tf.summary.FileWriterCache.get(str(tmp_path)), "group", {"one": 1.5, "two": -2.0}, 17)
    assert summaries_in(str(tmp_path)) == {("group/one", 17): 1.5, ("group/two", 17): -2.0}
