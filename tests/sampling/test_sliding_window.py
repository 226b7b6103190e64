import os

import numpy as np
import pytest

from utils.sampling import sliding_window
from utils.sampling.sliding_window import Stitched, cut, importance, inside, shares, starts, windows
from utils.system.errors import CannotWrite

# Volume, patch: larger along all axes, along some, along none; odd and even.
SHAPES = [
    ((23, 17, 31), (8, 8, 12)),
    ((23, 5, 31), (8, 8, 12)),
    ((7, 30, 9), (16, 8, 10)),
    ((9, 8, 10), (9, 8, 10)),
    ((3, 2, 1), (8, 4, 5)),
    ((12, 11, 50), (8, 8, 8)),
]
OVERLAPS = [0.0, 0.25, 0.5, 0.7]


@pytest.fixture(params=["memory", "file"])
def store(request, monkeypatch):
    """Where a volume's probabilities are, whatever its size."""
    monkeypatch.setattr(sliding_window, "IN_MEMORY", 1 << 27 if request.param == "memory" else 0)
    return request.param


def volume(shape, channels=2, seed=0):
    return np.random.RandomState(seed).randn(*tuple(shape) + (channels,)).astype(np.float32)


def softmax(logits):
    powers = np.exp(logits)
    return (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)


def of_each_voxel(image):
    """A network that looks at each voxel alone: [X, Y, Z, 2] to [X, Y, Z, 3]."""
    return softmax(np.stack([image[..., 0], image[..., 1], image[..., 0] * image[..., 1]], axis=-1))


def of_neighbours(image):
    """A network that sees two voxels around each one, and zeros beyond the border of what it gets."""
    padded = np.pad(image, [(2, 2)] * 3 + [(0, 0)], "constant")
    seen = sum(
        padded[x : x + image.shape[0], y : y + image.shape[1], z : z + image.shape[2]]
        for x, y, z in np.ndindex(5, 5, 5)
    )
    return of_each_voxel(seen / 11)


def stitched(image, patch, overlap, network, folder, order=list):
    whole = Stitched(image.shape[:3], patch, overlap, 3, str(folder))
    for window in order(windows(image.shape[:3], patch, overlap)):
        whole.put(window, network(cut(image, window, patch, 0.0)))
    return whole.result()


class TestStarts:
    @pytest.mark.parametrize("overlap", OVERLAPS)
    @pytest.mark.parametrize("patch", [1, 2, 7, 16])
    def test_cover_the_axis_evenly_from_border_to_border(self, patch, overlap):
        for size in range(patch, 4 * patch + 9):
            found = starts(size, patch, overlap)
            assert found[0] == 0 and found[-1] == size - patch
            steps = np.diff(found)
            assert len(steps) == 0 or (steps.min() >= 1 and steps.max() - steps.min() <= 1)
            assert all(steps <= max(1, np.ceil(patch * (1 - overlap))))

    @pytest.mark.parametrize("size, patch, overlap, count", [(64, 32, 0.5, 3), (64, 32, 0, 2), (65, 32, 0.5, 4)])
    def test_are_no_more_than_it_takes(self, size, patch, overlap, count):
        assert len(starts(size, patch, overlap)) == count

    def test_a_smaller_volume_lies_in_the_middle(self):
        assert [starts(size, 8, 0.5) for size in (8, 7, 6, 3)] == [[0], [0], [-1], [-2]]


class TestWeights:
    @pytest.mark.parametrize("size", [1, 2, 9, 64])
    def test_are_highest_in_the_middle_and_above_zero_at_the_border(self, size):
        curve = importance(size)
        np.testing.assert_allclose(curve, curve[::-1], rtol=1e-12)
        assert np.float32(curve.min()) ** 3 > 0 and curve.max() <= 1
        assert (np.diff(curve[: (size + 1) // 2]) > 0).all()

    def test_fall_off_with_an_eighth_of_the_window(self):
        assert importance(65)[32 + 16] / importance(65)[32] == pytest.approx(np.exp(-0.5 * (16 / (65 / 8)) ** 2))

    @pytest.mark.parametrize("overlap", OVERLAPS)
    @pytest.mark.parametrize("shape, patch", SHAPES)
    def test_add_up_to_one_at_each_voxel(self, shape, patch, overlap):
        total = np.zeros(shape)
        along = [shares(size, length, overlap) for size, length in zip(shape, patch)]
        for window in windows(shape, patch, overlap):
            own, part = inside(window, patch, shape)
            curves = [share[start][some] for share, start, some in zip(along, window, own)]
            total[part] += np.multiply.outer(np.multiply.outer(*curves[:2]), curves[2])
        np.testing.assert_allclose(total, 1.0, rtol=1e-12)


class TestCut:
    def test_is_the_window_of_the_volume(self):
        image = volume((9, 7, 8))
        np.testing.assert_array_equal(cut(image, (2, 0, 3), (4, 7, 5), 0.0), image[2:6, :, 3:8])

    def test_fills_around_a_smaller_volume(self):
        image = volume((3, 7, 8))
        found = cut(image, (-2, 1, 0), (8, 4, 8), [5.0, -6.0])
        np.testing.assert_array_equal(found[2:5], image[:, 1:5])
        np.testing.assert_array_equal(found[[0, 1, 5, 6, 7]], np.full((5, 4, 8, 2), [5.0, -6.0]))
        assert found.dtype == np.float32

    def test_leaves_a_kept_volume_alone(self, tmp_path):
        path = str(tmp_path / "image.npy")
        np.save(path, volume((5, 5, 5)))
        found = cut(np.load(path, mmap_mode="r"), (0, 0, 0), (5, 5, 5), 0.0)
        found += 1
        np.testing.assert_array_equal(np.load(path), volume((5, 5, 5)))


class TestStitched:
    @pytest.mark.parametrize("overlap", OVERLAPS)
    @pytest.mark.parametrize("shape, patch", SHAPES)
    def test_has_no_seams(self, tmp_path, store, shape, patch, overlap):
        image = volume(shape)
        found = stitched(image, patch, overlap, of_each_voxel, tmp_path)
        assert found.shape == tuple(shape) + (3,) and found.dtype == np.float32
        np.testing.assert_allclose(found, of_each_voxel(image), atol=1e-6)

    @pytest.mark.parametrize("shape, patch", SHAPES)
    def test_a_volume_that_fits_is_what_its_only_window_gives(self, tmp_path, store, shape, patch):
        patch = np.maximum(shape, patch)
        image = volume(shape)
        (window,) = windows(shape, patch, 0.5)
        found = of_neighbours(cut(image, window, patch, 0.0))[inside(window, patch, shape)[0]]
        np.testing.assert_array_equal(stitched(image, patch, 0.5, of_neighbours, tmp_path), found)

    def test_is_near_the_whole_where_all_windows_see_all(self, tmp_path, store):
        # Windows reach 8 voxels beyond what half of them share: their outermost 2 see less than the whole does.
        image = volume((40, 16, 40))
        whole = of_neighbours(image)
        errors = np.abs(stitched(image, (16, 16, 16), 0.5, of_neighbours, tmp_path) - whole)
        near = np.abs(stitched(image, (16, 16, 16), 0.0, of_neighbours, tmp_path) - whole)
        # What a window says at its border hardly counts against its neighbour's.
        assert errors.max() < 0.02 < near.max()
        border = np.zeros(40, bool)
        for start in starts(40, 16, 0.5):
            border[[place for place in (start, start + 1, start + 14, start + 15) if 2 <= place < 38]] = True
        seen = ~border
        assert errors[seen][:, :, seen].max() < 1e-6

    def test_the_order_of_windows_in_a_slab_does_not_matter(self, tmp_path, store):
        image = volume((23, 17, 31))

        def shuffled(found):
            order = np.random.RandomState(0).permutation(len(found))
            return sorted((found[index] for index in order), key=lambda window: window[2])

        one, other = (stitched(image, (8, 8, 12), 0.5, of_neighbours, tmp_path, order) for order in (list, shuffled))
        np.testing.assert_allclose(one, other, atol=1e-6)

    def test_a_window_of_slices_that_are_finished_is_refused(self, tmp_path, monkeypatch):
        monkeypatch.setattr(sliding_window, "IN_MEMORY", 0)
        image = volume((8, 8, 31))
        with pytest.raises(ValueError, match="slices from"):
            stitched(image, (8, 8, 8), 0.5, of_each_voxel, tmp_path, lambda found: found[::-1])

    def test_a_large_volume_leaves_memory_and_nothing_behind(self, tmp_path, monkeypatch):
        monkeypatch.setattr(sliding_window, "IN_MEMORY", 1000)
        whole = Stitched((20, 10, 300), (8, 8, 16), 0.5, 3, str(tmp_path))
        assert whole._slices.nbytes == 4 * 20 * 10 * 16 * 3
        found = stitched(volume((20, 10, 300)), (8, 8, 16), 0.5, of_each_voxel, tmp_path)
        assert os.listdir(str(tmp_path)) == []
        np.testing.assert_allclose(found[:, :, -7:].sum(axis=-1), 1.0, atol=1e-6)
        part = found[:, :, 5:7]
        with pytest.raises(ValueError, match="read-only"):
            part[0] = 0

    def test_a_folder_that_takes_no_file_is_told(self, tmp_path, monkeypatch):
        monkeypatch.setattr(sliding_window, "IN_MEMORY", 0)
        with pytest.raises(CannotWrite, match="missing: cannot hold .* 4 x 5 x 6 voxels .*No such file"):
            Stitched((4, 5, 6), (4, 4, 4), 0.5, 2, str(tmp_path / "missing"))

    def test_a_full_disk_is_told(self, tmp_path, monkeypatch):
        monkeypatch.setattr(sliding_window, "IN_MEMORY", 0)
        monkeypatch.setattr(sliding_window.tempfile, "TemporaryFile", lambda **_: open("/dev/full", "wb", buffering=0))
        image = volume((8, 8, 31))
        with pytest.raises(CannotWrite, match="No space left"):
            stitched(image, (8, 8, 8), 0.5, of_each_voxel, tmp_path)
