import json
import os

import numpy as np
import pytest

from utils.fetching import phantom, phantom_stack
from utils.imaging.stacks import describe, pages_of, read_mask, read_page
from utils.preprocessing.border_weights import border_weights

SEED = 7
SIZE = phantom_stack.Size(96, 6, 3)


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Make stacks of a size of these tests."""
    sizes = phantom_stack.SIZES
    phantom_stack.SIZES = {"small": SIZE, "large": SIZE._replace(side=100)}
    yield
    phantom_stack.SIZES = sizes


@pytest.fixture(scope="module")
def sections():
    return phantom_stack.make_stack(SEED, SIZE, "training")


@pytest.fixture(scope="module")
def task(tmp_path_factory, quick):
    return phantom_stack.write_task(str(tmp_path_factory.mktemp("data")), SEED)


def pages_in(task, name):
    return pages_of(os.path.join(task, name + ".tif"))


def content_of(task):
    found = {}
    for name in sorted(os.listdir(task)):
        with open(os.path.join(task, name), "rb") as stream:
            found[name] = stream.read()
    return found


class TestForm:
    def test_is_that_of_the_challenge(self, task):
        names = ["dataset.json", "test-volume.tif", "train-labels.tif", "train-volume.tif"]
        assert sorted(os.listdir(task)) == names and os.path.basename(task) == "Stack00_Phantom"
        with open(os.path.join(task, "dataset.json")) as stream:
            content = json.load(stream)
        implied = describe(task)
        assert [os.path.normpath(path) for path in content["test"]] == implied["test"]
        for part in ("image", "label"):
            assert os.path.normpath(content["training"][0][part]) == implied["training"][0][part]
        assert content["labels"] == {"0": "membrane", "1": "cell"}
        assert list(content["modality"]) == list(implied["modality"])

    def test_files_hold_what_the_generator_gives(self, task, sections):
        images, masks = pages_in(task, "train-volume"), pages_in(task, "train-labels")
        assert len(images) == len(masks) == len(sections) == 6
        for image, mask, section in zip(images, masks, sections):
            np.testing.assert_array_equal(read_page(image)[..., 0], section.image)
            np.testing.assert_array_equal(read_mask(mask, (96, 96), 2), section.mask)
        test = phantom_stack.make_stack(SEED, SIZE, "test")
        for image, section in zip(pages_in(task, "test-volume"), test):
            np.testing.assert_array_equal(read_page(image)[..., 0], section.image)

    def test_masks_are_black_and_white(self, task):
        for page in pages_in(task, "train-labels"):
            assert np.unique(read_page(page)).tolist() == [0.0, 255.0]


class TestTissue:
    def test_cells_fill_most_of_every_page_but_by_far_not_all(self, sections):
        shares = np.array([section.mask.mean() for section in sections])
        # So that to call everything a cell has a Dice well below 0.9.
        assert (shares > 0.5).all() and (shares < 0.85).all() and shares.mean() < 0.8

    def test_cells_are_bright_and_membranes_dark(self, sections):
        for section in sections:
            cells, membranes = (section.image[section.mask == value].astype(float) for value in (1, 0))
            assert np.median(cells) - np.median(membranes) > 30.0

    def test_no_brightness_tells_them_apart_well(self, sections):
        image, cell = (np.stack([section[part] for section in sections]) for part in (0, 1))
        accuracies = [((image > level) == cell).mean() for level in range(0, 256, 4)]
        assert max(accuracies) < 0.93

    def test_there_are_many_cells_with_narrow_gaps(self, sections):
        for section in sections:
            # The border between two objects counts much wherever there is one.
            weights = 1.0 + border_weights(section.mask)
            assert (weights[section.mask == 0] > 3.0).mean() > 0.5

    def test_neighbouring_pages_are_alike_and_others_less(self, sections):
        masks = [section.mask for section in sections]
        near, far = ([(masks[at] == masks[at + step]).mean() for at in range(6 - step)] for step in (1, 5))
        assert np.mean(near) > np.mean(far) + 0.02 and max(near) < 1.0

    def test_the_size_of_cells_is_that_of_all_stacks(self):
        """A larger page shows more of them: the share of membranes stays."""
        large = phantom_stack.make_stack(SEED, phantom_stack.Size(200, 1, 1), "training")[0]
        assert abs(large.mask.mean() - 0.7) < 0.1


class TestSeeds:
    def test_same_seed_same_bytes(self, task, tmp_path):
        assert content_of(phantom_stack.write_task(str(tmp_path), SEED)) == content_of(task)

    def test_another_seed_is_another_stack_and_so_is_the_other_part(self, sections):
        others = [phantom_stack.make_stack(SEED + 1, SIZE, "training"), phantom_stack.make_stack(SEED, SIZE, "test")]
        for other in others:
            assert (other[0].mask != sections[0].mask).mean() > 0.1
            assert (other[0].image != sections[0].image).mean() > 0.5

    def test_seed_and_size_are_kept_with_the_task(self, task):
        assert phantom_stack.made_from(task) == (SEED, "small")

    def test_the_largest_seed(self):
        assert len(phantom_stack.make_stack(phantom.MAXIMUM_SEED, SIZE._replace(test=1), "test")) == 1


class TestWriting:
    def test_progress_is_told_page_by_page(self, tmp_path):
        calls = []
        phantom_stack.write_task(str(tmp_path), 1, progress=lambda: calls.append(1))
        assert len(calls) == 9

    def test_a_stack_that_is_there_stays(self, tmp_path):
        directory = phantom_stack.write_task(str(tmp_path), 1)
        before = content_of(directory)
        with pytest.raises(OSError):
            phantom_stack.write_task(str(tmp_path), 2)
        assert content_of(directory) == before
