"""What the voxels of a case tell at a glance."""

import numpy as np
import pytest
from synthetic import image_of, scan

from utils.imaging import image_facts
from utils.imaging.image_facts import Facts


def facts(values=(0, 1, 2), channels=1, seed=0):
    """Facts of noise with a label that has these values in turn; without one for None."""
    shape = (5, 7, 4)
    label = None if values is None else image_of(np.resize(np.array(values, np.uint8), shape))
    return image_facts.facts_of([image_of(scan(seed + number, shape)) for number in range(channels)], label, 3)


class TestFacts:
    @pytest.mark.parametrize("values", [(0, 1, 2), (0,), None])
    @pytest.mark.parametrize("channels", [1, 2])
    def test_are_the_same_after_they_were_numbers(self, values, channels):
        own = facts(values, channels)
        row = image_facts.row_of(own, 3)
        assert row.dtype == np.float64 and row.shape == (image_facts.columns(channels, 3),)
        assert image_facts.from_row(row, channels) == own

    def test_are_those_of_the_voxels(self):
        own = facts((0, 1, 1, 2))
        values = scan(0, (5, 7, 4))
        assert own.intensities == [(values.min(), values.max())] and own.voxels == [70, 35]
        assert facts(None).voxels is None

    def test_the_same_content_is_that_of_equal_voxels(self):
        assert facts().content == facts(None).content != facts(seed=1).content


class TestWarnings:
    def test_one_intensity(self):
        constant = Facts([(7.0, 7.0), (0.0, 1.0), (2.5, 2.5)], None, b"")
        assert image_facts.of_one_intensity(constant, ["T1", "T2", "CT"]) == [
            "all voxels of T1 are 7",
            "all voxels of CT are 2.5",
        ]
        assert image_facts.of_one_intensity(Facts([(7.0, 7.0)], None, b""), ["T1"]) == ["all voxels are 7"]
        assert image_facts.of_one_intensity(facts(), ["T1"]) == []

    @pytest.mark.parametrize("values, told", [((0,), True), ((0, 2), False), (None, False)])
    def test_no_structure(self, values, told):
        assert image_facts.is_unmarked(facts(values)) == told

    def test_equal_voxels(self):
        assert image_facts.alike([b"a", None, b"b", b"a", None, b"a"]) == [[3, 5], [], [], [0, 5], [], [0, 3]]

    def test_structures_that_are_nowhere(self):
        assert image_facts.absent([[0, 3], None, [0, 0]], ["Upper", "Lower"]) == ["Upper"]
        assert image_facts.absent([None], ["Upper"]) == image_facts.absent([], ["Upper"]) == []
