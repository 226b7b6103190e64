import numpy as np
import pytest
from networks import random_volume

from model.networks import logits_of, network_settings, supervised_logits
from model.unet import UNetSettings, labelled
from utils.tf_runtime import tf

pytestmark = pytest.mark.usefixtures("graph")


@pytest.fixture
def unet_params(params):
    return dict(params, model="unet", levels=1, filters=4, padding="valid", dropout=0.0, slice_axis="z")


def logits(params, shape):
    return logits_of(tf.constant(random_volume(*shape)), params, training=False, scope=tf.variable_scope)


class TestVNet:
    def test_is_chosen_by_name(self, params):
        assert logits(params, (2, 16, 16, 16, 1)).shape.as_list() == [2, 16, 16, 16, len(params["labels"])]
        assert {variable.op.name.split("/")[0] for variable in tf.global_variables()} == {"vnet"}

    def test_has_coarser_logits_with_deep_supervision(self, params):
        params.update(downscale_blocks=[1, 1], upscale_blocks=[1])
        volume = tf.constant(random_volume(1, 16, 16, 16, 1))
        assert len(supervised_logits(volume, dict(params, deep_supervision=True), tf.variable_scope)) == 2
        assert len(supervised_logits(volume, params, tf.variable_scope)) == 1


class TestUNet:
    @pytest.mark.parametrize("axis", "xyz")
    def test_labels_every_pixel_of_slices_across_an_axis(self, unet_params, axis):
        number = "xyz".index(axis)
        shape = [9, 14][:number] + [1] + [9, 14][number:]
        found = logits(dict(unet_params, slice_axis=axis), [2] + shape + [2])
        assert found.shape.as_list() == [2] + shape + [len(unet_params["labels"])]

    def test_gives_what_it_gives_in_two_dimensions(self, unet_params, session):
        images = random_volume(2, 1, 12, 10, 1)
        found = logits_of(tf.constant(images), dict(unet_params, slice_axis="x"), False, tf.variable_scope)
        flat = labelled(tf.constant(images[:, 0]), network_settings(unet_params), training=False)
        session.run(tf.global_variables_initializer())
        found, expected = session.run([found, flat])
        np.testing.assert_array_equal(found[:, 0], expected)

    def test_its_settings_come_from_the_params(self, params):
        chosen = dict(levels=3, filters=5, padding="same", dropout=0.2, normalization_layer="none")
        classes = len(params["labels"])
        assert network_settings(dict(params, model="unet", **chosen)) == UNetSettings(classes=classes, **chosen)
