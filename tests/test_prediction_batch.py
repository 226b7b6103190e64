import pytest

from utils.prediction_batch import prediction_batch_size


@pytest.mark.parametrize("on_gpu, items", [(False, 8), (True, 32)])
def test_follows_from_the_size_of_an_item(on_gpu, items):
    assert prediction_batch_size([32, 32, 32], on_gpu) == items
    assert prediction_batch_size([16, 32, 64], on_gpu) == items
    assert prediction_batch_size([64, 64, 32], on_gpu) == items // 4
    assert prediction_batch_size([128, 128, 128], on_gpu) == 1
