import numpy as np
import pytest

from model.losses import dice_loss, soft_dice
from utils import scores
from utils.tf_runtime import tf

SHAPE = (3, 4, 2)


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


class TestDiceLoss:
    def test_is_one_minus_the_mean_over_cases_and_classes_with_background(self, session):
        logits, label = random_case(batch=3)
        expected = 1.0 - dice_by_definition(softmax(logits), label).mean()
        found = session.run(dice_loss(tf.constant(logits), tf.constant(label)))
        assert found.dtype == np.float32
        assert found == pytest.approx(expected, rel=1e-5)

    def test_a_perfect_prediction_costs_nothing_and_its_opposite_everything(self, session):
        _, label = random_case()
        perfect = 50.0 * np.eye(3, dtype=np.float32)[label]
        wrong = 50.0 * np.eye(3, dtype=np.float32)[(label + 1) % 3]
        losses = session.run([dice_loss(tf.constant(logits), tf.constant(label)) for logits in (perfect, wrong)])
        np.testing.assert_allclose(losses, [0.0, 1.0], atol=1e-6)

    def test_of_a_batch_is_the_mean_of_its_cases(self, session):
        logits, label = random_case(batch=4)
        together = dice_loss(tf.constant(logits), tf.constant(label))
        alone = [dice_loss(tf.constant(logits[n : n + 1]), tf.constant(label[n : n + 1])) for n in range(4)]
        together, alone = session.run([together, alone])
        assert together == pytest.approx(np.mean(alone), rel=1e-5)

    def test_its_gradient_is_that_of_finite_differences(self, session):
        logits, label = random_case(batch=1)
        placeholder = tf.placeholder(tf.float32, logits.shape)
        loss = dice_loss(placeholder, tf.constant(label))
        gradient = session.run(tf.gradients(loss, placeholder)[0], {placeholder: logits})
        for voxel in [(0, 0, 0, 0, 0), (0, 1, 3, 1, 2), (0, 2, 2, 0, 1)]:
            step = np.zeros(logits.shape)
            step[voxel] = 1e-4
            above, below = [
                1.0 - dice_by_definition(softmax(logits.astype(np.float64) + sign * step), label).mean()
                for sign in (1.0, -1.0)
            ]
            assert gradient[voxel] == pytest.approx((above - below) / 2e-4, rel=1e-3, abs=1e-7)

    def test_extreme_logits_leave_loss_and_gradient_finite(self, session):
        logits, label = random_case()
        extreme = tf.constant(1e30 * logits)
        loss = dice_loss(extreme, tf.constant(label))
        for values in session.run([loss, tf.gradients(loss, extreme)[0]]):
            assert np.isfinite(values).all()
