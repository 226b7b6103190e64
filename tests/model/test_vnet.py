import numpy as np
import pytest
from networks import random_volume, settings, variable

from model.vnet import supervised_vnet, vnet
from utils.tf_runtime import tf

pytestmark = pytest.mark.usefixtures("graph")

SMALL = {"downscale_blocks": (1, 1), "upscale_blocks": (1,)}
THREE_LEVELS = {"downscale_blocks": (1, 1, 1), "upscale_blocks": (1, 1)}
# Channels and settings: one of each choice, and the numbers of channels and of structures beside the usual ones.
VARIANTS = {
    "two_channels": (2, settings(**SMALL)),
    "prelu": (1, settings(activation="prelu", **SMALL)),
    "no_normalisation": (1, settings(normalization_layer="none", **SMALL)),
    "max_pool": (1, settings(pooling="max_pool", **SMALL)),
    "five_voxel_kernels": (1, settings(convolution_size=5, downscale_blocks=(1, 2), upscale_blocks=(2,))),
    "finest_skip_joined": (1, settings(downscale_blocks=(1, 2, 3), upscale_blocks=(3, 2, 1))),
    "one_level": (4, settings(classes=2, downscale_blocks=(2,), upscale_blocks=(1,))),
    "everything": (
        3,
        settings(
            classes=4,
            downscale_blocks=(1, 2),
            upscale_blocks=(2, 3),
            convolution_size=5,
            activation="prelu",
            normalization_layer="none",
            pooling="max_pool",
        ),
    ),
}


def logits_of(volume, chosen, training=False):
    return vnet(tf.constant(volume), chosen, training)


def trainable_parameters():
    return sum(int(np.prod(found.shape.as_list())) for found in tf.trainable_variables())


def expected_parameters(channels, chosen):
    """Count by hand: cubic kernels of size**3 * in * out, and the vectors that follow each of them."""
    vectors = (1 if chosen.normalization_layer == "none" else 2) + (chosen.activation == "prelu")
    levels = len(chosen.downscale_blocks)
    cube = chosen.convolution_size**3

    def unit(voxels, before, after):
        return voxels * before * after + vectors * after

    count = unit(cube, channels, 16)
    for level in range(1, levels + 1):
        filters = 16 * 2**level
        count += unit(1 if chosen.pooling == "max_pool" else 8, filters // 2, filters)
        count += chosen.downscale_blocks[level - 1] * unit(cube, filters, filters)
    below = 16 * 2**levels
    for number, depth in enumerate(chosen.upscale_blocks):
        skip = 16 * 2 ** (levels - 1 - number)
        count += unit(8, below, skip) + depth * unit(cube, 2 * skip, 2 * skip)
        below = 2 * skip
    if len(chosen.upscale_blocks) < levels:
        count += unit(8, below, 16)
        below = 16
    return count + cube * below * chosen.classes + chosen.classes


class TestSize:
    def test_the_default_network_has_3598147_parameters(self):
        vnet(tf.placeholder(tf.float32, [None, 32, 32, 32, 1]), settings(), training=True)
        assert trainable_parameters() == 3598147

    @pytest.mark.parametrize("name", sorted(VARIANTS))
    def test_the_parameters_are_those_counted_by_hand(self, name):
        channels, chosen = VARIANTS[name]
        vnet(tf.placeholder(tf.float32, [None, 16, 16, 16, channels]), chosen, training=True)
        assert trainable_parameters() == expected_parameters(channels, chosen)

    def test_the_input_shape_changes_no_variable(self):
        shapes = []
        for sides in ([8, 8, 8], [16, 8, 24]):
            with tf.Graph().as_default():
                vnet(tf.placeholder(tf.float32, [None] + sides + [1]), settings(**THREE_LEVELS), training=True)
                shapes.append([(found.op.name, found.shape.as_list()) for found in tf.global_variables()])
        assert shapes[0] == shapes[1]


class TestVariables:
    def test_normalisation_comes_instead_of_biases(self):
        vnet(tf.placeholder(tf.float32, [None, 8, 8, 8, 1]), settings(**SMALL), training=True)
        parts = [found.op.name.split("/")[-1] for found in tf.global_variables()]
        assert set(parts) == {"kernel", "scale", "offset", "moving_mean", "moving_variance", "bias"}
        assert parts.count("bias") == 1 and variable("output/bias") is not None

    def test_without_normalisation_every_kernel_has_a_bias_and_nothing_moves(self):
        chosen = settings(normalization_layer="none", **SMALL)
        vnet(tf.placeholder(tf.float32, [None, 8, 8, 8, 1]), chosen, training=True)
        parts = [found.op.name.split("/")[-1] for found in tf.global_variables()]
        assert set(parts) == {"kernel", "bias"}
        assert parts.count("bias") == parts.count("kernel")
        assert tf.get_collection(tf.GraphKeys.UPDATE_OPS) == []

    def test_a_second_call_shares_them(self, session):
        volume, chosen = random_volume(1, 8, 8, 8, 1), settings(**SMALL)
        first = logits_of(volume, chosen)
        made = len(tf.global_variables())
        second = logits_of(volume, chosen)
        assert len(tf.global_variables()) == made
        session.run(tf.global_variables_initializer())
        np.testing.assert_array_equal(*session.run([first, second]))

    def test_the_graphs_seed_decides_their_initial_values(self):
        def kernel(seed):
            with tf.Graph().as_default(), tf.Session() as session:
                tf.set_random_seed(seed)
                logits_of(random_volume(1, 8, 8, 8, 1), settings(**SMALL))
                session.run(tf.global_variables_initializer())
                return session.run(variable("down_1/convolution_1/kernel"))

        np.testing.assert_array_equal(kernel(3), kernel(3))
        assert not np.allclose(kernel(3), kernel(4))

    def test_one_seed_starts_the_same_network_on_both_runtimes_whatever_else_is_in_the_graph(self, session):
        tf.set_random_seed(0)
        tf.random.normal([3])
        logits_of(random_volume(1, 8, 8, 8, 1), settings(**SMALL))
        session.run(tf.global_variables_initializer())
        found = [session.run(variable(name + "/kernel")) for name in ("input", "down_1/pooling")]
        np.testing.assert_allclose(found[0].ravel()[:3], [-0.00539695, -0.08476274, 0.03160287], rtol=1e-5)
        np.testing.assert_allclose(found[1].ravel()[:3], [0.08871993, -0.07698599, 0.11809549], rtol=1e-5)

    def test_kernels_start_uniform_within_the_bounds_of_glorot(self, session):
        logits_of(random_volume(1, 8, 8, 8, 1), settings(**SMALL))
        session.run(tf.global_variables_initializer())
        values = session.run(variable("down_2/convolution_1/kernel"))
        bound = np.sqrt(6.0 / (27 * 64 + 27 * 64))
        assert 0.99 * bound < np.abs(values).max() <= bound
        assert abs(values.mean()) < 0.01 * bound and abs(values.std() - bound / np.sqrt(3.0)) < 0.01 * bound

    @pytest.mark.parametrize("name", sorted(VARIANTS))
    def test_the_gradient_reaches_every_trained_one(self, session, name):
        channels, chosen = VARIANTS[name]
        volume = random_volume(2, 8, 8, 16, channels)
        logits = logits_of(volume, chosen, training=True)
        variables = tf.trainable_variables()
        gradients = tf.gradients(logits * random_volume(2, 8, 8, 16, chosen.classes), variables)
        assert None not in gradients
        session.run(tf.global_variables_initializer())
        for found, gradient in zip(variables, session.run(gradients)):
            assert np.isfinite(gradient).all() and np.any(gradient), found.op.name


class TestShapes:
    @pytest.mark.parametrize("sides", [(32, 32, 32), (40, 56, 40), (96, 96, 96), (8, 24, 16)])
    @pytest.mark.parametrize("up", [(1, 1), (1, 1, 1)])
    def test_one_logit_per_voxel_and_class(self, sides, up):
        volume = tf.placeholder(tf.float32, (None,) + sides + (2,))
        logits = vnet(volume, settings(classes=5, downscale_blocks=(1, 1, 1), upscale_blocks=up), training=True)
        assert logits.shape.as_list() == [None] + list(sides) + [5]

    @pytest.mark.parametrize("sides", [(32, 32, 32), (40, 56, 40)])
    def test_the_default_network_runs_on_a_single_case(self, session, sides):
        logits = logits_of(random_volume(1, *sides + (1,)), settings())
        session.run(tf.global_variables_initializer())
        values = session.run(logits)
        assert values.shape == (1,) + sides + (3,)
        assert np.isfinite(values).all() and values.std() > 0.0

    def test_the_coarsest_grid_is_one_voxel_for_each_eight_along_a_side(self, graph):
        vnet(tf.placeholder(tf.float32, [None, 16, 24, 32, 1]), settings(**THREE_LEVELS), training=True)
        shapes = [operation.outputs[0].shape.as_list() for operation in graph.get_operations() if operation.outputs]
        volumes = [shape for shape in shapes if len(shape) == 5 and shape[4] == 128 and shape[0] is None]
        assert [None, 2, 3, 4, 128] in volumes
        assert min(shape[1] for shape in volumes) == 2


class TestSkipConnections:
    def filters_of_output(self, up):
        with tf.Graph().as_default():
            vnet(tf.zeros([1, 8, 8, 8, 1]), settings(downscale_blocks=(1, 1, 1), upscale_blocks=up), training=True)
            return variable("output/kernel").shape.as_list()[3], len(tf.trainable_variables())

    def test_one_entry_fewer_leaves_the_finest_one_out(self):
        assert self.filters_of_output((1, 1))[0] == 16

    def test_as_many_entries_join_it_and_add_a_residual_block(self):
        filters, variables = self.filters_of_output((1, 1, 2))
        assert filters == 32
        assert variables == self.filters_of_output((1, 1))[1] + 2 * 3

    def test_they_join_equal_grids(self):
        vnet(tf.zeros([1, 8, 8, 8, 1]), settings(downscale_blocks=(1, 1, 1), upscale_blocks=(1, 1, 1)), training=True)
        joined = [variable("up_{}/convolution_1/kernel".format(level)).shape.as_list()[3] for level in (1, 2, 3)]
        assert joined == [64 + 64, 32 + 32, 16 + 16]


class TestModes:
    def test_in_inference_a_case_does_not_depend_on_its_batch(self, session):
        volume = random_volume(3, 8, 8, 8, 1)
        images = tf.placeholder(tf.float32, [None, 8, 8, 8, 1])
        logits = vnet(images, settings(**SMALL), training=False)
        session.run(tf.global_variables_initializer())
        together = session.run(logits, {images: volume})
        alone = np.concatenate([session.run(logits, {images: volume[n : n + 1]}) for n in range(3)])
        np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)

    def test_in_training_a_case_is_normalised_with_its_batch(self, session):
        volume = random_volume(2, 8, 8, 8, 1)
        volume[1] *= 10.0
        images = tf.placeholder(tf.float32, [None, 8, 8, 8, 1])
        logits = vnet(images, settings(**SMALL), training=True)
        session.run(tf.global_variables_initializer())
        together, alone = session.run(logits, {images: volume})[0], session.run(logits, {images: volume[:1]})[0]
        assert not np.allclose(together, alone, atol=1e-2)

    def test_inference_uses_what_training_has_moved(self, session):
        volume = random_volume(2, 8, 8, 8, 1)
        trained, inferred = [logits_of(volume, settings(**SMALL), training) for training in (True, False)]
        session.run(tf.global_variables_initializer())
        batch, before = session.run([trained, inferred])
        session.run(tf.get_collection(tf.GraphKeys.UPDATE_OPS))
        for name, first in (("moving_mean", 0.0), ("moving_variance", 1.0)):
            for moving in [found for found in tf.global_variables() if found.op.name.endswith(name)]:
                # The first step goes a hundredth of the way; this is the whole way.
                moving.load(first + 100.0 * (session.run(moving) - first), session)
        # Sixteen voxels at the coarsest grid: there the unbiased variance is a little more than the batch's.
        np.testing.assert_allclose(session.run(inferred), batch, atol=0.2)
        assert np.abs(before - batch).max() > 1.0


class TestDeepSupervision:
    @pytest.mark.parametrize("up", [(1, 1), (1, 1, 1)])
    def test_gives_logits_of_each_grid_on_the_way_up(self, up):
        volume = tf.placeholder(tf.float32, [None, 16, 8, 24, 2])
        chosen = settings(classes=5, downscale_blocks=(1, 1, 1), upscale_blocks=up)
        shapes = [logits.shape.as_list() for logits in supervised_vnet(volume, chosen)]
        assert shapes == [[None, 16, 8, 24, 5], [None, 8, 4, 12, 5], [None, 4, 2, 6, 5]]

    def test_a_network_of_one_level_has_no_other_grid(self):
        chosen = settings(downscale_blocks=(1,), upscale_blocks=(1,))
        assert len(supervised_vnet(tf.zeros([1, 8, 8, 8, 1]), chosen)) == 1
        assert not [found for found in tf.global_variables() if "supervision" in found.op.name]

    def test_its_first_logits_are_the_networks_own(self, session):
        volume, chosen = tf.constant(random_volume(2, 8, 8, 8, 1)), settings(**THREE_LEVELS)
        alone, supervised = vnet(volume, chosen, training=True), supervised_vnet(volume, chosen)[0]
        session.run(tf.global_variables_initializer())
        np.testing.assert_array_equal(*session.run([alone, supervised]))

    def test_adds_variables_and_leaves_the_others_and_their_initial_values_as_they_are(self):
        def initial_values(build):
            with tf.Graph().as_default(), tf.Session() as session:
                tf.set_random_seed(1)
                build(tf.zeros([1, 8, 8, 8, 1]), settings(**THREE_LEVELS))
                session.run(tf.global_variables_initializer())
                variables = tf.global_variables()
                return dict(zip([found.op.name for found in variables], session.run(variables)))

        plain = initial_values(lambda volume, chosen: vnet(volume, chosen, training=True))
        supervised = initial_values(supervised_vnet)
        added = {name: supervised.pop(name).shape for name in sorted(set(supervised) - set(plain))}
        assert added == {
            "vnet/up_1/supervision/kernel": (1, 1, 1, 128, 3),
            "vnet/up_1/supervision/bias": (3,),
            "vnet/up_2/supervision/kernel": (1, 1, 1, 64, 3),
            "vnet/up_2/supervision/bias": (3,),
        }
        assert list(supervised) == list(plain)
        for name, values in plain.items():
            np.testing.assert_array_equal(supervised[name], values)

    def test_each_grid_trains_what_lies_below_it(self, session):
        logits = supervised_vnet(tf.constant(random_volume(2, 8, 8, 16, 1)), settings(**THREE_LEVELS))
        variables = tf.trainable_variables()
        reached = []
        for each in logits:
            gradients = tf.gradients(each * random_volume(*[2] + each.shape.as_list()[1:]), variables)
            reached.append({found.op.name for found, gradient in zip(variables, gradients) if gradient is not None})
        deeper = {name for name in reached[2] if "supervision" not in name}
        assert "vnet/down_3/pooling/kernel" in deeper and "vnet/up_1/convolution_1/kernel" in deeper
        assert not [name for name in deeper if "/up_2/" in name or "/output/" in name]
        assert deeper < reached[1] & reached[0]
        for number, level in ((1, "up_2"), (2, "up_1")):
            own = {name for name in reached[number] if "supervision" in name}
            assert own == {"vnet/{}/supervision/{}".format(level, part) for part in ("kernel", "bias")}
        assert not [name for name in reached[0] if "supervision" in name]
