import numpy as np
import pytest
from networks import random_volume, settings, variable

from model import layers
from utils.tf_runtime import tf

pytestmark = pytest.mark.usefixtures("graph")

MOMENTUM, EPSILON = 0.99, 1e-3


def start(session):
    session.run(tf.global_variables_initializer())


def names():
    return sorted(found.op.name for found in tf.trainable_variables())


def convolved(volume, kernel, stride):
    """Return the zero-padded convolution by its definition, in float64: one shifted copy per kernel voxel."""
    size = kernel.shape[0]
    before = (size - stride) // 2
    padded = np.pad(volume.astype(np.float64), [(0, 0)] + 3 * [(before, size)] + [(0, 0)], mode="constant")
    result = 0.0
    for offset in np.ndindex(kernel.shape[:3]):
        x, y, z = (slice(start, start + side, stride) for start, side in zip(offset, volume.shape[1:4]))
        result = result + padded[:, x, y, z].dot(kernel[offset])
    return result


def plain(convolve, kernel, filters_axis):
    """Nothing follows the convolution."""
    return convolve(kernel)


def batch_normalised(volume):
    """Return a volume as it comes out of batch normalisation in training."""
    return layers.batch_normalised(lambda kernel: volume, tf.zeros([1, 1, 1, 1, volume.shape[-1].value]), 4)


def normalised_by_moments(volume, scale, offset):
    """Return textbook batch normalisation over all but the channels, and the mean and variance."""
    mean, variance = tf.nn.moments(volume, axes=[0, 1, 2, 3])
    return scale * (volume - mean) / tf.sqrt(variance + EPSILON) + offset, mean, variance


class TestConvolution:
    @pytest.mark.parametrize("size, stride", [(3, 1), (5, 1), (2, 2), (1, 1)])
    def test_equals_its_definition(self, session, size, stride):
        volume = random_volume(2, 4, 6, 2, 3)
        result = layers.convolution(tf.constant(volume), 5, size, plain, stride)
        start(session)
        found, kernel = session.run([result, variable("kernel")])
        np.testing.assert_allclose(found, convolved(volume, kernel, stride), rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("size", [2, 3, 5])
    def test_a_stride_of_two_halves_each_side(self, size):
        result = layers.convolution(tf.placeholder(tf.float32, [None, 8, 12, 6, 1]), 7, size, plain, stride=2)
        assert result.shape.as_list() == [None, 4, 6, 3, 7]

    def test_the_bias_starts_at_zero_and_is_added_to_each_channel(self, session):
        volume = tf.constant(random_volume(1, 4, 4, 4, 1))
        with tf.variable_scope("scope", reuse=tf.AUTO_REUSE):
            biased = layers.convolution(volume, 2, 3, layers.biased)
            unbiased = layers.convolution(volume, 2, 3, plain)
        start(session)
        assert session.run(variable("bias")).tolist() == [0.0, 0.0]
        variable("bias").load([1.5, -2.0], session)
        difference = session.run(biased - unbiased)
        np.testing.assert_allclose(difference, np.broadcast_to([1.5, -2.0], difference.shape), atol=1e-5)


class TestTransposedConvolution:
    def test_equals_its_definition(self, session):
        volume = random_volume(2, 2, 3, 4, 5)
        result = layers.transposed_convolution(tf.constant(volume), 3, plain)
        start(session)
        found, kernel = session.run([result, variable("kernel")])
        expected = np.zeros((2, 4, 6, 8, 3))
        for x, y, z in np.ndindex(2, 2, 2):
            expected[:, x::2, y::2, z::2] = volume.dot(kernel[x, y, z].T)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)

    def test_doubles_each_side_and_keeps_the_batch_open(self):
        result = layers.transposed_convolution(tf.placeholder(tf.float32, [None, 2, 5, 3, 4]), 6, plain)
        assert result.shape.as_list() == [None, 4, 10, 6, 6]

    def test_takes_a_bias_per_output_channel(self):
        layers.transposed_convolution(tf.zeros([1, 2, 2, 2, 1]), 2, layers.biased)
        assert names() == ["bias", "kernel"]
        assert variable("bias").shape.as_list() == [2]


class TestBatchNormalization:
    def test_equals_the_textbook_in_values_and_gradients(self, session):
        volume = tf.constant(3.0 + 2.0 * random_volume(3, 4, 2, 6, 5))
        weights = random_volume(3, 4, 2, 6, 5)
        found = batch_normalised(volume)
        scale, offset = variable("scale"), variable("offset")
        expected, _, _ = normalised_by_moments(volume, scale, offset)
        start(session)
        scale.load([0.5, 1.0, -2.0, 3.0, 0.1], session)
        offset.load([1.0, -1.0, 0.0, 0.5, 2.0], session)
        sources = [volume, scale, offset]
        ours, textbook = session.run(
            [[result] + tf.gradients(result * weights, sources) for result in (found, expected)]
        )
        for one, other in zip(ours, textbook):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)

    def test_every_channel_comes_out_with_mean_zero_and_variance_one(self, session):
        result = batch_normalised(tf.constant(5.0 + 30.0 * random_volume(2, 4, 6, 8, 2)))
        start(session)
        values = session.run(result)
        np.testing.assert_allclose(values.mean(axis=(0, 1, 2, 3)), 0.0, atol=1e-4)
        np.testing.assert_allclose(values.std(axis=(0, 1, 2, 3)), 1.0, atol=1e-3)

    def test_moving_statistics_go_a_hundredth_of_the_way_to_mean_and_unbiased_variance(self, session):
        volume = 3.0 + 2.0 * random_volume(2, 2, 3, 2, 4)
        batch_normalised(tf.constant(volume))
        updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
        start(session)
        mean, variance = volume.mean(axis=(0, 1, 2, 3)), volume.var(axis=(0, 1, 2, 3), ddof=1)
        moving_mean, moving_variance = np.zeros(4), np.ones(4)
        for _ in range(3):
            session.run(updates)
            moving_mean = MOMENTUM * moving_mean + (1.0 - MOMENTUM) * mean
            moving_variance = MOMENTUM * moving_variance + (1.0 - MOMENTUM) * variance
        np.testing.assert_allclose(session.run(variable("moving_mean")), moving_mean, rtol=1e-4)
        np.testing.assert_allclose(session.run(variable("moving_variance")), moving_variance, rtol=1e-4)

    def test_only_scale_and_offset_are_trained(self):
        batch_normalised(tf.zeros([1, 2, 2, 2, 3]))
        assert names() == ["offset", "scale"]

    def test_the_shape_stays_known(self):
        result = batch_normalised(tf.placeholder(tf.float32, [None, 4, 2, 6, 3]))
        assert result.shape.as_list() == [None, 4, 2, 6, 3]


class TestFolded:
    @pytest.mark.parametrize("transposed", [False, True])
    def test_equals_convolution_then_the_textbook_with_moving_statistics(self, session, transposed):
        volume = random_volume(2, 4, 2, 6, 3)

        def convolution(finish):
            if transposed:
                return layers.transposed_convolution(tf.constant(volume), 2, finish)
            return layers.convolution(tf.constant(volume), 2, 3, finish, stride=2)

        with tf.variable_scope("scope", reuse=tf.AUTO_REUSE):
            result, unnormalised = convolution(layers.folded), convolution(plain)
        assert tf.get_collection(tf.GraphKeys.UPDATE_OPS) == []
        start(session)
        variable("moving_mean").load([1.0, -3.0], session)
        variable("moving_variance").load([4.0, 0.25], session)
        variable("scale").load([2.0, 1.0], session)
        variable("offset").load([0.0, 7.0], session)
        found, before = session.run([result, unnormalised])
        expected = [2.0, 1.0] * (before - [1.0, -3.0]) / np.sqrt(np.array([4.0, 0.25]) + EPSILON) + [0.0, 7.0]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)

    def test_has_the_variables_of_training(self):
        volume = tf.zeros([1, 2, 2, 2, 3])
        with tf.variable_scope("scope", reuse=tf.AUTO_REUSE):
            layers.convolution(volume, 2, 3, layers.batch_normalised)
            made = tf.global_variables()
            layers.convolution(volume, 2, 3, layers.folded)
        assert tf.global_variables() == made


class TestActivation:
    def test_relu_cuts_what_is_negative(self, session):
        result = layers.activation(tf.constant([[-2.0, 0.0, 3.0]]), settings())
        assert session.run(result).tolist() == [[0.0, 0.0, 3.0]]

    def test_prelu_has_one_slope_per_channel_that_starts_at_a_quarter(self, session):
        result = layers.activation(tf.constant([[-2.0, -2.0, 3.0], [0.0, 4.0, -4.0]]), settings(activation="prelu"))
        start(session)
        assert session.run(result).tolist() == [[-0.5, -0.5, 3.0], [0.0, 4.0, -1.0]]
        variable("slope").load([1.0, 0.0, 0.5], session)
        assert session.run(result).tolist() == [[-2.0, 0.0, 3.0], [0.0, 4.0, -2.0]]

    def test_prelu_learns_its_slope_from_what_is_negative(self, session):
        result = layers.activation(tf.constant([[-2.0, 3.0], [-5.0, 1.0]]), settings(activation="prelu"))
        start(session)
        assert session.run(tf.gradients(result, variable("slope"))[0]).tolist() == [-7.0, 0.0]


class TestResidualBlock:
    @pytest.mark.parametrize("depth", [1, 2, 3])
    def test_adds_what_came_in_before_the_last_activation(self, session, depth):
        volume = random_volume(1, 4, 4, 4, 2)
        result = layers.residual_block(tf.constant(volume), depth, settings(normalization_layer="none"), True)
        start(session)
        kernels = [found for found in tf.trainable_variables() if found.op.name.endswith("kernel")]
        assert len(kernels) == depth
        for kernel in kernels:
            kernel.load(np.zeros(kernel.shape.as_list()), session)
        np.testing.assert_array_equal(session.run(result), np.maximum(volume, 0.0))

    def test_equals_its_parts_in_order(self, session):
        volume = random_volume(1, 4, 2, 6, 2)
        result = layers.residual_block(tf.constant(volume), 2, settings(normalization_layer="none"), True)
        start(session)
        first, second = session.run([variable("convolution_1/kernel"), variable("convolution_2/kernel")])
        between = np.maximum(convolved(volume, first, 1), 0.0)
        expected = np.maximum(convolved(between, second, 1) + volume, 0.0)
        np.testing.assert_allclose(session.run(result), expected, rtol=1e-4, atol=1e-4)

    def test_normalises_after_every_convolution_instead_of_adding_a_bias(self):
        layers.residual_block(tf.zeros([1, 4, 4, 4, 2]), 2, settings(), training=True)
        parts = [
            "convolution_{}/{}".format(number, part) for number in (1, 2) for part in ("kernel", "offset", "scale")
        ]
        assert names() == parts
        assert len(tf.get_collection(tf.GraphKeys.UPDATE_OPS)) == 4


class TestDownBlock:
    @pytest.mark.parametrize("pooling, side", [("conv_pool", 2), ("max_pool", 1)])
    def test_halves_each_side_and_doubles_the_channels(self, pooling, side):
        result = layers.down_block(tf.zeros([3, 8, 4, 6, 5]), 1, settings(pooling=pooling), True)
        assert result.shape.as_list() == [3, 4, 2, 3, 10]
        assert variable("pooling/kernel").shape.as_list() == [side, side, side, 5, 10]

    def test_max_pooling_takes_the_largest_of_eight_voxels(self, session):
        chosen = settings(pooling="max_pool", normalization_layer="none")
        volume = np.abs(random_volume(1, 4, 6, 2, 1))
        result = layers.down_block(tf.constant(volume), 1, chosen, True)
        start(session)
        variable("pooling/kernel").load(np.full((1, 1, 1, 1, 2), [1.0, 2.0]), session)
        residual = variable("convolution_1/kernel")
        residual.load(np.zeros(residual.shape.as_list()), session)
        largest = volume.reshape(1, 2, 2, 3, 2, 1, 2, 1).max(axis=(2, 4, 6))
        np.testing.assert_allclose(session.run(result), np.concatenate([largest, 2.0 * largest], axis=-1), rtol=1e-5)


class TestUpBlock:
    def test_takes_the_grid_of_the_skip_connection_and_twice_its_channels(self):
        result = layers.up_block(tf.zeros([2, 2, 3, 1, 8]), tf.zeros([2, 4, 6, 2, 5]), 1, settings(), True)
        assert result.shape.as_list() == [2, 4, 6, 2, 10]

    def test_joins_what_was_upsampled_with_the_skip_connection(self, session):
        volume, skip = np.abs(random_volume(1, 2, 2, 2, 2)), np.abs(random_volume(1, 4, 4, 4, 3))
        result = layers.up_block(tf.constant(volume), tf.constant(skip), 1, settings(normalization_layer="none"), True)
        start(session)
        residual = variable("convolution_1/kernel")
        residual.load(np.zeros(residual.shape.as_list()), session)
        found, kernel = session.run([result, variable("upsampling/kernel")])
        np.testing.assert_array_equal(found[..., 3:], skip)
        np.testing.assert_allclose(
            found[:, 1::2, ::2, 1::2, :3], np.maximum(volume.dot(kernel[1, 0, 1].T), 0.0), rtol=1e-4, atol=1e-6
        )


class TestInputAndOutput:
    def test_the_input_block_makes_channels_of_any_number_of_them(self):
        result = layers.input_block(tf.zeros([1, 4, 2, 6, 4]), 16, settings(), True)
        assert result.shape.as_list() == [1, 4, 2, 6, 16]
        assert variable("input/kernel").shape.as_list() == [3, 3, 3, 4, 16]

    def test_the_output_block_is_a_plain_convolution_with_bias(self, session):
        volume = random_volume(1, 4, 2, 4, 2)
        result = layers.output_block(tf.constant(volume), settings())
        assert names() == ["output/bias", "output/kernel"]
        start(session)
        variable("output/bias").load([10.0, -20.0, 30.0], session)
        found, kernel = session.run([result, variable("output/kernel")])
        assert (found[..., 1] < 0.0).all()
        np.testing.assert_allclose(found, convolved(volume, kernel, 1) + [10.0, -20.0, 30.0], rtol=1e-4, atol=1e-4)


def convolved_image(image, kernel, padding):
    """Return the convolution of images by its definition, in float64: one shifted copy per kernel pixel."""
    size = kernel.shape[0]
    around = size // 2 if padding == "same" else 0
    padded = np.pad(image.astype(np.float64), [(0, 0), (around, around), (around, around), (0, 0)], "constant")
    width, height = (side - size + 1 for side in padded.shape[1:3])
    return sum(padded[:, x : x + width, y : y + height].dot(kernel[x, y]) for x, y in np.ndindex(size, size))


class TestImages:
    """The layers that take volumes and images alike, on images."""

    @pytest.mark.parametrize("padding", ["valid", "same"])
    @pytest.mark.parametrize("size", [1, 3])
    def test_convolution_equals_its_definition(self, session, size, padding):
        image = random_volume(2, 7, 5, 3)
        result = layers.convolution(tf.constant(image), 4, size, layers.biased, padding=padding)
        start(session)
        variable("bias").load([1.0, -2.0, 3.0, 0.0], session)
        found, kernel = session.run([result, variable("kernel")])
        expected = convolved_image(image, kernel, padding) + [1.0, -2.0, 3.0, 0.0]
        assert result.shape.as_list() == list(expected.shape)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)

    def test_transposed_convolution_equals_its_definition(self, session):
        image = random_volume(2, 3, 4, 5)
        result = layers.transposed_convolution(tf.constant(image), 3, plain)
        start(session)
        found, kernel = session.run([result, variable("kernel")])
        expected = np.zeros((2, 6, 8, 3))
        for x, y in np.ndindex(2, 2):
            expected[:, x::2, y::2] = image.dot(kernel[x, y].T)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)

    def test_max_pooling_takes_the_largest_of_four_pixels(self, session):
        image = random_volume(2, 6, 4, 3)
        found = session.run(layers.max_pooling(tf.constant(image)))
        np.testing.assert_array_equal(found, image.reshape(2, 3, 2, 2, 2, 3).max(axis=(2, 4)))

    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("layer, size", [(layers.convolution, [3]), (layers.transposed_convolution, [])])
    def test_normalisation_equals_the_textbook(self, session, layer, size, training):
        image = tf.constant(random_volume(3, 4, 6, 2))
        with tf.variable_scope("scope", reuse=tf.AUTO_REUSE):
            normalised = layer(image, 5, *size + [layers.normalisation(settings(), training)])
            raw = layer(image, 5, *size + [plain])
        start(session)
        values = {"scale": [1.0, 2.0, 0.5, -3.0, 1.5], "offset": [0.0, 1.0, -1.0, 2.0, 0.5]}
        values.update(moving_mean=[0.0, 1.0, 2.0, -3.0, 4.0], moving_variance=[1.0, 2.0, 0.5, 4.0, 5.0])
        for name, value in values.items():
            variable(name).load(value, session)
        found, before = session.run([normalised, raw])
        mean, variance = (values["moving_" + name] for name in ("mean", "variance"))
        if training:
            mean, variance = before.mean(axis=(0, 1, 2)), before.var(axis=(0, 1, 2))
        expected = values["scale"] * (before - mean) / np.sqrt(np.add(variance, EPSILON)) + values["offset"]
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


class TestDropout:
    def test_drops_a_part_and_scales_up_the_rest_and_the_gradients_alike(self, session):
        tf.train.get_or_create_global_step()
        values = tf.constant(1.0 + np.abs(random_volume(4, 20, 20, 3)))
        dropped = layers.dropout(values, 0.25)
        start(session)
        found, whole, gradient = session.run([dropped, values, tf.gradients(dropped, values)[0]])
        assert 0.22 < (found == 0).mean() < 0.28
        np.testing.assert_allclose(found[found != 0], whole[found != 0] / 0.75, rtol=1e-6)
        np.testing.assert_allclose(gradient, (found != 0) / 0.75, rtol=1e-6)

    def test_differs_from_place_to_place_in_the_network_and_from_seed_to_seed(self, session):
        tf.train.get_or_create_global_step()
        found = []
        for seed, scope in ((1, "one"), (1, "other"), (2, "one"), (1, "one")):
            tf.set_random_seed(seed)
            with tf.variable_scope(scope):
                found.append(layers.dropout(tf.ones([1, 8, 8, 8, 2]), 0.5))
        start(session)
        found = session.run(found)
        np.testing.assert_array_equal(found[0], found[3])
        assert len({each.tobytes() for each in found}) == 3
