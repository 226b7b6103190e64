import os
import threading

import numpy as np
import pytest
from plans import images_of, plan_of, whole

from utils.data_loader import Parts, TrainingPlan, repeated_images, streamed_dataset, training_batch, training_dataset
from utils.preprocessing.foreground import positions
from utils.sampling.augmentation import Augmentation, augmented, flipped
from utils.sampling.samples import Items
from utils.sampling.tiling import Whole
from utils.tf_runtime import tf

SHAPE = (4, 3, 5)
NONE, MIRRORED = Augmentation(), Augmentation(flips=(True, True, False))
STRONG = Augmentation((True, True, True), 15.0, 0.25, 1.0, 0.5, 0.2, 0.9, 0.3, 0.4, channels=2)
FLIPS = [(False, False, False), (False, True, False), (True, False, False), (True, True, False)]


@pytest.fixture
def read(graph, session):
    """Function: a tf.data pipeline -> list of its elements as arrays."""

    def elements(dataset):
        iterator = tf.data.make_initializable_iterator(dataset)
        element = iterator.get_next()
        session.run(iterator.initializer)
        found = []
        while True:
            try:
                found.append(session.run(element))
            except tf.errors.OutOfRangeError:
                return found

    return elements


def epoch_of(plan, number):
    """The case indices of an epoch's steps, a list of arrays."""
    first = number * plan.steps_per_epoch
    return [plan.batch(step)[0] for step in range(first, first + plan.steps_per_epoch)]


def order(plan, epoch=0):
    return np.concatenate(epoch_of(plan, epoch)).tolist()


def assert_same_batch(found, expected):
    np.testing.assert_array_equal(found[0], expected[0])
    assert found[1] == expected[1]


def index_of(volumes, image):
    """The number of the case whose image this is, in any of the four orientations."""
    matches = [
        index
        for index in range(len(volumes))
        if any(np.array_equal(image, flipped(volumes.image(index), flips)) for flips in FLIPS)
    ]
    assert len(matches) == 1
    return matches[0]


def flips_of(original, array):
    """All ways of mirroring the original along x and y that give the array."""
    return [flips for flips in FLIPS if np.array_equal(array, flipped(original, flips))]


class Interrupted(TrainingPlan):
    """A plan of which another thread asks another epoch each time that one has just been drawn."""

    interruptions = 0

    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        if name == "_epochs" and value:
            self.interruptions += 1
            epoch, order, changes = value[0]
            object.__setattr__(self, name, ((epoch + 1000, order[::-1], changes),))


class TestVolumes:
    def test_give_what_was_kept(self, kept_volumes):
        volumes = kept_volumes(3, SHAPE, channels=2)
        assert len(volumes) == 3
        for index, kept in enumerate(volumes.kept):
            image, label = volumes.image(index), volumes.label(index)
            assert (image.shape, image.dtype) == (SHAPE + (2,), np.float32)
            assert (label.shape, label.dtype) == (SHAPE, np.uint8)
            np.testing.assert_array_equal(image, np.load(kept.image))
            np.testing.assert_array_equal(label, np.load(kept.label))

    def test_cannot_be_changed_by_their_reader(self, kept_volumes):
        volumes = kept_volumes(1, SHAPE)
        with pytest.raises(ValueError, match="read-only"):
            volumes.image(0)[0] = 0
        with pytest.raises(ValueError, match="read-only"):
            volumes.label(0)[0] = 0

    def test_hold_no_file_open(self, kept_volumes):
        volumes = kept_volumes(20, SHAPE)
        before = len(os.listdir("/proc/self/fd"))
        images_of(volumes)
        assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("count", [1, 4, 7, 12])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 50])
class TestEpochs:
    def test_every_case_once(self, count, batch_size):
        plan = plan_of(count, batch_size, 5, MIRRORED)
        assert plan.steps_per_epoch == int(np.ceil(count / batch_size))
        for epoch in range(3):
            batches = epoch_of(plan, epoch)
            assert sorted(np.concatenate(batches)) == list(range(count))
            assert all(len(batch) == min(batch_size, count) for batch in batches[:-1])
            assert len(batches[-1]) == count - (len(batches) - 1) * batch_size

    def test_each_case_has_a_draw(self, count, batch_size):
        plan = plan_of(count, batch_size, 5, STRONG)
        for step in range(2 * plan.steps_per_epoch):
            indices, changes = plan.batch(step)
            assert len(changes) == len(indices)

    def test_items_before_is_what_the_batches_sum_to(self, count, batch_size):
        plan = plan_of(count, batch_size, 5, MIRRORED)
        seen = 0
        for step in range(3 * plan.steps_per_epoch + 1):
            assert plan.items_before(step) == seen
            seen += len(plan.batch(step)[0])

    def test_one_workers_weight_is_one(self, count, batch_size):
        plan = plan_of(count, batch_size, 5, MIRRORED)
        assert {plan.weight(step) for step in range(2 * plan.steps_per_epoch)} == {1.0}


class TestOrder:
    def test_differs_between_epochs_and_between_seeds(self):
        orders = [order(plan_of(30, 4, seed, NONE), epoch) for seed in range(3) for epoch in range(3)]
        assert len({tuple(found) for found in orders}) == 9
        assert list(range(30)) not in orders

    def test_follows_from_the_seed(self):
        one, other = plan_of(30, 4, 7, STRONG), plan_of(30, 4, 7, STRONG)
        for step in range(3 * one.steps_per_epoch):
            assert_same_batch(one.batch(step), other.batch(step))

    def test_asking_in_another_order_changes_nothing(self):
        plan = plan_of(10, 3, 7, STRONG)
        steps = range(4 * plan.steps_per_epoch)
        forwards = {step: plan.batch(step) for step in steps}
        for step in np.random.RandomState(0).permutation(steps):
            assert_same_batch(plan.batch(step), forwards[step])

    def test_another_thread_may_ask_for_another_epoch_meanwhile(self):
        plan, undisturbed = Interrupted([6], 6, 7, NONE), plan_of(6, 6, 7, NONE)
        for epoch in (0, 1, 2, 0):
            assert order(plan, epoch) == order(undisturbed, epoch)
        assert plan.interruptions == 4

    def test_an_epoch_is_drawn_once_while_the_next_is_read_ahead(self):
        drawn = []

        def order_of(random):
            drawn.append(random)
            return random.permutation(6)

        plan = TrainingPlan([6], 2, 7, NONE, order=order_of)
        for step in (0, 1, 3, 2, 4, 2, 5):
            plan.batch(step)
        assert len(drawn) == 2

    def test_reaches_over_the_whole_set(self):
        places = [order(plan_of(40, 2, 7, NONE), epoch).index(0) for epoch in range(40)]
        assert min(places) < 10 and max(places) >= 30

    def test_does_not_depend_on_augmentation(self):
        for augmentation in (MIRRORED, STRONG):
            assert order(plan_of(30, 4, 7, augmentation), 2) == order(plan_of(30, 4, 7, NONE), 2)


class TestChanges:
    def test_follow_from_the_seed_the_worker_and_the_place_in_the_order(self):
        def changes(seed, rank):
            plan = plan_of(12, 5, seed, STRONG, workers=2, rank=rank)
            return [plan.batch(step)[1] for step in range(3 * plan.steps_per_epoch)]

        kinds = [(seed, rank) for seed in (3, 4) for rank in (0, 1)]
        found = [changes(*kind) for kind in kinds]
        assert found == [changes(*kind) for kind in kinds]
        seeds = [draw.seed for one in found for batch in one for draw in batch]
        assert len(set(seeds)) == len(seeds) == 4 * 3 * 6

    def test_are_made_of_image_and_label(self, kept_volumes):
        volumes = kept_volumes(5, SHAPE, channels=2)
        plan = plan_of(5, 2, 3, STRONG)
        for step in range(3 * plan.steps_per_epoch):
            images, _, labels = training_batch(whole(volumes), plan, step)
            assert (images.dtype, labels.dtype) == (np.float32, np.uint8)
            for index, draw, image, label in zip(*(plan.batch(step) + (images, labels))):
                expected_image, expected_label = augmented(volumes.image(index), volumes.label(index), draw)
                np.testing.assert_array_equal(image, expected_image)
                np.testing.assert_array_equal(label, expected_label)

    @pytest.mark.parametrize("augmentation", [NONE, MIRRORED, STRONG])
    def test_leave_order_and_flips_as_ever(self, augmentation):
        """The reference recipe's figures were measured with these."""
        plan = plan_of(20, 20, 7, augmentation, workers=1)
        for epoch in range(3):
            random = np.random.RandomState([7, epoch])
            expected_order, expected_flips = random.permutation(20), random.rand(20, 2) < 0.5
            indices, changes = plan.batch(epoch)
            np.testing.assert_array_equal(indices, expected_order)
            flips = np.array([draw.flips for draw in changes])[:, :2]
            np.testing.assert_array_equal(flips, expected_flips & augmentation.flips[:2])


class TestFlips:
    def test_image_and_label_go_together(self, kept_volumes):
        volumes = kept_volumes(6, SHAPE, channels=2)
        plan = plan_of(6, 4, 3, MIRRORED)
        seen = set()
        for step in range(10 * plan.steps_per_epoch):
            images, _, labels = training_batch(whole(volumes), plan, step)
            for index, image, label in zip(plan.batch(step)[0], images, labels):
                (flips,) = flips_of(volumes.image(index), image)
                assert flips_of(volumes.label(index), label) == [flips]
                seen.add(flips)
        assert seen == set(FLIPS)

    def test_are_drawn_for_each_case_and_epoch_anew(self):
        plan = plan_of(200, 200, 3, MIRRORED)
        first, second = (np.array([draw.flips for draw in plan.batch(step)[1]]) for step in (0, 1))
        assert not np.array_equal(first, second)
        for flips in (first, second):
            assert (abs(flips.mean(axis=0) - [0.5, 0.5, 0]) < 0.15).all()
            assert len(set(map(tuple, flips))) == 4

    def test_nothing_is_flipped_without_augmentation(self, kept_volumes):
        volumes = kept_volumes(5, SHAPE)
        plan = plan_of(5, 2, 3, NONE)
        for step in range(4 * plan.steps_per_epoch):
            images, _, labels = training_batch(whole(volumes), plan, step)
            indices = plan.batch(step)[0]
            np.testing.assert_array_equal(images, images_of(volumes)[indices])
            np.testing.assert_array_equal(labels, [volumes.label(index) for index in indices])


class TestEmptyShare:
    @pytest.mark.parametrize("augmentation", [NONE, STRONG])
    def test_is_one_case_of_no_weight(self, kept_volumes, augmentation):
        volumes = kept_volumes(1, SHAPE, channels=2)
        plan = plan_of(3, 1, 0, augmentation, workers=2, rank=1)
        assert (plan.count, plan.steps_per_epoch) == (1, 2)
        assert len(plan.batch(1)[0]) == 0
        images, weight, labels = training_batch(whole(volumes), plan, 1)
        np.testing.assert_array_equal(images, images_of(volumes)[[0]])
        np.testing.assert_array_equal(labels, [volumes.label(0)])
        assert (weight, weight.dtype) == (0.0, np.float32)
        assert training_batch(whole(volumes), plan, 0)[1] == 1.0


class TestCrop:
    CROP = (4, 3, 2)

    @pytest.mark.parametrize("augmentation", [NONE, STRONG])
    def test_batches_hold_parts(self, kept_volumes, read, augmentation):
        volumes = kept_volumes(5, SHAPE, channels=2)
        plan = plan_of(5, 2, 3, augmentation._replace(crop=self.CROP))
        elements = read(training_dataset(whole(volumes), plan, 0, plan.steps_per_epoch))
        assert [features["image"].shape for features, _ in elements] == [(n,) + self.CROP + (2,) for n in (2, 2, 1)]
        assert [labels.shape for _, labels in elements] == [(n,) + self.CROP for n in (2, 2, 1)]

    def test_a_worker_without_a_case_has_a_part_too(self, kept_volumes):
        plan = plan_of(3, 1, 0, NONE._replace(crop=self.CROP), workers=2, rank=1)
        images, weight, labels = training_batch(whole(kept_volumes(1, SHAPE)), plan, 1)
        assert (images.shape, labels.shape, weight) == ((1,) + self.CROP + (1,), (1,) + self.CROP, 0.0)


class TestTrainingDataset:
    @pytest.mark.parametrize("batch_size", [1, 3, 5, 9])
    def test_what_goes_in_comes_out_once_an_epoch(self, kept_volumes, read, batch_size):
        volumes = kept_volumes(5, SHAPE)
        plan = plan_of(5, batch_size, 3, MIRRORED)
        elements = read(training_dataset(whole(volumes), plan, 0, 2 * plan.steps_per_epoch))
        assert len(elements) == 2 * plan.steps_per_epoch
        for epoch in range(2):
            part = elements[epoch * plan.steps_per_epoch : (epoch + 1) * plan.steps_per_epoch]
            images = [image for features, _ in part for image in features["image"]]
            assert sorted(index_of(volumes, image) for image in images) == list(range(5))

    @pytest.mark.parametrize("first", [1, 3, 4, 6])
    def test_starting_later_gives_the_batches_of_an_undisturbed_run(self, kept_volumes, read, first):
        volumes = kept_volumes(5, SHAPE, channels=2)
        plans = [plan_of(5, 2, 3, STRONG) for _ in range(2)]
        undisturbed = read(training_dataset(whole(volumes), plans[0], 0, 8))
        resumed = read(training_dataset(whole(volumes), plans[1], first, 8))
        assert (len(undisturbed), len(resumed)) == (8, 8 - first)
        for (features, labels), (other_features, other_labels) in zip(undisturbed[first:], resumed):
            np.testing.assert_array_equal(features["image"], other_features["image"])
            np.testing.assert_array_equal(features["weight"], other_features["weight"])
            np.testing.assert_array_equal(labels, other_labels)

    def test_shapes_are_known_beforehand(self, graph, kept_volumes):
        volumes = kept_volumes(2, SHAPE, channels=2)
        dataset = training_dataset(whole(volumes), plan_of(2, 2, 3, MIRRORED), 0, 1)
        features, labels = tf.data.make_initializable_iterator(dataset).get_next()
        assert sorted(features) == ["image", "weight"]
        assert features["image"].shape.as_list() == [None] + list(SHAPE) + [2]
        assert features["weight"].shape.as_list() == []
        assert labels.shape.as_list() == [None] + list(SHAPE)
        assert [features["image"].dtype, features["weight"].dtype, labels.dtype] == [tf.float32, tf.float32, tf.uint8]

    def test_weights_are_those_of_the_plan(self, kept_volumes, read):
        volumes = kept_volumes(2, SHAPE)
        plan = plan_of(5, 2, 3, NONE, workers=2, rank=1)
        elements = read(training_dataset(whole(volumes), plan, 0, plan.steps_per_epoch))
        assert [float(features["weight"]) for features, _ in elements] == [1.0, 0.0]


class Watched(Items):
    """Items that call ``seen`` before each of them is read."""

    def example(self, number, draw):
        self.seen()
        return super().example(number, draw)

    def seen(self):
        pass


class TestReadingAhead:
    @pytest.fixture
    def watched(self, kept_volumes):
        return Watched(kept_volumes(12, SHAPE), Whole(SHAPE))

    @pytest.fixture
    def batches(self, graph, watched):
        """An iterator over the batches that a training reads in an epoch, one case each; the first begins to read."""
        dataset = training_dataset(watched, plan_of(len(watched), 1, 3, NONE), 0, len(watched))
        iterator = tf.data.make_initializable_iterator(dataset)
        element = iterator.get_next()
        # Threads of its own: those of all others are as many as the first session of the tests has, which is one.
        config = tf.ConfigProto(intra_op_parallelism_threads=2, inter_op_parallelism_threads=2)
        config.use_per_session_threads = True
        with tf.Session(graph=graph, config=config) as session:

            def elements():
                session.run(iterator.initializer)
                for _ in range(len(watched)):
                    yield session.run(element)

            yield elements()

    def test_two_batches_are_read_at_a_time(self, watched, batches):
        # Each waits for the other: one after the other would wait for ever.
        both = threading.Barrier(2, timeout=60)
        watched.seen = both.wait
        assert len(list(batches)) == len(watched)

    def test_four_batches_lie_ready_while_a_step_is_computed(self, watched, batches):
        read = threading.Semaphore(0)
        watched.seen = read.release
        next(batches)
        # The step's own and these, which are more than those who read hold in their hands.
        for _ in range(1 + 4):
            assert read.acquire(timeout=60)


class TestStreamedDataset:
    @pytest.mark.parametrize("batch_size", [1, 2, 5, 8])
    def test_every_image_once_in_order(self, kept_volumes, read, batch_size):
        volumes = kept_volumes(5, SHAPE, channels=2)
        dataset = streamed_dataset(lambda: repeated_images(volumes, Whole(SHAPE), 5), SHAPE + (2,), batch_size)
        batches = [element["image"] for element in read(dataset)]
        assert all(len(batch) == batch_size for batch in batches[:-1])
        np.testing.assert_array_equal(np.concatenate(batches), images_of(volumes))

    def test_no_image(self, read):
        assert read(streamed_dataset(lambda: iter(()), SHAPE + (1,), 2)) == []

    def test_it_does_not_read_far_ahead(self, read):
        asked = []

        def images():
            for number in range(100):
                asked.append(number)
                yield np.full(SHAPE + (1,), number, np.float32)

        iterator = tf.data.make_initializable_iterator(streamed_dataset(images, SHAPE + (1,), 2))
        element = iterator.get_next()
        with tf.Session() as session:
            session.run(iterator.initializer)
            session.run(element)
            session.run(element)
        assert 4 <= len(asked) < 20

    def test_shapes_are_known_beforehand(self, graph):
        dataset = streamed_dataset(lambda: iter(()), SHAPE + (1,), 2)
        element = tf.data.make_initializable_iterator(dataset).get_next()
        assert list(element) == ["image"]
        assert element["image"].shape.as_list() == [None] + list(SHAPE) + [1]
        assert element["image"].dtype == tf.float32


class TestRepeatedImages:
    @pytest.mark.parametrize("count", [0, 2, 3, 7])
    def test_goes_round_the_cases(self, kept_volumes, count):
        volumes = kept_volumes(3, SHAPE)
        images = list(repeated_images(volumes, Whole(SHAPE), count))
        assert [index_of(volumes, image) for image in images] == [number % 3 for number in range(count)]


class TestParts:
    """What is measured of held-out cases while patches are trained on."""

    @pytest.fixture
    def parts(self, kept_volumes):
        volumes = kept_volumes(2, (20, 6, 12), channels=2)
        label = np.zeros((20, 6, 12), np.uint8)
        label[15:18, 2:4, 1:3] = 2
        for kept, voxels in zip(volumes.kept, (label, 0 * label)):
            np.save(kept.label, voxels)
            np.save(kept.label + ".npy", positions(voxels, 3, 0))
        return volumes, Parts([kept._replace(positions=kept.label + ".npy") for kept in volumes.kept], (8, 8, 8))

    def test_hold_the_structures_or_lie_in_the_middle(self, parts):
        volumes, parts = parts
        assert len(parts) == 2
        np.testing.assert_array_equal(parts.label(0), volumes.label(0)[12:20, :, :8])
        np.testing.assert_array_equal(parts.image(0), volumes.image(0)[12:20, :, :8])
        np.testing.assert_array_equal(parts.image(1), volumes.image(1)[6:14, :, 2:10])
        assert parts.label(0).shape == (8, 6, 8) and np.count_nonzero(parts.label(0)) == 12
