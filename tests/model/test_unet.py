import functools

import numpy as np
import pytest
from networks import random_volume, variable

from model.layers import MOVING_STATISTICS
from model.mirroring import input_size, margin
from model.unet import UNetSettings, labelled, unet
from utils.tf_runtime import tf
from utils.var_storage import averaged_weights_scope, frozen_weights_scope, master_weights_scope

pytestmark = pytest.mark.usefixtures("graph")

SMALL = UNetSettings(classes=3, filters=4, levels=2, dropout=0.0)
# Channels and settings: one of each choice, and the numbers of channels and of structures beside the usual ones.
VARIANTS = {
    "valid": (1, SMALL),
    "same": (1, SMALL._replace(padding="same")),
    "batchnorm": (1, SMALL._replace(normalization_layer="batchnorm")),
    "one_level": (2, SMALL._replace(levels=1, filters=3, classes=2)),
    "three_levels": (3, SMALL._replace(levels=3, filters=2, padding="same", normalization_layer="batchnorm")),
}
ALL = pytest.mark.parametrize("name", sorted(VARIANTS))
MOST_DIFFERENT = pytest.mark.parametrize("name", ["three_levels", "valid"])


def images_of(channels, chosen, sides=(9, 14)):
    """Return a placeholder-sized batch of images of which so many pixels at least are labelled."""
    return random_volume(2, *[input_size(side, chosen.levels, chosen.padding) for side in sides] + [channels])


def logits_of(images, chosen, training=False, **options):
    return unet(tf.constant(images), chosen, training, **options)


def trainable_parameters():
    return sum(int(np.prod(found.shape.as_list())) for found in tf.trainable_variables())


def expected_parameters(channels, chosen):
    """Count by hand: square kernels of size**2 * in * out, and the vectors that follow each of them."""
    vectors = 1 if chosen.normalization_layer == "none" else 2

    def unit(pixels, before, after):
        return pixels * before * after + vectors * after

    count, before = 0, channels
    for level in range(chosen.levels + 1):
        filters = chosen.filters * 2**level
        count += unit(9, before, filters) + unit(9, filters, filters)
        before = filters
    for level in reversed(range(chosen.levels)):
        filters = chosen.filters * 2**level
        count += unit(4, 2 * filters, filters) + unit(9, 2 * filters, filters) + unit(9, filters, filters)
    return count + chosen.filters * chosen.classes + chosen.classes


class TestSize:
    def test_that_of_the_paper_has_31_million_parameters_and_gives_388_pixels_of_572(self):
        chosen = UNetSettings(classes=2)
        logits = unet(tf.placeholder(tf.float32, [None, 572, 572, 1]), chosen, training=False)
        assert logits.shape.as_list() == [None, 388, 388, 2]
        assert trainable_parameters() == expected_parameters(1, chosen) == 31030658
        filters = [variable(name + "/convolution_2/kernel").shape[-1].value for name in ("down_1", "down_4", "bottom")]
        assert filters == [64, 512, 1024]

    def test_that_of_the_paper_runs(self, session):
        """With a sixteenth of the filters, which decide no size."""
        logits = logits_of(random_volume(1, 572, 572, 1), UNetSettings(classes=2, filters=4))
        session.run(tf.global_variables_initializer())
        values = session.run(logits)
        assert values.shape == (1, 388, 388, 2) and np.isfinite(values).all()

    @ALL
    def test_the_parameters_are_those_counted_by_hand(self, name):
        channels, chosen = VARIANTS[name]
        logits_of(images_of(channels, chosen), chosen)
        assert trainable_parameters() == expected_parameters(channels, chosen)

    @pytest.mark.parametrize("padding", ["valid", "same"])
    @pytest.mark.parametrize("levels", [1, 3, 5])
    def test_what_comes_out_is_what_is_known_without_building_it(self, levels, padding):
        chosen = SMALL._replace(filters=1, levels=levels, padding=padding)
        sides = [input_size(side, levels, padding) for side in (1, 70)]
        logits = unet(tf.placeholder(tf.float32, [None] + sides + [1]), chosen, training=False)
        assert logits.shape.as_list()[1:3] == [side - margin(levels, padding) for side in sides]


class TestPlaces:
    """Every pixel is labelled where it is: what is far from a pixel changes nothing there, its own place does."""

    @pytest.mark.parametrize("padding", ["valid", "same"])
    def test_a_pixel_is_seen_around_its_own_place_alone(self, session, padding):
        # One level: two convolutions, pooling, two, upsampling, two.
        chosen = SMALL._replace(levels=1, padding=padding, filters=8)
        images = tf.placeholder(tf.float32, [1, 40, 40, 1])
        logits = unet(images, chosen, training=False)
        session.run(tf.global_variables_initializer())
        image = random_volume(1, 40, 40, 1)
        before = session.run(logits, {images: image})
        image[0, 20, 17] += 1.0
        changed = np.abs(session.run(logits, {images: image}) - before)[0].max(axis=-1)
        places = np.argwhere(changed > 1e-6 * changed.max()) + (8 if padding == "valid" else 0)
        assert 4 <= np.abs(places - (20, 17)).max() <= 9

    def test_every_pixel_of_an_image_gets_logits_and_its_neighbours_see_no_frame(self, session):
        """In the middle, a framed image gives what a larger one gives that it is a part of."""
        chosen = SMALL._replace(levels=1, filters=8)
        larger = random_volume(40, 36, 1)
        results = []
        for image in (larger, larger[4:30, 6:34]):
            logits = labelled(tf.constant(image[None]), chosen, training=False)
            if not results:
                session.run(tf.global_variables_initializer())
            found = session.run(logits)[0]
            assert found.shape == image.shape[:2] + (3,)
            results.append(found)
        np.testing.assert_allclose(results[1][9:-9, 9:-9], results[0][13:21, 15:25], rtol=1e-4, atol=1e-5)


class TestVariables:
    def test_every_kernel_has_a_bias_and_nothing_moves_as_in_the_paper(self):
        logits_of(images_of(1, SMALL), SMALL, training=True)
        parts = [found.op.name.split("/")[-1] for found in tf.global_variables()]
        assert sorted(set(parts)) == ["bias", "kernel"] and parts.count("bias") == parts.count("kernel") == 13
        assert tf.get_collection(tf.GraphKeys.UPDATE_OPS) == tf.get_collection(MOVING_STATISTICS) == []

    def test_names(self):
        logits_of(images_of(1, SMALL), SMALL)
        kernels = [found.op.name for found in tf.global_variables() if found.op.name.endswith("kernel")]
        blocks = ["down_1", "down_2", "bottom", "up_1", "up_2"]
        expected = ["unet/output/kernel"] + ["unet/{}/upsampling/kernel".format(block) for block in blocks[3:]]
        expected += ["unet/{}/convolution_{}/kernel".format(block, number) for block in blocks for number in (1, 2)]
        assert sorted(kernels) == sorted(expected)

    @MOST_DIFFERENT
    def test_the_gradient_reaches_every_trained_one(self, session, name):
        channels, chosen = VARIANTS[name]
        logits = logits_of(images_of(channels, chosen), chosen, training=True)
        variables = tf.trainable_variables()
        gradients = tf.gradients(logits * random_volume(*logits.shape.as_list()), variables)
        assert None not in gradients
        session.run(tf.global_variables_initializer())
        for found, gradient in zip(variables, session.run(gradients)):
            assert np.isfinite(gradient).all() and np.any(gradient), found.op.name

    @pytest.mark.parametrize("name", ["valid", "same"])
    def test_gradients_are_those_of_finite_differences(self, session, name):
        """Along a random direction for each variable: those of the runtime's own convolutions, in float64."""
        channels, chosen = VARIANTS[name]
        images = images_of(channels, chosen)
        logits = logits_of(images, chosen, training=True)
        weights = random_volume(*logits.shape.as_list())
        trained = tf.trainable_variables()
        gradients = tf.gradients(tf.reduce_sum(logits * weights), trained)
        session.run(tf.global_variables_initializer())
        values, found = session.run([trained, gradients])
        exact = {each.op.name: tf.placeholder(tf.float64, each.shape) for each in trained}
        scope = functools.partial(tf.variable_scope, custom_getter=lambda getter, name, **options: exact[name])
        total = tf.reduce_sum(logits_of(images.astype(np.float64), chosen, scope=scope) * weights.astype(np.float64))
        feed = dict(zip(exact.values(), values))
        for (name_of_one, placeholder), value, gradient in zip(exact.items(), values, found):
            direction = random_volume(*value.shape).astype(np.float64)
            moved = [dict(feed) for _ in range(2)]
            for sign, one in zip((1.0, -1.0), moved):
                one[placeholder] = value + sign * 1e-6 * direction
            slope = np.subtract(*(session.run(total, one) for one in moved)) / 2e-6
            scale = np.linalg.norm(gradient) * np.linalg.norm(direction)
            assert abs(slope - (gradient.astype(np.float64) * direction).sum()) < 1e-3 * scale, name_of_one


class TestInitialWeights:
    def test_kernels_are_normal_with_the_spread_of_the_paper(self, session):
        chosen = UNetSettings(classes=2, filters=32, levels=2)
        logits_of(images_of(1, chosen), chosen)
        session.run(tf.global_variables_initializer())
        for name, inputs in (
            ("down_2/convolution_2", 9 * 64),
            ("bottom/convolution_1", 9 * 64),
            ("up_1/upsampling", 128),
        ):
            values = session.run(variable(name + "/kernel"))
            spread = np.sqrt(2.0 / inputs)
            assert values.std() == pytest.approx(spread, rel=0.02)
            assert abs(values.mean()) < 0.03 * spread and np.abs(values).max() > 3.0 * spread

    def test_signals_neither_fade_nor_grow_on_the_way_through(self, session):
        """What the spread is for: a network without normalisation starts with logits that can be trained."""
        chosen = UNetSettings(classes=2, filters=16, padding="same")
        logits = logits_of(random_volume(2, 32, 32, 1), chosen)
        session.run(tf.global_variables_initializer())
        assert 0.1 < session.run(logits).std() < 10.0

    def test_one_seed_starts_the_same_network_on_both_runtimes_whatever_else_is_in_the_graph(self, session):
        tf.set_random_seed(0)
        tf.random.normal([3])
        logits_of(images_of(1, SMALL), SMALL)
        session.run(tf.global_variables_initializer())
        found = [
            session.run(variable(name + "/kernel")).ravel()[:3] for name in ("bottom/convolution_1", "up_1/upsampling")
        ]
        np.testing.assert_allclose(found[0], [0.06831138, 0.127817, -0.01380913], rtol=1e-4)
        np.testing.assert_allclose(found[1], [-0.02705492, 0.2999403, 0.821195], rtol=1e-4)


class TestDropout:
    CHOSEN = SMALL._replace(dropout=0.5, filters=8)

    def built(self, session, chosen=CHOSEN):
        step = tf.train.get_or_create_global_step()
        logits = logits_of(images_of(1, chosen), chosen, training=True)
        session.run(tf.global_variables_initializer())
        return logits, step

    def test_a_step_drops_the_same_whenever_it_is_done_and_other_steps_others(self, session):
        logits, step = self.built(session)
        found = []
        for number in (5, 6, 5):
            step.load(number, session)
            found.append(session.run(logits))
        np.testing.assert_array_equal(found[0], found[2])
        assert not np.allclose(found[0], found[1])

    def test_prediction_drops_nothing_and_training_need_not(self, session):
        dropping, _ = self.built(session)
        predicted, rate_of_zero = (
            logits_of(images_of(1, SMALL), chosen, training)
            for chosen, training in ((self.CHOSEN, False), (self.CHOSEN._replace(dropout=0.0), True))
        )
        dropped, predicted, kept = session.run([dropping, predicted, rate_of_zero])
        np.testing.assert_array_equal(predicted, kept)
        assert not np.allclose(dropped, predicted)

    def test_it_is_at_the_end_of_the_contracting_path(self, graph, session):
        self.built(session, self.CHOSEN._replace(levels=3, filters=2))
        names = [operation.name for operation in graph.get_operations() if "StatelessRandomUniform" in operation.type]
        assert sorted({name.split("/")[1] for name in names}) == ["bottom", "down_3"]


class TestScopes:
    """The weights are stored, averaged and frozen as those of the other network are."""

    def checkpoint_of(self, session, tmp_path, chosen, images):
        logits = logits_of(images, chosen, scope=master_weights_scope)
        session.run(tf.global_variables_initializer())
        for found in tf.global_variables():
            # Moving statistics and scales of their own, so that folding them has something to fold.
            value = np.random.RandomState(len(found.op.name)).uniform(0.5, 1.5, found.shape.as_list())
            if not found.op.name.endswith("kernel"):
                found.load(value, session)
        path = tf.train.Saver().save(session, str(tmp_path / "model.ckpt"))
        return session.run(logits), path

    @MOST_DIFFERENT
    def test_frozen_it_says_the_same_and_has_no_variables(self, session, tmp_path, name):
        channels, chosen = VARIANTS[name]
        images = images_of(channels, chosen)
        expected, path = self.checkpoint_of(session, tmp_path, chosen, images)
        with tf.Graph().as_default(), tf.Session() as other:
            frozen = logits_of(images, chosen, scope=frozen_weights_scope(path))
            assert tf.global_variables() == []
            np.testing.assert_allclose(other.run(frozen), expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())

    def test_averaged_weights_are_taken_where_there_are_some(self, session):
        images = images_of(1, SMALL)
        logits_of(images, SMALL, training=True, scope=master_weights_scope)
        averages = tf.train.ExponentialMovingAverage(0.5)
        averaged = averages.apply(tf.trainable_variables())
        plain, mean = logits_of(images, SMALL), logits_of(images, SMALL, scope=averaged_weights_scope)
        session.run(tf.global_variables_initializer())
        session.run(averaged)
        output = averages.average(variable("output/bias"))
        session.run(tf.assign(output, [1.0, 2.0, 3.0]))
        difference = session.run(mean - plain)
        np.testing.assert_allclose(difference, np.broadcast_to([1.0, 2.0, 3.0], difference.shape), atol=1e-4)


class TestModes:
    def test_in_inference_an_image_does_not_depend_on_its_batch(self, session):
        chosen = SMALL._replace(normalization_layer="batchnorm")
        batch = random_volume(3, 24, 28, 1)
        chosen = chosen._replace(padding="same")
        images = tf.placeholder(tf.float32, [None, 24, 28, 1])
        logits = unet(images, chosen, training=False)
        session.run(tf.global_variables_initializer())
        together = session.run(logits, {images: batch})
        alone = np.concatenate([session.run(logits, {images: batch[n : n + 1]}) for n in range(3)])
        np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)

    def test_normalised_training_moves_statistics(self):
        chosen = SMALL._replace(normalization_layer="batchnorm")
        logits_of(images_of(1, chosen), chosen, training=True)
        # A mean and a variance for each convolution but the last: ten of 3x3 and two up.
        assert len(tf.get_collection(tf.GraphKeys.UPDATE_OPS)) == 2 * 12

    def test_learns_an_image_by_heart(self, session):
        """A few steps of Adam on one image with an edge: without normalisation, from the paper's weights."""
        chosen = SMALL._replace(classes=2, filters=8, padding="same")
        image = np.zeros((1, 16, 16, 1), np.float32)
        image[:, 5:12, 3:9] = 1.0
        label = (image[..., 0] > 0).astype(np.int32)
        logits = unet(tf.constant(image + 0.1 * random_volume(1, 16, 16, 1)), chosen, training=True)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=label, logits=logits))
        step = tf.train.AdamOptimizer(0.01).minimize(loss)
        session.run(tf.global_variables_initializer())
        for _ in range(40):
            session.run(step)
        assert (session.run(logits).argmax(axis=-1) == label).mean() > 0.98
