import hashlib
import json
import os

import numpy as np
import pytest
import SimpleITK as sitk

from utils.fetching import phantom

SEED = 7


@pytest.fixture(scope="module")
def phantoms():
    return [phantom.make_phantom(SEED, index) for index in range(phantom.TRAINING_CASES + phantom.TEST_CASES)]


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return phantom.write_task(str(tmp_path_factory.mktemp("data")), SEED)


def read_description(task):
    with open(os.path.join(task, "dataset.json")) as stream:
        return json.load(stream)


def read_image(task, path):
    return sitk.ReadImage(os.path.join(task, path))


def to_array(image):
    return sitk.GetArrayFromImage(image).transpose(2, 1, 0)


def grid_of(image):
    return image.GetSize() + image.GetSpacing() + image.GetOrigin() + image.GetDirection()


def digests_of(task):
    digests = {}
    for folder, _, names in os.walk(task):
        for name in names:
            path = os.path.join(folder, name)
            with open(path, "rb") as stream:
                digests[os.path.relpath(path, task)] = hashlib.md5(stream.read()).hexdigest()
    return digests


class TestLayout:
    def test_description_lists_every_file_and_no_other(self, task):
        description = read_description(task)
        listed = {"dataset.json"}
        listed.update(os.path.normpath(case[part]) for case in description["training"] for part in ("image", "label"))
        listed.update(os.path.normpath(path) for path in description["test"])
        assert listed == set(digests_of(task))

    def test_counts(self, task):
        description = read_description(task)
        assert len(description["training"]) == description["numTraining"] >= 40
        assert len(description["test"]) == description["numTest"] == 6

    def test_names(self, task):
        description = read_description(task)
        assert os.path.basename(task) == "Task00_Phantom"
        assert description["labels"] == {"0": "background", "1": "Anterior", "2": "Posterior"}
        assert len(description["modality"]) == 1
        assert description["tensorImageSize"] == "3D"

    def test_folder_is_open_to_others_as_new_folders_are(self, task, tmp_path):
        (tmp_path / "new").mkdir()
        assert os.stat(task).st_mode == os.stat(str(tmp_path / "new")).st_mode

    def test_nothing_else_is_left(self, task):
        assert os.listdir(os.path.dirname(task)) == [phantom.TASK_NAME]


class TestFiles:
    def test_labels_lie_on_their_images_grid_with_the_right_values(self, task):
        for case in read_description(task)["training"]:
            image, label = read_image(task, case["image"]), read_image(task, case["label"])
            assert np.allclose(grid_of(image), grid_of(label), atol=1e-6)
            assert label.GetPixelID() == sitk.sitkUInt8
            assert np.unique(to_array(label)).tolist() == [0, 1, 2]

    def test_files_hold_what_the_generator_gives(self, task, phantoms):
        description = read_description(task)
        paths = [case["image"] for case in description["training"]] + description["test"]
        for path, expected in zip(paths, phantoms):
            image = read_image(task, path)
            assert os.path.basename(path) == expected.name + ".nii.gz"
            assert np.array_equal(to_array(image), expected.image)
            assert np.allclose(image.GetSpacing(), expected.spacing, atol=1e-6)
            assert np.allclose(image.GetOrigin(), expected.origin, atol=1e-4)
            assert np.allclose(image.GetDirection(), expected.direction, atol=1e-6)
        for case, expected in zip(description["training"], phantoms):
            assert np.array_equal(to_array(read_image(task, case["label"])), expected.mask)

    def test_both_pixel_types_occur_in_both_lists(self, task):
        description = read_description(task)
        for paths in ([case["image"] for case in description["training"]], description["test"]):
            types = {read_image(task, path).GetPixelID() for path in paths}
            assert types == {sitk.sitkUInt8, sitk.sitkFloat32}


class TestVariety:
    def test_sizes(self, phantoms):
        shapes = np.array([case.mask.shape for case in phantoms])
        assert (shapes >= [31, 40, 24]).all() and (shapes <= [43, 59, 47]).all()
        # Not mere constants: a good part of each range is used.
        assert (np.ptp(shapes, axis=0) >= [8, 14, 16]).all()

    def test_spacings(self, phantoms):
        spacings = np.array([case.spacing for case in phantoms])
        assert spacings.min() >= 0.8 and spacings.max() <= 1.3
        assert (np.ptp(spacings, axis=0) > 0.3).all()
        assert (np.ptp(spacings, axis=1) > 0.05).mean() > 0.9

    def test_origins(self, phantoms):
        assert len({case.origin for case in phantoms}) == len(phantoms)

    def test_directions_are_orthonormal_of_either_hand_straight_and_oblique(self, phantoms):
        kinds = set()
        for case in phantoms:
            direction = np.array(case.direction).reshape(3, 3)
            assert np.allclose(direction.dot(direction.T), np.eye(3), atol=1e-12)
            left_handed = bool(np.linalg.det(direction) < 0)
            oblique = bool(np.abs(direction).max(axis=0).min() < 0.999)
            kinds.add((left_handed, oblique))
        assert len(kinds) == 4

    def test_intensity_scales(self, phantoms):
        means = [case.image.mean() for case in phantoms if case.image.dtype == np.float32]
        assert max(means) > 100.0 * min(means)


class TestStructures:
    def test_share_of_the_field_of_view(self, phantoms):
        shares = np.array([[(case.mask == value).mean() for value in (1, 2)] for case in phantoms])
        assert (shares > 0.012).all()
        assert 0.05 < shares.sum(axis=1).mean() < 0.08

    def test_structures_touch(self, phantoms):
        for case in phantoms:
            mask = case.mask
            pairs = [
                (np.take(mask, range(1, size), axis), np.take(mask, range(size - 1), axis))
                for axis, size in enumerate(mask.shape)
            ]
            contact = sum(((a == 1) & (b == 2)).sum() + ((a == 2) & (b == 1)).sum() for a, b in pairs)
            assert contact > 20, case.name

    def test_structures_stay_clear_of_the_border(self, phantoms):
        for case in phantoms:
            assert case.mask[1:-1, 1:-1, 1:-1].sum() == case.mask.sum(), case.name

    def test_anterior_lies_ahead_along_the_second_array_axis(self, phantoms):
        for case in phantoms:
            anterior, posterior = (np.argwhere(case.mask == value).mean(axis=0) for value in (1, 2))
            assert anterior[1] - posterior[1] > 0.15 * case.mask.shape[1], case.name

    def test_each_structure_is_resolved_by_a_grid_of_32(self, phantoms):
        for case in phantoms:
            for value in (1, 2):
                extent = np.ptp(np.argwhere(case.mask == value), axis=0) + 1
                assert (extent * 32.0 / case.mask.shape > 6).all(), case.name

    def test_place_varies(self, phantoms):
        centres = np.array([np.argwhere(case.mask > 0).mean(axis=0) / case.mask.shape for case in phantoms])
        assert (centres.std(axis=0) > 0.01).all()

    def test_body_can_be_told_from_its_surroundings(self, phantoms):
        contrasts = []
        for case in phantoms:
            image = case.image.astype(np.float64) / case.image.mean()
            body = case.mask > 0
            shell = np.zeros_like(body)
            for axis in range(3):
                for step in (-3, 3):
                    shell |= np.roll(body, step, axis)
            contrasts.append(np.median(image[shell & ~body]) - np.median(image[body]))
        assert np.median(contrasts) > 0.1


class TestSeeds:
    def test_same_seed_same_bytes(self, task, tmp_path):
        assert digests_of(phantom.write_task(str(tmp_path), SEED)) == digests_of(task)

    def test_another_seed_is_another_task(self, phantoms):
        for index in (0, 50):
            other = phantom.make_phantom(SEED + 1, index)
            same = other.mask.shape == phantoms[index].mask.shape and np.array_equal(other.mask, phantoms[index].mask)
            assert not same

    def test_cases_differ(self, phantoms):
        assert len({case.image.tobytes() for case in phantoms}) == len(phantoms)

    @pytest.mark.parametrize("seed", [0, phantom.MAXIMUM_SEED])
    def test_a_phantom_needs_no_other(self, seed):
        first, second = (phantom.make_phantom(seed, 53) for _ in range(2))
        assert np.array_equal(first.image, second.image) and np.array_equal(first.mask, second.mask)
        assert first[3:] == second[3:]

    def test_seed_is_kept_with_the_task(self, task):
        assert phantom.seed_of(task) == SEED

    def test_another_task_has_none(self, tmp_path):
        (tmp_path / "dataset.json").write_text("[]")
        assert phantom.seed_of(str(tmp_path)) is None


class TestEdgeCases:
    def test_progress_is_told_case_by_case(self, tmp_path):
        calls = []
        phantom.write_task(str(tmp_path), 1, training_cases=2, test_cases=1, progress=lambda: calls.append(1))
        assert len(calls) == 3

    def test_a_task_that_is_there_stays(self, tmp_path):
        directory = phantom.write_task(str(tmp_path), 1, training_cases=1, test_cases=1)
        before = digests_of(directory)
        with pytest.raises(OSError):
            phantom.write_task(str(tmp_path), 2, training_cases=1, test_cases=1)
        assert digests_of(directory) == before
        assert os.listdir(str(tmp_path)) == [phantom.TASK_NAME]

    def test_an_interruption_leaves_nothing(self, tmp_path):
        def interrupt():
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            phantom.write_task(str(tmp_path), 1, progress=interrupt)
        assert os.listdir(str(tmp_path)) == []
