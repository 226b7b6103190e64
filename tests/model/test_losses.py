import numpy as np
import pytest

from model.losses import coarser_label, segmentation_loss, soft_dice, training_loss
from utils.evaluation import scores
from utils.tf_runtime import tf

SHAPE = (3, 4, 2)
LOSSES = ["dice", "dice_ce", "dice_focal"]


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def random_case(batch=2, classes=3, seed=0):
    """Return logits [N, X, Y, Z, K] and a label [N, X, Y, Z] that holds every class in every case."""
    random = np.random.RandomState(seed)
    label = random.randint(classes, size=(batch,) + SHAPE).astype(np.uint8)
    label[:, 0, :classes, 0] = np.arange(classes)
    return 2.0 * random.randn(*label.shape + (classes,)).astype(np.float32), label


def dice_by_definition(probabilities, label):
    """Return 2 sum(p g) / (sum(p^2) + sum(g^2)) of each case and class, voxel by voxel."""
    cases, classes = probabilities.shape[0], probabilities.shape[-1]
    result = np.zeros((cases, classes))
    for case, k in np.ndindex(cases, classes):
        overlap = size = 0.0
        for voxel in np.ndindex(label.shape[1:]):
            p, g = float(probabilities[(case,) + voxel + (k,)]), float(label[(case,) + voxel] == k)
            overlap, size = overlap + p * g, size + p * p + g * g
        result[case, k] = 2.0 * overlap / size
    return result


def cross_entropies(probabilities, label):
    """Return minus the logarithm of the probability of each voxel's own class [N, X, Y, Z]."""
    result = np.zeros(label.shape)
    for voxel in np.ndindex(*label.shape):
        result[voxel] = -np.log(probabilities[voxel + (label[voxel],)])
    return result


def loss_by_definition(logits, label, loss, weight):
    """Return the loss of logits [N, X, Y, Z, K] in float64."""
    probabilities = softmax(logits.astype(np.float64))
    dice = 1.0 - dice_by_definition(probabilities, label).mean()
    if loss == "dice":
        return dice
    each = cross_entropies(probabilities, label)
    if loss == "dice_focal":
        each *= (1.0 - np.exp(-each)) ** 2
    return dice + weight * each.mean()


def asked_for(loss, weight=3.0):
    """Return the params of a loss."""
    return {"loss": loss, "cross_entropy_weight": weight}


def classes_first(volume):
    """Return [N, X, Y, Z, K] as [N, K, V]."""
    flat = volume.reshape(volume.shape[0], -1, volume.shape[-1])
    return np.ascontiguousarray(flat.transpose(0, 2, 1), np.float32)


def soft_dice_of(probabilities, label):
    """Return the tensor of `soft_dice` of probabilities [N, X, Y, Z, K] and a label [N, X, Y, Z]."""
    one_hot = np.eye(probabilities.shape[-1])[label]
    return soft_dice(tf.constant(classes_first(probabilities)), tf.constant(classes_first(one_hot)))


class TestSoftDice:
    def test_equals_its_definition(self, session):
        logits, label = random_case(classes=4)
        probabilities = softmax(logits)
        found = session.run(soft_dice_of(probabilities, label))
        np.testing.assert_allclose(found, dice_by_definition(probabilities, label), rtol=1e-5)

    def test_equals_the_score_that_is_reported(self, session):
        logits, label = random_case(batch=3)
        probabilities = softmax(logits)
        found = session.run(soft_dice_of(probabilities, label))
        expected = [scores.soft_dice(*case) for case in zip(probabilities, label)]
        np.testing.assert_allclose(found, expected, rtol=1e-5)

    def test_a_class_that_neither_holds_counts_as_found_and_pulls_nowhere(self, session):
        label = np.zeros((1,) + SHAPE, np.uint8)
        probabilities, one_hot = [tf.constant(classes_first(np.eye(3)[label])) for _ in range(2)]
        dice = soft_dice(probabilities, one_hot)
        values, gradient = session.run([dice, tf.gradients(dice[:, 1:], probabilities)[0]])
        assert values.tolist() == [[1.0, 1.0, 1.0]]
        assert not gradient[:, 1:].any()

    def test_a_class_that_only_the_prediction_holds_scores_nothing(self, session):
        label = np.zeros((1,) + SHAPE, np.uint8)
        probabilities = np.eye(3, dtype=np.float32)[np.full_like(label, 2)]
        found = session.run(soft_dice_of(probabilities, label))[0]
        np.testing.assert_allclose(found, [0.0, 1.0, 0.0], atol=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
class TestSegmentationLoss:
    @pytest.mark.parametrize("weight", [0.5, 3.0])
    def test_equals_its_definition(self, session, loss, weight):
        logits, label = random_case(batch=3, classes=4)
        found = session.run(segmentation_loss(asked_for(loss, weight), tf.constant(logits), tf.constant(label)))
        assert found.dtype == np.float32
        assert found == pytest.approx(loss_by_definition(logits, label, loss, weight), rel=1e-5)

    def test_a_perfect_prediction_costs_nothing_and_its_opposite_much(self, session, loss):
        _, label = random_case()
        perfect = 50.0 * np.eye(3, dtype=np.float32)[label]
        wrong = 50.0 * np.eye(3, dtype=np.float32)[(label + 1) % 3]
        losses = [segmentation_loss(asked_for(loss), tf.constant(logits), label) for logits in (perfect, wrong)]
        # A cross-entropy of 50 in each voxel.
        expected = [0.0, 1.0 if loss == "dice" else 1.0 + 3.0 * 50.0]
        np.testing.assert_allclose(session.run(losses), expected, rtol=1e-6, atol=1e-6)

    def test_of_a_batch_is_the_mean_of_its_cases(self, session, loss):
        logits, label = random_case(batch=4)
        together = segmentation_loss(asked_for(loss), tf.constant(logits), tf.constant(label))
        cases = [(tf.constant(logits[n : n + 1]), tf.constant(label[n : n + 1])) for n in range(4)]
        together, alone = session.run([together, [segmentation_loss(asked_for(loss), *case) for case in cases]])
        assert together == pytest.approx(np.mean(alone), rel=1e-5)

    def test_its_gradient_is_that_of_finite_differences(self, session, loss):
        logits, label = random_case(batch=1)
        placeholder = tf.placeholder(tf.float32, logits.shape)
        gradient = tf.gradients(segmentation_loss(asked_for(loss), placeholder, tf.constant(label)), placeholder)[0]
        found = session.run(gradient, {placeholder: logits})
        assert np.abs(found).max() > 1e-3
        for voxel in np.ndindex(*logits.shape):
            step = np.zeros(logits.shape)
            step[voxel] = 1e-4
            above, below = [loss_by_definition(logits + sign * step, label, loss, 3.0) for sign in (1.0, -1.0)]
            assert found[voxel] == pytest.approx((above - below) / 2e-4, rel=1e-3, abs=1e-6)

    def test_extreme_logits_leave_it_and_its_gradient_finite(self, session, loss):
        logits, label = random_case()
        extreme = tf.constant(1e30 * logits)
        value = segmentation_loss(asked_for(loss), extreme, tf.constant(label))
        for values in session.run([value, tf.gradients(value, extreme)[0]]):
            assert np.isfinite(values).all()


class TestTrainingLoss:
    LABEL = np.random.RandomState(0).randint(3, size=(2, 8, 4, 12)).astype(np.uint8)

    def logits(self, stride):
        shape = (2, 8 // stride, 4 // stride, 12 // stride, 3)
        return np.random.RandomState(stride).randn(*shape).astype(np.float32)

    @pytest.mark.parametrize("loss", LOSSES)
    def test_of_the_output_alone_is_the_loss_asked_for(self, session, loss):
        logits, params = tf.constant(self.logits(1)), asked_for(loss)
        found = [training_loss(params, [logits], self.LABEL), segmentation_loss(params, logits, self.LABEL)]
        assert len(set(session.run(found))) == 1

    @pytest.mark.parametrize("loss", LOSSES)
    def test_coarser_grids_count_half_as_much_from_each_to_the_next(self, session, loss):
        params, logits = asked_for(loss), [self.logits(stride) for stride in (1, 2, 4)]
        labels = [self.LABEL, self.LABEL[:, 1::2, 1::2, 1::2], self.LABEL[:, 2::4, 2::4, 2::4]]
        alone = [loss_by_definition(each, label, loss, 3.0) for each, label in zip(logits, labels)]
        found = session.run(training_loss(params, [tf.constant(each) for each in logits], tf.constant(self.LABEL)))
        assert found == pytest.approx((4 * alone[0] + 2 * alone[1] + alone[2]) / 7, rel=1e-5)


class TestWeightedCrossEntropy:
    PARAMS = {"loss": "weighted_ce"}

    def case(self, shape=(2, 5, 4), classes=3):
        """Return logits, label and weights of images, or of volumes, in a batch."""
        random = np.random.RandomState(len(shape))
        logits = 2.0 * random.randn(*shape + (classes,)).astype(np.float32)
        return logits, random.randint(classes, size=shape).astype(np.uint8), random.rand(*shape).astype(np.float32)

    def by_definition(self, logits, label, weights):
        return (weights * cross_entropies(softmax(logits.astype(np.float64)), label)).mean()

    @pytest.mark.parametrize("shape", [(2, 5, 4), (3, 4, 2, 3)])
    def test_equals_its_definition(self, session, shape):
        logits, label, weights = self.case(shape)
        found = training_loss(self.PARAMS, [tf.constant(logits)], tf.constant(label), tf.constant(weights))
        assert session.run(found) == pytest.approx(self.by_definition(logits, label, weights), rel=1e-5)

    def test_coarser_grids_have_the_weights_of_the_voxels_that_they_have_the_labels_of(self, session):
        logits, label, weights = self.case((2, 8, 4, 6))
        coarse = 2.0 * np.random.RandomState(9).randn(2, 4, 2, 3, 3).astype(np.float32)
        found = training_loss(
            self.PARAMS, [tf.constant(logits), tf.constant(coarse)], tf.constant(label), tf.constant(weights)
        )
        places = (slice(None),) + (slice(1, None, 2),) * 3
        fine = self.by_definition(logits, label, weights)
        expected = (2 * fine + self.by_definition(coarse, label[places], weights[places])) / 3
        assert session.run(found) == pytest.approx(expected, rel=1e-5)

    def test_its_gradient_is_each_voxels_error_times_its_weight(self, session):
        logits, label, weights = self.case()
        source = tf.constant(logits)
        loss = segmentation_loss(self.PARAMS, source, tf.constant(label), tf.constant(weights))
        error = softmax(logits.astype(np.float64)) - np.eye(3)[label]
        expected = weights[..., None] * error / weights.size
        np.testing.assert_allclose(session.run(tf.gradients(loss, source)[0]), expected, rtol=1e-4, atol=1e-8)

    def test_extreme_logits_leave_it_and_its_gradient_finite(self, session):
        logits, label, weights = self.case()
        extreme = tf.constant(1e30 * logits)
        loss = segmentation_loss(self.PARAMS, extreme, tf.constant(label), tf.constant(weights))
        for values in session.run([loss, tf.gradients(loss, extreme)[0]]):
            assert np.isfinite(values).all()


class TestImages:
    @pytest.mark.parametrize("loss", LOSSES)
    def test_an_image_costs_what_a_volume_of_one_slice_does(self, session, loss):
        random = np.random.RandomState(0)
        logits, label = random.randn(2, 5, 4, 3).astype(np.float32), random.randint(3, size=(2, 5, 4)).astype(np.uint8)
        cases = [(logits, label), (logits[:, :, :, None], label[:, :, :, None])]
        losses = [training_loss(asked_for(loss), [tf.constant(each)], tf.constant(mask)) for each, mask in cases]
        assert len(set(session.run(losses))) == 1


class TestCoarserLabel:
    @pytest.mark.parametrize("stride", [2, 4])
    def test_a_block_of_voxels_becomes_what_its_middle_is(self, session, stride):
        blocks = np.random.RandomState(1).randint(5, size=(2, 3, 1, 2)).astype(np.uint8)
        label = blocks.repeat(stride, axis=1).repeat(stride, axis=2).repeat(stride, axis=3)
        for axis in (1, 2, 3):
            # The first voxels of each block are far from its middle.
            np.moveaxis(label, axis, 0)[::stride] = 9
        found = session.run(coarser_label(tf.constant(label), stride))
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, blocks)
