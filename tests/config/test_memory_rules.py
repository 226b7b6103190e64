import pytest

from utils import job
from utils.config import memory_rules
from utils.imaging import tasks
from utils.system import memory
from utils.system.errors import UserError

CASES = tuple(tasks.Case("case_{}".format(number), "image", "label") for number in range(4))


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """A machine of a gigabyte and without a GPU."""
    monkeypatch.setattr(memory, "limit", lambda: 10**9)
    monkeypatch.setattr(memory_rules.hardware, "gpu_names", lambda: [])


@pytest.fixture
def check(params):
    def run(changes, **cases):
        memory_rules.check(dict(params, **changes), job.Job({}, **cases))

    return run


class TestTraining:
    # Two values of 16 filters in float32, and one of the image: 132 bytes per voxel.
    @pytest.mark.parametrize("size, fits", [(152, True), (160, False)])
    def test_the_largest_that_fits(self, check, size, fits):
        if fits:
            return check({"input_shape": [size, size, 304], "batch_size": 1}, training=CASES)
        with pytest.raises(UserError, match="^--input_shape 160 160 304: training 1 image at a time takes at least"):
            check({"input_shape": [size, size, 304], "batch_size": 1}, training=CASES)

    def test_a_batch_counts_and_can_be_made_smaller(self, check):
        with pytest.raises(UserError, match="training 4 images .* use a smaller one or a smaller --batch_size$"):
            check({"input_shape": [152, 152, 304], "batch_size": 100}, training=CASES)

    def test_parts_count_instead_of_the_whole(self, check):
        check({"input_shape": [160, 160, 304], "crop_shape": [80, 80, 80]}, training=CASES)
        with pytest.raises(UserError, match="^--crop_shape 160 160 296: training"):
            check({"input_shape": [160, 160, 304], "crop_shape": [160, 160, 296]}, training=CASES)

    def test_a_case_may_have_several_patches(self, check):
        with pytest.raises(UserError, match="training 6 images"):
            check({"input_shape": [152, 152, 304], "batch_size": 6, "patches_per_case": 3}, training=CASES[:2])

    def test_half_precision_takes_half(self, check):
        check({"input_shape": [160, 160, 304], "batch_size": 1, "amp": True}, training=CASES)

    def test_of_folds(self, check):
        with pytest.raises(UserError, match="training 2 images"):
            check({"input_shape": [160, 160, 304]}, folds=(job.Job({}, training=CASES),))


class TestPrediction:
    def test_takes_less(self, check):
        check({"input_shape": [160, 160, 304]}, predicted=CASES)
        with pytest.raises(UserError, match="^--input_shape 400 400 304: prediction 1 image at a time takes"):
            check({"input_shape": [400, 400, 304]}, held_out=CASES)

    def test_a_batch_size_that_is_given_counts(self, check):
        with pytest.raises(UserError, match="prediction 3 images .* or a smaller --batch_size$"):
            check({"input_shape": [160, 160, 304], "prediction_batch_size": 3}, predicted=CASES)


def test_the_memory_of_gpus_is_their_own(check, monkeypatch):
    monkeypatch.setattr(memory_rules.hardware, "gpu_names", lambda: ["V100"])
    check({"input_shape": [1024, 1024, 1024]}, training=CASES)
