"""Which scans the network sees in part, or turned: what is told of them."""

import numpy as np
import pytest
from stack_tasks import stack_task
from synthetic import image_of, scan, write_image

from utils.imaging.image_facts import Facts
from utils.imaging.tasks import Case, Pages, read_task
from utils.inspection import scan_warnings

SETTINGS = {"input_shape": [8, 8, 8], "fit": "pad", "spacing": [1.0, 1.0, 2.0], "classes": 2}
INPUT = "the network's input of 8 x 8 x 8 voxels of 1 x 1 x 2 mm"
REMEDY = ": a model with a larger --input_shape or with --sampling patch would see more"


@pytest.fixture
def case_of(tmp_path):
    """Function (name, size, direction, spacing) -> a case of a scan without a label."""

    def make(name, size=(8, 8, 8), direction="identity", spacing=(1, 1, 2)):
        image = image_of(scan(shape=size), direction, spacing)
        return Case(name, write_image(image, tmp_path / (name + ".nii.gz")), None)

    return make


@pytest.fixture
def unreadable(tmp_path):
    (tmp_path / "empty.nii.gz").write_bytes(b"")
    return Case("empty", str(tmp_path / "empty.nii.gz"), None)


class TestAxes:
    def test_are_those_that_the_scans_have(self, case_of, unreadable):
        turned = [case_of("a", direction="flipped"), case_of("b"), case_of("c", direction="flipped"), unreadable]
        assert scan_warnings.axes_of(turned) == ["LPS", "RAS"]
        assert scan_warnings.axes_of([unreadable]) is None

    def test_stacks_have_none(self, tmp_path):
        task = read_task(stack_task(tmp_path))
        assert scan_warnings.axes_of(task.training) is None
        assert scan_warnings.of_scans(task.test, ["RAS"]) == []

    def test_scans_with_others_are_told(self, case_of, unreadable):
        cases = [case_of("a"), unreadable, case_of("b", direction="permuted"), case_of("c", direction="flipped")]
        assert scan_warnings.of_scans(cases, ["LPS"]) == [
            "axes other than those of the training scans (LPS): 2 of 4 scans, which the network sees turned or "
            "mirrored: b (PSL), c (RAS): reorient them first; a mask is on the grid of the scan that is given"
        ]
        (told,) = scan_warnings.of_scans(cases, ["LPS", "RAS"])
        assert "(LPS, RAS): 1 of 4 scans" in told and "b (PSL): reorient" in told
        assert scan_warnings.of_scans(cases, ["LPS", "PSL", "RAS"]) == []

    def test_nothing_is_told_where_those_of_the_training_are_not_known(self, case_of):
        assert scan_warnings.of_scans([case_of("a", direction="flipped")], None) == []

    def test_the_first_few_are_named(self, case_of):
        cases = [case_of(name, direction="flipped") for name in "abcd"]
        (told,) = scan_warnings.of_scans(cases, ["LPS"])
        assert "4 of 4 scans" in told and ": a (RAS), b (RAS), c (RAS), ...: " in told


class TestUnits:
    @pytest.mark.parametrize(
        "spacing, told", [((10, 10, 20), True), ((0.001, 0.001, 0.002), True), ((5, 5, 40), False), ((1, 1, 20), False)]
    )
    @pytest.mark.parametrize("fit", ["pad", "spacing", "resize"])
    def test_scans_of_another_one_are_told(self, case_of, fit, spacing, told):
        cases = [case_of("a", (2, 2, 2), spacing=spacing), case_of("b")]
        settings = dict(SETTINGS, fit=fit, input_shape=[None if fit == "spacing" else 2000] * 3)
        kind = "voxels ten times as large or as small as the network's: 1 of 2 cases: a ("
        lines = [line for line in scan_warnings.of_scans(cases, None, settings) if line.startswith(kind)]
        assert len(lines) == (told and fit != "resize")


class TestLargerScans:
    def test_are_told_at_the_networks_spacing_the_largest_first(self, case_of, unreadable):
        cases = [case_of("a", (9, 8, 8)), case_of("b"), unreadable, case_of("c", (20, 8, 9), spacing=(1, 1, 4))]
        assert scan_warnings.of_scans(cases, None, SETTINGS) == [
            "larger than {}: 2 of 4 images, whose masks are background outside of it: "
            "c (20 x 8 x 18), a (9 x 8 x 8){}".format(INPUT, REMEDY)
        ]

    @pytest.mark.parametrize("changes", [{"fit": "resize"}, {"fit": "spacing", "input_shape": [None] * 3}])
    def test_there_are_none_where_scans_are_seen_whole(self, case_of, changes):
        assert scan_warnings.of_scans([case_of("a", (20, 20, 20))], None, dict(SETTINGS, **changes)) == []

    def test_slices_have_any_number_and_no_patches(self, case_of):
        sliced = dict(SETTINGS, input_shape=[8, None, 8])
        assert scan_warnings.of_scans([case_of("a", (8, 20, 8))], None, sliced) == []
        (told,) = scan_warnings.of_scans([case_of("b", (9, 20, 8))], None, sliced)
        assert "input of 8 x 8 voxels of 1 x 2 mm: 1 of 1 images" in told and "b (9 x 8): " in told
        assert told.endswith(": a model with a larger --input_shape would see more")

    def test_pages_are_told_in_pixels(self, tmp_path):
        task = read_task(stack_task(tmp_path))
        settings = dict(SETTINGS, input_shape=[4, 8, None], spacing=[1.0, 1.0, 1.0])
        (told,) = scan_warnings.of_scans(task.test, None, settings)
        assert "larger than the network's input of 4 x 8 pixels: 1 of 1 images" in told and "(7 x 5)" in told

    def test_one_line_for_each_kind(self, case_of):
        told = scan_warnings.of_scans([case_of("a", (20, 8, 8), "flipped")], ["LPS"], SETTINGS)
        assert [line.partition(" than ")[0] for line in told] == ["axes other", "larger"]


def case(name, pages=None):
    return Case(name, name + ".nii.gz", None, pages)


def facts(number, low=0.0, high=1.0, voxels=None):
    return Facts([(low, high)], voxels, bytes([number]) * 16)


class TestVoxels:
    def test_nothing_is_told_of_ordinary_ones(self):
        known = [(case("a"), facts(1)), (case("b"), facts(2, voxels=[0, 3]))]
        assert scan_warnings.of_voxels(known, ["MRI"], None) == scan_warnings.of_voxels([], ["MRI"], None) == []
        assert scan_warnings.of_voxels(known, ["CT"], [[-100.0, 200.0, 40.0, 20.0]]) == []

    def test_one_line_for_each_kind(self):
        known = [(case("a"), facts(1, 7.0, 7.0)), (case("b"), facts(2, 7.0, 7.0, [0, 0])), (case("c"), facts(1))]
        assert scan_warnings.of_voxels(known, ["MRI"], None) == [
            "an image of one intensity: 2 of 3 cases: a (all voxels are 7), b (all voxels are 7): no mask of them "
            "means anything: get them again",
            "the same voxels as another case: 2 of 3 cases: a (c), c (a): leave out all but one of each",
            "label without any structure: 1 of 3 cases: b: finish those that something is missing from",
        ]

    def test_pages_without_a_structure_are_nothing_unusual(self):
        assert scan_warnings.of_voxels([(case("a", Pages()), facts(1, voxels=[0]))], ["image"], None) == []

    @pytest.mark.parametrize("low, high, told", [(0.0, 1.0, True), (300.0, 900.0, True), (0.0, 41.0, False)])
    def test_intensities_that_are_all_cut_off(self, low, high, told):
        lines = scan_warnings.of_voxels([(case("a"), facts(1, low, high))], ["CT"], [[40.0, 200.0, 90.0, 20.0]])
        expected = "1 of 1 cases: a (CT from {:g} to {:g}, known from 40 to 200): give it in the units of the training"
        assert len(lines) == told and all(expected.format(low, high) in line for line in lines)

    def test_structures_that_no_training_label_has(self):
        known = [(case("a"), facts(1, voxels=[3, 0])), (case("b"), facts(2, voxels=[0, 5]))]
        (told,) = scan_warnings.of_absent(known, [case("a")], ["Upper", "Lower"])
        assert told.startswith("in none of the 1 training labels: Lower: the model cannot learn them: mark them, or")
        assert scan_warnings.of_absent(known, [one for one, _ in known], ["Upper", "Lower"]) == []
        assert scan_warnings.of_absent(known, [], ["Upper", "Lower"]) == []


class TestStructures:
    def test_cases_are_told_by_what_they_lose(self, case_of):
        cases = [case_of(name, (size, 8, 8)) for name, size in (("a", 9), ("b", 20), ("c", 8), ("d", 10), ("e", 11))]
        assert scan_warnings.of_structures(list(zip(cases, (0.001, 0.5, 0.0, 0.25, 1.0))), SETTINGS, 7) == [
            "structures outside {}: 4 of 7 cases lose voxels of them: e (11 x 8 x 8, 100 %), b (20 x 8 x 8, 50 %), "
            "d (10 x 8 x 8, 25 %), ...{}".format(INPUT, REMEDY)
        ]

    def test_nothing_is_told_where_only_background_is_lost(self, case_of):
        assert scan_warnings.of_structures([(case_of("a", (20, 8, 8)), 0.0)], SETTINGS, 1) == []

    def test_a_scan_that_has_gone_is_named_all_the_same(self, unreadable):
        (told,) = scan_warnings.of_structures([(unreadable, np.float64(0.125))], SETTINGS, 1)
        assert ": empty (12.5 %): " in told
