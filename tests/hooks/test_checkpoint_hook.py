import os

import numpy as np
import pytest
from command_line import checkpoint_steps

from utils.hooks.checkpoint_hook import CheckpointHook
from utils.model_dir import checkpoints
from utils.model_dir.epoch_state import Unfinished
from utils.tf_runtime import tf


class Diverged(Exception):
    pass


class Training:
    """Runs whose only weight is the step, in a model's folder."""

    def __init__(self, folder):
        self.folder = str(folder)

    def run(self, last, every_steps=4, kept=3, unfinished=None, weight_at=None):
        """Train up to a step from the last checkpoint on; `weight_at` maps steps to weights that are otherwise."""
        with tf.Graph().as_default():
            step, weight = tf.train.create_global_step(), tf.get_variable("weight", [])
            value = tf.placeholder(tf.float32, [])
            operation = tf.group(tf.assign_add(step, 1), tf.assign(weight, value))
            saver = tf.train.Saver(sharded=True, max_to_keep=kept)
            tf.add_to_collection(tf.GraphKeys.SAVERS, saver)
            hook = CheckpointHook(self.folder, every_steps, kept, unfinished or Unfinished(), Diverged)
            with tf.train.MonitoredTrainingSession(
                checkpoint_dir=self.folder,
                scaffold=tf.train.Scaffold(saver=saver),
                hooks=[hook],
                save_checkpoint_secs=None,
                save_summaries_steps=None,
                save_summaries_secs=None,
                log_step_count_steps=None,
            ) as session:
                # Past the hooks, which do not count this one.
                for number in range(session._tf_sess().run(step) + 1, last + 1):
                    session.run(operation, {value: (weight_at or {}).get(number, number)})

    def events(self):
        """All events that were written for TensorBoard."""
        found = []
        for name in sorted(os.listdir(self.folder)):
            if name.startswith("events."):
                found += tf.train.summary_iterator(os.path.join(self.folder, name))
        return found


@pytest.fixture
def training(tmp_path):
    return Training(tmp_path / "model")


class TestSteps:
    def test_at_the_beginning_every_so_often_and_at_the_end(self, training):
        training.run(10, kept=9)
        assert checkpoint_steps(training.folder) == [0, 4, 8, 10]
        assert any(event.graph_def for event in training.events())

    def test_a_run_that_goes_on_within_an_epoch_comes_back_to_its_beat(self, training):
        training.run(6, kept=9)
        before = os.stat(os.path.join(training.folder, "model.ckpt-6.index")).st_mtime_ns
        training.run(12, kept=9)
        assert checkpoint_steps(training.folder) == [0, 4, 6, 8, 12]
        # What is there is not written again.
        assert os.stat(os.path.join(training.folder, "model.ckpt-6.index")).st_mtime_ns == before
        starts = [event.step for event in training.events() if event.session_log.status == tf.SessionLog.START]
        assert starts == [1, 7]

    def test_the_first_one_is_not_written_again(self, training, monkeypatch):
        training.run(0, kept=9)
        # As where a kill comes while it is: there would be no other.
        monkeypatch.setattr(checkpoints, "save", None)
        training.run(0, kept=9)
        assert checkpoint_steps(training.folder) == [0]

    def test_what_is_unfinished_goes_with_it(self, training):
        training.run(6, unfinished=Unfinished(1.5, 3, False))
        path = checkpoints.path_of(training.folder, 6)
        assert checkpoints.note_of(path) == {"loss": 1.5, "cases": 3.0, "is_due": False}


class TestDivergence:
    @pytest.mark.parametrize("weight", [np.nan, np.inf])
    @pytest.mark.parametrize("at, last", [(8, 4), (10, 8)])
    def test_weights_that_are_no_numbers_are_not_saved(self, training, weight, at, last):
        with pytest.raises(Diverged, match="the weights are no numbers any more after") as caught:
            training.run(10, weight_at={at: weight})
        assert caught.value.args[0] == at - 1
        assert checkpoints.last_listed(training.folder) == checkpoints.path_of(
            training.folder, at // 4 * 4 - 4 * (at == 8)
        )
