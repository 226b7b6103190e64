import numpy as np
import pytest
import SimpleITK as sitk
from synthetic import image_of, raw_nifti, write_image

from utils.config.flags import FLAGS
from utils.imaging.tasks import Case
from utils.preprocessing import auto_shape
from utils.system.errors import UserError


@pytest.fixture
def cases(tmp_path):
    """Function: shapes and spacings of images -> their Cases."""

    def make(*grids):
        written = []
        for number, (shape, spacing) in enumerate(grids):
            path = tmp_path / "{}.nii.gz".format(number)
            written.append(Case(str(number), write_image(image_of(np.zeros(shape), spacing=spacing), path), None))
        return written

    return make


def settings(**changes):
    return dict({name: flag.default for name, flag in FLAGS.items()}, **changes)


MILLIMETRES = (1.0, 1.0, 1.0)


class TestSpacing:
    def test_is_the_median_along_each_axis(self, cases):
        chosen = auto_shape.choose(
            settings(fit="pad"), cases(*[((4, 4, 4), spacing) for spacing in ((1, 2, 3), (2, 2, 9), (5, 1, 4))])
        )
        assert chosen == {"input_shape": [32, 32, 32], "crop_shape": None, "spacing": [2.0, 2.0, 4.0]}

    def test_a_given_one_stays(self, cases):
        chosen = auto_shape.choose(settings(fit="pad", spacing=[0.5, 1.0, 2.0]), cases(((4, 4, 4), MILLIMETRES)))
        assert chosen["spacing"] == [0.5, 1.0, 2.0]

    def test_resizing_needs_none(self, cases):
        assert auto_shape.choose(settings(input_shape="auto"), cases(((9, 9, 9), (2, 3, 4))))["spacing"] is None

    def test_numbers_of_a_header_are_rounded(self, cases):
        assert auto_shape.choose(settings(fit="pad"), cases(((4, 4, 4), (0.1, 0.2, 0.3))))["spacing"] == [0.1, 0.2, 0.3]


class TestShape:
    @pytest.mark.parametrize("levels", [1, 3, 4])
    def test_padding_makes_room_for_three_in_four(self, cases, levels):
        shapes = [(20 + number, 40 - number, 9) for number in range(9)]
        chosen = settings(fit="pad", input_shape="auto", downscale_blocks=[1] * levels)
        shape = auto_shape.choose(chosen, cases(*((shape, MILLIMETRES) for shape in shapes)))["input_shape"]
        fitting = np.mean(np.array(shapes) <= shape, axis=0)
        assert (fitting >= 0.75).all()
        assert all(size - 2**levels < max(along) for size, along in zip(shape, zip(*shapes)))

    def test_padding_leaves_the_largest_few_out(self, cases):
        many = cases(*([((20, 30, 9), MILLIMETRES)] * 9 + [((60, 30, 9), MILLIMETRES)]))
        assert auto_shape.choose(settings(fit="pad", input_shape="auto"), many)["input_shape"] == [24, 32, 16]

    def test_padding_counts_voxels_of_the_chosen_spacing(self, cases):
        one = cases(((20, 30, 9), (1.0, 2.0, 4.0)))
        chosen = auto_shape.choose(settings(fit="pad", spacing=[1.0, 1.0, 1.0], input_shape="auto"), one)
        assert chosen["input_shape"] == [24, 64, 40]

    def test_resizing_takes_the_median_size(self, cases):
        some = cases(((20, 30, 9), MILLIMETRES), ((33, 50, 15), MILLIMETRES), ((90, 60, 17), MILLIMETRES))
        assert auto_shape.choose(settings(input_shape="auto"), some)["input_shape"] == [32, 48, 16]

    @pytest.mark.parametrize("levels", [1, 2, 4])
    def test_is_a_multiple_of_what_the_levels_divide_by(self, cases, levels):
        chosen = settings(input_shape="auto", downscale_blocks=[1] * levels)
        shape = auto_shape.choose(chosen, cases(((21, 3, 47), MILLIMETRES)))["input_shape"]
        assert all(size % 2**levels == 0 and size > 0 for size in shape)
        assert all(isinstance(size, int) for size in shape)

    def test_channels_are_no_axis_of_it(self, tmp_path):
        channels = sitk.JoinSeries([image_of(np.zeros((20, 30, 9)), spacing=MILLIMETRES)] * 4)
        case = Case("a", write_image(channels, tmp_path / "a.nii.gz"), None)
        assert auto_shape.choose(settings(input_shape="auto"), [case])["input_shape"] == [24, 32, 8]

    def test_a_given_one_reads_no_file(self):
        nowhere = [Case("a", "nowhere.nii.gz", None)]
        assert auto_shape.choose(settings(), nowhere) == {
            "input_shape": [32, 32, 32],
            "crop_shape": None,
            "spacing": None,
        }


class TestCrop:
    @pytest.mark.parametrize(
        "shape, expected", [([40, 56, 40], [32, 48, 32]), ([96, 64, 8], [72, 48, 8]), ([8, 16, 24], [8, 16, 24])]
    )
    def test_takes_three_quarters_rounded_up_to_what_the_levels_divide_by(self, shape, expected):
        assert auto_shape.choose(settings(input_shape=shape, crop_shape="auto"), [])["crop_shape"] == expected

    def test_of_a_shape_chosen_from_the_images(self, cases):
        chosen = settings(fit="pad", input_shape="auto", crop_shape="auto")
        assert auto_shape.choose(chosen, cases(((39, 57, 40), MILLIMETRES)))["crop_shape"] == [32, 48, 32]

    def test_a_given_one_stays(self):
        assert auto_shape.choose(settings(crop_shape=[16, 32, 24]), [])["crop_shape"] == [16, 32, 24]

    def test_a_part_larger_than_the_whole_is_refused(self):
        with pytest.raises(UserError, match=r"^--crop_shape 16 40 16: is larger than --input_shape 32 32 32: use a"):
            auto_shape.choose(settings(crop_shape=[16, 40, 16]), [])


class TestErrors:
    def test_an_image_that_cannot_be_read(self, tmp_path):
        path = tmp_path / "broken.nii.gz"
        path.write_bytes(b"no NIfTI")
        with pytest.raises(UserError, match=r"^1 of 1 cases .*broken.nii.gz: is not a NIfTI-1 file: get the file"):
            auto_shape.choose(settings(fit="pad"), [Case("broken", str(path), None)])

    def test_an_image_of_two_dimensions(self, tmp_path):
        path = write_image(sitk.Image([4, 5], sitk.sitkUInt8), tmp_path / "flat.nii")
        with pytest.raises(UserError, match=r"flat.nii: has 2 dimensions: a scan has 3"):
            auto_shape.choose(settings(fit="pad"), [Case("flat", path, None)])

    def test_a_task_too_large_to_be_padded(self, cases):
        with pytest.raises(UserError, match=r"^--input_shape auto: .* 504 504 504 voxels, .*or a larger --spacing$"):
            chosen = settings(input_shape="auto", fit="pad", spacing=[0.01] * 3)
            auto_shape.choose(chosen, cases(((5, 5, 5), MILLIMETRES)))

    def test_a_header_without_voxel_size(self, tmp_path):
        path = tmp_path / "sizeless.nii"
        path.write_bytes(raw_nifti(spacing=(-1.0, 1.0, 1.0)))
        with pytest.raises(UserError, match=r"sizeless.nii: has voxels of the size -1 x 1 x 1: correct pixdim"):
            auto_shape.choose(settings(fit="pad"), [Case("sizeless", str(path), None)])


class TestPatches:
    """Of a shape and a spacing of the median image, no larger than a processor trains on."""

    def patch(self, cases, *grids, **changes):
        chosen = settings(sampling="patch", fit="pad", input_shape="auto", **changes)
        return auto_shape.choose(chosen, cases(*grids))

    def test_small_images_fit_into_one(self, cases):
        chosen = self.patch(
            cases, ((35, 51, 36), MILLIMETRES), ((33, 50, 30), MILLIMETRES), ((38, 56, 39), MILLIMETRES)
        )
        assert chosen == {"input_shape": [40, 56, 40], "crop_shape": None, "spacing": [1.0, 1.0, 1.0]}

    @pytest.mark.parametrize("shape", [(128, 128, 100), (240, 240, 24), (300, 40, 40), (160, 9, 160)])
    def test_large_ones_are_cut_along_their_longest_sides(self, cases, monkeypatch, shape):
        monkeypatch.setattr(auto_shape, "PATCH_VOXELS", 2**15)
        chosen = self.patch(cases, (shape, MILLIMETRES))["input_shape"]
        assert 2**13 < np.prod(chosen) <= 2**15
        assert all(size % 8 == 0 and 0 < size <= whole + 7 for size, whole in zip(chosen, shape))
        assert chosen[np.argmax(shape)] >= max(chosen) - 8

    def test_depend_on_the_spacing(self, cases):
        chosen = self.patch(cases, ((40, 40, 40), MILLIMETRES), spacing=[2.0, 2.0, 1.0])
        assert chosen["input_shape"] == [24, 24, 40]

    def test_a_given_one_stays(self, cases):
        chosen = settings(sampling="patch", fit="pad", input_shape=[16, 24, 8])
        assert auto_shape.choose(chosen, cases(((40, 40, 40), MILLIMETRES)))["input_shape"] == [16, 24, 8]
