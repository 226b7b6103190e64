import pytest
from training_logs import epoch, write_log

from utils.visualization.training_log import mean_epochs, read_epochs


class TestReadingEpochs:
    def read(self, tmp_path, *events, **arguments):
        return read_epochs(write_log(tmp_path / "log.json", *events, **arguments))

    def test_parts_of_one_epoch_are_put_together(self, tmp_path):
        events = [epoch([1], loss=0.5, images_per_second=9.0), epoch(1, soft_dice_A=0.7), epoch([2], loss=0.4)]
        assert self.read(tmp_path, *events) == {1: {"loss": 0.5, "soft_dice_A": 0.7}, 2: {"loss": 0.4}}

    def test_other_events_are_left_out(self, tmp_path):
        events = [
            epoch("PARAMETER", loss="dice"),
            {"type": "METADATA", "metric": "loss", "metadata": {}},
            epoch([1, 20], loss=9.0),
            epoch([], soft_dice_A=0.1),
            epoch([1], loss=0.5),
            epoch([2], loss="dice"),
            epoch([3], loss=None),
            epoch([4], loss=10**400),
            epoch([10**400], loss=0.5),
        ]
        assert self.read(tmp_path, *events) == {1: {"loss": 0.5}}

    def test_epochs_trained_again_count_once_with_all_that_follow(self, tmp_path):
        first = [epoch([n], loss=float(n), soft_dice_A=0.1 * n) for n in (1, 2, 3, 4)]
        again = [epoch([2], loss=20.0, soft_dice_A=0.9), epoch([3], loss=30.0)]
        assert self.read(tmp_path, *(first + again)) == {
            1: {"loss": 1.0, "soft_dice_A": 0.1},
            2: {"loss": 20.0, "soft_dice_A": 0.9},
            3: {"loss": 30.0},
        }

    def test_a_later_evaluation_of_an_epoch_leaves_those_after_it(self, tmp_path):
        events = [epoch([n], loss=float(n)) for n in (1, 2, 3)] + [epoch([2], soft_dice_A=0.9)]
        assert sorted(self.read(tmp_path, *events)) == [1, 2, 3]

    @pytest.mark.parametrize(
        "tail", ['DLLL {"type": "LOG", "ste', "DLLL", "a note\n", "DLLL [1]\n", "DLLL 3\n", "\x00\x00"]
    )
    def test_lines_that_are_no_events(self, tmp_path, tail):
        assert self.read(tmp_path, epoch([1], loss=0.5), tail=tail) == {1: {"loss": 0.5}}


class TestMeanEpochs:
    def test_are_those_of_the_logs_that_hold_any(self, tmp_path):
        logs = [
            write_log(tmp_path / "a", epoch([1], loss=0.5, soft_dice_A=0.4), epoch([2], loss=0.3)),
            write_log(tmp_path / "b", epoch([1], loss=0.7)),
            write_log(tmp_path / "empty"),
            str(tmp_path / "missing"),
        ]
        count, means = mean_epochs(logs)
        assert count == 2
        assert means == {1: {"loss": pytest.approx(0.6), "soft_dice_A": 0.4}, 2: {"loss": 0.3}}

    def test_of_one_log_are_its_own(self, tmp_path):
        log = write_log(tmp_path / "a", epoch([1], loss=0.5), epoch([2], loss=0.3))
        assert mean_epochs([log]) == (1, read_epochs(log))

    def test_of_none(self):
        assert mean_epochs([]) == (0, {})
