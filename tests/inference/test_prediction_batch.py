import pytest

from utils.inference.prediction_batch import prediction_batch_size


@pytest.mark.parametrize("on_gpu, items", [(False, 8), (True, 32)])
def test_follows_from_the_size_of_an_item(params, on_gpu, items):
    def batch_size(*shape):
        return prediction_batch_size(dict(params, input_shape=list(shape)), on_gpu)

    assert batch_size(32, 32, 32) == items
    assert batch_size(16, 32, 64) == items
    assert batch_size(64, 64, 32) == items // 4
    assert batch_size(128, 128, 128) == 1


def test_of_slices_it_follows_from_what_the_network_sees(params):
    """Unpadded, 16x16 pixels are framed by their mirrored borders to 204x204, in 64 channels."""
    unet = dict(params, model="unet", input_shape=[16, 16, 1], slice_axis="z", levels=4, filters=64, padding="valid")
    assert prediction_batch_size(unet, False) == 8 * 32**3 * 16 // (64 * 204 * 204) == 1
    assert prediction_batch_size(dict(unet, filters=16, padding="same"), False) == 8 * 32**3 // (16 * 16)
