import numpy as np
import pytest
from networks import random_volume

from model.averaging import mean_probabilities, mirrorings
from utils.tf_runtime import tf

IMAGES = random_volume(2, 4, 6, 3, 1)


def brightness(images):
    """A network of two classes that looks at each voxel alone."""
    return tf.concat([tf.sigmoid(images), 1 - tf.sigmoid(images)], axis=-1)


def ramp(images):
    """One that only looks at where a voxel is: its place along x, in all of y and z."""
    places = tf.reshape(tf.range(tf.cast(tf.shape(images)[1], tf.float32)), [1, -1, 1, 1, 1])
    return tf.concat([places + 0 * images, 1 - places + 0 * images], axis=-1)


def evaluate(session, networks, axes):
    return session.run(mean_probabilities(tf.constant(IMAGES), networks, axes))


class TestMirrorings:
    def test_none_is_the_image_itself(self):
        assert mirrorings(()) == [[]]

    @pytest.mark.parametrize("axes, count", [("x", 2), ("xy", 4), ("zyx", 8), (["x", "x"], 2)])
    def test_every_choice_once(self, axes, count):
        found = mirrorings(axes)
        assert len(found) == count == len(set(map(tuple, found)))
        assert found[0] == []

    def test_axes_are_those_of_a_batch(self):
        assert mirrorings(["y"]) == [[], [2]]


class TestMean:
    @pytest.mark.parametrize("axes", ["", "x", "xy", "xyz"])
    def test_a_network_without_a_sense_of_place_is_not_changed(self, session, axes):
        alone = session.run(brightness(tf.constant(IMAGES)))
        np.testing.assert_allclose(evaluate(session, [brightness], axes), alone, rtol=1e-6)

    def test_flips_are_undone_before_they_are_averaged(self, session):
        averaged = evaluate(session, [ramp], "x")[..., 0]
        # Places 0 to 3 and their mirror images 3 to 0.
        np.testing.assert_allclose(averaged, np.full(IMAGES.shape[:4], 1.5), rtol=1e-6)
        np.testing.assert_allclose(evaluate(session, [ramp], "y")[0, :, 0, 0, 0], [0, 1, 2, 3])

    def test_networks_count_alike(self, session):
        both = evaluate(session, [brightness, ramp], "")
        expected = [session.run(network(tf.constant(IMAGES))) for network in (brightness, ramp)]
        np.testing.assert_allclose(both, np.mean(expected, axis=0), rtol=1e-6)

    @pytest.mark.parametrize("axes", ["", "xyz"])
    def test_they_still_add_up_to_one(self, session, axes):
        np.testing.assert_allclose(evaluate(session, [brightness, ramp], axes).sum(axis=-1), 1, rtol=1e-5)

    def test_a_batch_of_many_is_many_of_one(self, session):
        together = evaluate(session, [ramp, brightness], "xz")
        for index in range(len(IMAGES)):
            one = mean_probabilities(tf.constant(IMAGES[index : index + 1]), [ramp, brightness], "xz")
            np.testing.assert_allclose(session.run(one)[0], together[index], rtol=1e-6)
