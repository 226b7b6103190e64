import pytest

from utils.params import from_command_line
from utils.system.errors import UserError


@pytest.fixture
def run(tmp_path):
    return lambda text: from_command_line(["--data_dir", "task", "--model_dir", str(tmp_path)] + text.split())


class TestShapesOfSlices:
    @pytest.mark.parametrize("axis, expected", [("x", [1, 40, 56]), ("y", [40, 1, 56]), ("z", [40, 56, 1])])
    def test_two_numbers_lie_along_the_axes_of_the_slices(self, run, axis, expected):
        flags = "--model unet --padding same --slice_axis {} --input_shape 40 56 --crop_shape 40 56".format(axis)
        chosen = run(flags)
        assert chosen["input_shape"] == chosen["crop_shape"] == expected

    def test_three_are_taken_where_they_say_the_same(self, run):
        assert run("--model unet --slice_axis y --input_shape 40 1 56")["input_shape"] == [40, 1, 56]

    def test_any_size_will_do(self, run):
        assert run("--model unet --input_shape 37 53")["input_shape"] == [37, 53, 1]


class TestRefusals:
    @pytest.mark.parametrize(
        "flags, told",
        [
            ("--levels 3", "^--levels: belongs to --model unet: add that or leave this out$"),
            ("--slice_axis x", "^--slice_axis: belongs to --model unet"),
            ("--model unet --pooling max_pool", "^--pooling: belongs to --model vnet"),
            ("--model unet --deep_supervision", "^--deep_supervision: belongs to --model vnet"),
            ("--input_shape 32 32", "^--input_shape: takes 3 values, not 2$"),
            ("--sampling patch --fit pad", "^--fit: does not go with --sampling patch: leave one of the two out$"),
            ("--sampling patch --crop_shape 16 16 12", "^--crop_shape 16 16 12: 3 levels .* not 12 along z"),
            ("--foreground_share 0.5", "^--foreground_share: belongs to --sampling patch: add that or leave this out$"),
            ("--patches_per_case 2", "^--patches_per_case: belongs to --sampling patch"),
            ("--patch_overlap 0.2", "^--patch_overlap: belongs to --sampling patch"),
            ("--sampling patch --patch_overlap 0.95", "^--patch_overlap: '0.95' is not a number from 0 to 0.9"),
            ("--sampling patch --model unet", "^--sampling patch: belongs to --model vnet"),
            ("--sampling patch --input_shape 40 56 41", "need multiples of 8, not 41 along z"),
            ("--spacing 1 1 1", "^--spacing: belongs to --fit pad or --sampling patch"),
            (
                "--model unet --input_shape 40 56 32",
                "slices across z have one voxel there: give two numbers, along x and y",
            ),
            ("--model unet --slice_axis x --input_shape 40 56 1", "^--input_shape 40 56 1: .*, along y and z$"),
            ("--model unet --input_shape 40 56 --crop_shape 24 24", "^--crop_shape: needs --padding same"),
            (
                "--model unet --augment --flip_axes x z",
                "^--flip_axes x z: a slice across z cannot be mirrored along it",
            ),
        ],
    )
    def test_contradictions_in_one_line(self, run, flags, told):
        with pytest.raises(UserError, match=told):
            run(flags)

    @pytest.mark.parametrize(
        "flags, axes", [("--slice_axis x", ["y"]), ("--slice_axis z", ["x", "y"]), ("", ["x", "y"])]
    )
    def test_slices_are_mirrored_along_their_own_axes(self, run, flags, axes):
        assert run("--model unet --augment " + flags)["flip_axes"] == axes

    def test_a_flag_of_the_other_network_is_let_pass_as_a_default(self, run):
        assert run("--model unet")["downscale_blocks"] == [3, 3, 3]


class TestPatches:
    def test_keep_the_size_of_voxels(self, run):
        chosen = run("--recipe reference --sampling patch")
        assert (chosen["crop_shape"], chosen["fit"], chosen["spacing"]) == (None, "pad", None)
        assert run("--recipe tuned --sampling patch")["crop_shape"] == "auto"
        assert run("--sampling patch --spacing 1 2 3")["spacing"] == [1.0, 2.0, 3.0]
