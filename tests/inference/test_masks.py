import os
from typing import NamedTuple

import numpy as np
import pytest
import SimpleITK as sitk
from command_line import read_image, voxels
from synthetic import DIRECTIONS, SPACING, blob, grid_of, image_of, write_image

from utils.evaluation.surface_scores import surface_scores
from utils.evaluation.uncertainty import Uncertainty
from utils.imaging import geometry
from utils.imaging.tasks import Case
from utils.inference.masks import MaskWriter, mask_path
from utils.preprocessing import fitting
from utils.system.errors import UserError

SHAPE = (21, 34, 17)
NETWORK_SHAPE = (16, 16, 16)
CLASSES = ("background", "Upper", "Lower")


class Scan(NamedTuple):
    case: Case
    truth: np.ndarray  # uint8 [X, Y, Z] on the scan's grid
    network_label: np.ndarray  # uint8 [X, Y, Z] on the network's


def body(shape):
    """A body of two touching structures: np.uint8 [X, Y, Z] of values 0 to 2."""
    inside = blob(shape, np.array(shape) * 0.45, np.array(shape) * 0.4) > 0.4
    return np.where(inside, np.where(np.arange(shape[2]) >= 0.45 * shape[2], 1, 2), 0).astype(np.uint8)


def certain(label):
    """Probabilities of a network that is sure of a label: float32 [X, Y, Z, K]."""
    return np.eye(len(CLASSES), dtype=np.float32)[label]


@pytest.fixture(params=sorted(DIRECTIONS))
def direction(request):
    return request.param


@pytest.fixture
def make_scan(tmp_path):
    def make(direction="oblique", name="scan", truth=None):
        truth = body(SHAPE) if truth is None else truth
        image = write_image(image_of(truth.astype(np.float32) * 50, direction), tmp_path / (name + ".nii.gz"))
        label = write_image(image_of(truth, direction), tmp_path / (name + "_label.nii.gz"))
        on_network = geometry.resample_label(image_of(truth, direction), NETWORK_SHAPE, len(CLASSES))
        return Scan(Case(name, image, label), truth, on_network)

    return make


@pytest.fixture
def params(tmp_path):
    fit = {"input_shape": NETWORK_SHAPE, "fit": "resize", "spacing": None}
    return dict(fit, model_dir=str(tmp_path / "model"), labels=list(CLASSES), pictures=False, largest_component=False)


def writer_of(params):
    return MaskWriter(params, dict(params, classes=len(CLASSES)), list(CLASSES[1:]))


@pytest.fixture
def writer(params):
    return writer_of(params)


class TestFiles:
    def test_one_per_case_in_the_eval_folder(self, writer, params, make_scan):
        for name in ("first", "second"):
            scan = make_scan(name=name)
            writer.write(scan.case, certain(scan.network_label))
            assert mask_path(params["model_dir"], scan.case) == os.path.join(writer.folder, name + ".nii.gz")
        assert writer.folder == os.path.join(params["model_dir"], "eval")
        assert sorted(os.listdir(writer.folder)) == ["first.nii.gz", "second.nii.gz"]

    def test_masks_lie_exactly_on_their_scans(self, writer, make_scan, direction):
        scan = make_scan(direction)
        writer.write(scan.case, certain(scan.network_label))
        mask = read_image(writer.folder, "scan.nii.gz")
        assert grid_of(mask) == grid_of(sitk.ReadImage(scan.case.image))
        assert mask.GetPixelID() == sitk.sitkUInt8

    def test_a_scan_of_four_axes_gets_a_mask_of_three(self, writer, make_scan, tmp_path):
        scan = make_scan()
        path = write_image(sitk.JoinSeries([sitk.ReadImage(scan.case.image)] * 2), tmp_path / "channels.nii.gz")
        writer.write(Case("channels", path, None), certain(scan.network_label))
        assert grid_of(read_image(writer.folder, "channels.nii.gz")) == grid_of(sitk.ReadImage(path)[:, :, :, 0])

    def test_a_mask_of_before_is_replaced(self, writer, make_scan):
        scan = make_scan()
        writer.write(scan.case, certain(np.zeros(NETWORK_SHAPE, int)))
        assert not voxels(writer.folder, "scan.nii.gz").any()
        writer.write(scan.case, certain(scan.network_label))
        assert voxels(writer.folder, "scan.nii.gz").any()

    @pytest.mark.parametrize("wanted", [True, False])
    def test_pictures_where_asked_for(self, params, make_scan, wanted):
        writer = writer_of(dict(params, pictures=wanted))
        scan = make_scan()
        writer.write(scan.case, certain(scan.network_label))
        writer.evaluate(scan.case._replace(name="scored"), certain(scan.network_label), scan.network_label)
        pictures = ["scan.png", "scored.png"] if wanted else []
        assert sorted(os.listdir(writer.folder)) == sorted(["scan.nii.gz", "scored.nii.gz"] + pictures)

    @pytest.mark.parametrize("wanted, told", [(True, "masks and pictures: "), (False, "masks: ")])
    def test_it_tells_where_they_are(self, params, capsys, wanted, told):
        writer = writer_of(dict(params, pictures=wanted))
        writer.tell()
        assert capsys.readouterr().out == told + writer.folder + "\n"


class TestContent:
    def test_the_structures_are_where_they_were(self, writer, make_scan, direction):
        scan = make_scan(direction)
        writer.write(scan.case, certain(scan.network_label))
        mask = voxels(writer.folder, "scan.nii.gz")
        wrong = mask != scan.truth
        # A surface may move by part of a network voxel, which is up to two voxels wide here.
        assert wrong.mean() < 0.04
        for mirrored in (mask[::-1], mask[:, ::-1], mask[:, :, ::-1]):
            assert (mirrored != scan.truth).sum() > 2 * wrong.sum()

    def test_probabilities_are_brought_back_before_the_choice(self, writer, make_scan):
        # Between the network's voxels 7 and 8 along y the share of Upper falls from 1 to 0.4: it crosses one half at
        # 7.83, where labels brought back would cross at 7.5.
        share = np.where(np.arange(NETWORK_SHAPE[1]) < 8, 1, 0.4).astype(np.float32)
        probabilities = np.zeros(NETWORK_SHAPE + (3,), np.float32)
        probabilities[..., 1], probabilities[..., 0] = share[:, None], 1 - share[:, None]
        scan = make_scan()
        writer.write(scan.case, probabilities)
        centres = (np.arange(SHAPE[1]) + 0.5) / SHAPE[1] * NETWORK_SHAPE[1] - 0.5
        assert any(7.5 < centre < 7.83 for centre in centres)
        expected = np.broadcast_to((centres < 7.83)[:, None], SHAPE).astype(np.uint8)
        np.testing.assert_array_equal(voxels(writer.folder, "scan.nii.gz"), expected)

    def test_a_scan_on_the_networks_own_grid_gets_the_choice_itself(self, writer, make_scan):
        truth = body(NETWORK_SHAPE)
        scan = make_scan(truth=truth)
        writer.write(scan.case, certain(truth))
        np.testing.assert_array_equal(voxels(writer.folder, "scan.nii.gz"), truth)


class TestScores:
    def test_a_network_that_is_right(self, writer, make_scan, direction):
        scan = make_scan(direction)
        scores = writer.evaluate(scan.case, certain(scan.network_label), scan.network_label)
        assert scores.name == "scan"
        np.testing.assert_allclose(scores.soft_dice, [1, 1])
        assert min(scores.hard_dice) > 0.85

    def test_hard_dice_is_that_of_the_file(self, writer, make_scan):
        scan = make_scan()
        shifted = np.roll(scan.network_label, 2, axis=0)
        scores = writer.evaluate(scan.case, certain(shifted), scan.network_label)
        mask = voxels(writer.folder, "scan.nii.gz")
        for value, dice in zip((1, 2), scores.hard_dice):
            both = ((mask == value) & (scan.truth == value)).sum()
            assert dice == 2 * both / ((mask == value).sum() + (scan.truth == value).sum())
            assert dice < 0.9

    def test_soft_dice_is_that_of_the_networks_grid(self, writer, make_scan):
        scan = make_scan()
        unsure = 0.6 * certain(scan.network_label) + 0.4 / len(CLASSES)
        scores = writer.evaluate(scan.case, unsure, scan.network_label)
        for value, dice in zip((1, 2), scores.soft_dice):
            true, share = scan.network_label == value, unsure[..., value].astype(np.float64)
            assert dice == pytest.approx(2 * share[true].sum() / ((share**2).sum() + true.sum()), rel=1e-5)

    def test_an_absent_structure_has_no_score(self, writer, make_scan):
        truth = np.minimum(body(SHAPE), 1)
        scan = make_scan(truth=truth)
        scores = writer.evaluate(scan.case, certain(scan.network_label), scan.network_label)
        assert np.isnan(scores.soft_dice[1]) and np.isnan(scores.hard_dice[1])
        assert np.isnan([scores.hausdorff_95_mm[1], scores.surface_distance_mm[1], scores.uncertainty[1]]).all()
        assert scores.volume_ml[1] == scores.true_volume_ml[1] == scores.volume_difference_ml[1] == 0
        assert scores.hard_dice[0] > 0.85 and 0 < scores.hausdorff_95_mm[0] < 3

    def test_distances_and_volumes_are_those_of_the_file(self, writer, make_scan, direction):
        scan = make_scan(direction)
        shifted = np.roll(scan.network_label, 2, axis=0)
        scores = writer.evaluate(scan.case, certain(shifted), scan.network_label)
        mask = voxels(writer.folder, "scan.nii.gz")
        for number, value in enumerate((1, 2)):
            expected = surface_scores(mask == value, scan.truth == value, SPACING)
            # The file's spacing has 32 bits.
            assert scores.hausdorff_95_mm[number] == pytest.approx(expected.hausdorff_95, rel=1e-5)
            assert scores.surface_distance_mm[number] == pytest.approx(expected.average, rel=1e-5)
            voxel = 0.7 * 1.1 * 2.9 / 1000
            assert scores.volume_ml[number] == pytest.approx((mask == value).sum() * voxel, rel=1e-5)
            assert scores.true_volume_ml[number] == pytest.approx((scan.truth == value).sum() * voxel, rel=1e-5)
            difference = scores.volume_ml[number] - scores.true_volume_ml[number]
            assert scores.volume_difference_ml[number] == difference

    def test_uncertainty_is_that_of_the_probabilities_on_the_scans_grid(self, writer, make_scan):
        scan = make_scan()
        sure, unsure = (share * certain(scan.network_label) + (1 - share) / len(CLASSES) for share in (0.9, 0.6))
        found = [writer.evaluate(scan.case, given, scan.network_label).uncertainty for given in (sure, unsure)]
        restored = geometry.restore_slab(unsure, 0, NETWORK_SHAPE, SHAPE, range(SHAPE[2]))
        mask = voxels(writer.folder, "scan.nii.gz")
        for number, value in enumerate((1, 2)):
            overlap = 2 * restored[mask == value, value].sum()
            assert found[1][number] == pytest.approx(
                1 - overlap / ((mask == value).sum() + restored[..., value].sum()), rel=1e-4
            )
            assert 0 < found[0][number] < found[1][number] < 1

    def test_an_absent_structure_that_is_found_scores_0(self, writer, make_scan):
        truth = np.minimum(body(SHAPE), 1)
        scan = make_scan(truth=truth)
        scores = writer.evaluate(scan.case, certain(2 * scan.network_label), scan.network_label)
        np.testing.assert_array_equal(scores.hard_dice, [0, 0])


class TestPredictions:
    def test_the_figures_are_those_of_a_labelled_case(self, writer, make_scan):
        scan = make_scan()
        probabilities = 0.7 * certain(scan.network_label) + np.float32(0.1)
        predicted = writer.write(scan.case, probabilities)
        scored = writer.evaluate(scan.case, probabilities, scan.network_label)
        assert predicted.name == "scan" and min(predicted.volume_ml) > 0
        np.testing.assert_array_equal(predicted.volume_ml, scored.volume_ml)
        np.testing.assert_array_equal(predicted.uncertainty, scored.uncertainty)


class TestSlabs:
    """However few slices are looked at at a time, all that comes of it is the same to the last bit."""

    FITS = (
        {"input_shape": NETWORK_SHAPE, "fit": "resize", "spacing": None},
        {"input_shape": (16, 32, 8), "fit": "pad", "spacing": (1.1, 0.9, 3.0)},
    )

    def noisy(self, shape):
        """Probabilities of a body in a noisy background, so that there is much to clear."""
        label = np.where(np.random.RandomState(0).rand(*shape) < 0.1, 1, body(shape))
        doubt = np.random.RandomState(1).dirichlet([1.0] * len(CLASSES), shape)
        return (0.6 * certain(label) + 0.4 * doubt).astype(np.float32)

    def made(self, params, scan, probabilities):
        """Figures and files of predicting and of evaluating a scan."""
        writer = writer_of(dict(params, pictures=True))
        predicted = writer.write(scan.case, probabilities)
        label = np.argmax(probabilities, axis=-1).astype(np.uint8)
        scored = writer.evaluate(scan.case._replace(name="scored"), probabilities, label)
        files = {}
        for name in sorted(os.listdir(writer.folder)):
            with open(os.path.join(writer.folder, name), "rb") as file:
                files[name] = file.read()
        return [np.array(part[1:]) for part in (predicted, scored)], files

    @pytest.mark.parametrize("largest_component", [False, True])
    @pytest.mark.parametrize("fit", FITS, ids=lambda fit: fit["fit"])
    def test_thickness_makes_no_difference(self, monkeypatch, params, make_scan, fit, largest_component):
        scan, probabilities = make_scan(), self.noisy(fit["input_shape"])
        params = dict(params, largest_component=largest_component, **fit)
        figures, files = self.made(params, scan, probabilities)
        assert len(files) == 4
        monkeypatch.setattr(fitting, "VALUES_AT_ONCE", 5 * SHAPE[0] * SHAPE[1] * len(CLASSES))
        again, files_again = self.made(params, scan, probabilities)
        for found, expected in zip(again, figures):
            np.testing.assert_array_equal(found, expected)
        assert files_again == files

    @pytest.mark.parametrize("fit", FITS, ids=lambda fit: fit["fit"])
    def test_clearing_changes_the_uncertainty_as_it_does_the_mask(self, params, make_scan, fit):
        scan, probabilities = make_scan(), self.noisy(fit["input_shape"])
        writer = writer_of(dict(params, largest_component=True, **fit))
        found = writer.write(scan.case, probabilities)
        mask = voxels(writer.folder, "scan.nii.gz")
        restored = fitting.Restored(probabilities, sitk.ReadImage(scan.case.image), fit)
        assert len(restored.slabs) == 1
        expected = Uncertainty(mask.shape[2], len(CLASSES))
        expected.put(0, mask, restored.slab(restored.slabs[0]))
        np.testing.assert_array_equal(found.uncertainty, expected.result()[1:])
        without = writer_of(dict(params, **fit)).write(scan.case, probabilities)
        assert found.uncertainty[0] != without.uncertainty[0] and found.volume_ml[0] < without.volume_ml[0]


class TestErrors:
    def test_a_file_where_the_folder_belongs(self, writer, params, make_scan):
        os.makedirs(params["model_dir"])
        open(writer.folder, "w").close()
        scan = make_scan()
        with pytest.raises(UserError, match=r"scan\.nii\.gz: cannot be written"):
            writer.write(scan.case, certain(scan.network_label))

    def test_an_image_that_is_gone_leaves_no_mask(self, writer, make_scan):
        scan = make_scan()
        os.remove(scan.case.image)
        with pytest.raises(UserError, match=r"scan\.nii\.gz: cannot be read"):
            writer.write(scan.case, certain(scan.network_label))
        assert not os.path.exists(writer.folder)

    def test_a_label_on_another_grid(self, writer, make_scan):
        scan = make_scan("flipped")
        other = make_scan("identity", name="other").case.label
        with pytest.raises(UserError, match=r"other_label\.nii\.gz: has the direction"):
            writer.evaluate(scan.case._replace(label=other), certain(scan.network_label), scan.network_label)
