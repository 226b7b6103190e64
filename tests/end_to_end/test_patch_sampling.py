"""Training on patches, and evaluation and prediction by a sliding window, through the command line and the network."""

import os

import numpy as np
import pytest
import SimpleITK as sitk
from command_line import (
    STRUCTURES,
    TRAINING_CASES,
    make_task,
    read_description,
    read_image,
    read_json,
    run_here,
    succeed_here,
    voxels,
    write_description,
)
from synthetic import grid_of, image_of, write_image

from model.model_fn import probabilities_of
from utils.sampling import sliding_window
from utils.sampling.tiling import Patches
from utils.tf_runtime import tf

# Smaller than all scans along x and y, larger than some along z.
PATCHES = ("--sampling", "patch", "--input_shape", 12, 16, 16, "--patches_per_case", 3, "--foreground_share", 0.5)
NETWORK = ("--downscale_blocks", 1, 1, "--upscale_blocks", 1, "--normalization_layer", "none", "--threads", 1)
EPOCHS = 5
TRAINING = ("--train_epochs", EPOCHS, "--optimizer", "adam", "--base_lr", 0.01, "--augment_rotation", 10)
TRAINING += ("--data_normalization", "auto", "--crop_shape", 12, 12, 12)
HELD_OUT = 2


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(task of CT, model, what the run told) of a model that was trained on patches and evaluated."""
    parent = tmp_path_factory.mktemp("patches")
    data_dir, model_dir = make_task(parent), str(parent / "model")
    write_description(data_dir, dict(read_description(data_dir), modality={"0": "CT"}))
    where = ("--data_dir", data_dir, "--model_dir", model_dir, "--train_split", 0.8)
    arguments = PATCHES + NETWORK + TRAINING + where
    return data_dir, model_dir, succeed_here("--exec_mode", "train_and_evaluate", *arguments)


class TestPatches:
    def test_scans_are_segmented_on_their_own_grids(self, trained):
        data_dir, model_dir, _ = trained
        scores = read_json(model_dir, "evaluation.json")
        assert min(scores["mean"]["hard_dice"][structure] for structure in STRUCTURES) > 0.8
        held_out = read_json(model_dir, "split.json")["held_out"]
        assert len(held_out) == HELD_OUT
        for name in held_out:
            scan = read_image(data_dir, "imagesTr", name + ".nii.gz")
            assert grid_of(read_image(model_dir, "eval", name + ".nii.gz")) == grid_of(scan)

    def test_an_epoch_has_so_many_patches_of_each_case(self, trained):
        told = "training: {0}/{0} images (100%)".format(EPOCHS * 3 * (TRAINING_CASES - HELD_OUT))
        assert told in trained[2].errors

    def test_the_model_keeps_how_it_sees(self, trained):
        stored = read_json(trained[1], "params.json")
        assert (stored["sampling"], stored["input_shape"], stored["crop_shape"]) == ("patch", [12, 16, 16], [12] * 3)
        assert stored["spacing"] == [0.7, 1.1, 2.9] and stored["foreground_share"] == 0.5
        (channel,) = stored["intensities"]
        # The signals of the structures are 200 and 300, with noise of 20.
        np.testing.assert_allclose(channel, [150, 350, 250, 53], atol=15)
        assert "intensities of CT: clipped to {:g} up to {:g}".format(*channel) in trained[2].output

    def test_predicts_scans_of_any_size_and_spacing(self, trained, tmp_path, monkeypatch):
        monkeypatch.setattr(sliding_window, "IN_MEMORY", 1000)
        random = np.random.RandomState(0)
        scans = {
            "small": ((5, 9, 7), (0.7, 1.1, 2.9)),
            "large": ((40, 31, 70), (1.1, 0.9, 2.0)),
            "flat": ((30, 30, 1), (1, 1, 3)),
        }
        paths = [
            write_image(
                image_of(random.normal(100, 20, shape).astype(np.float32), spacing=spacing),
                tmp_path / (name + ".nii.gz"),
            )
            for name, (shape, spacing) in scans.items()
        ]
        model = ("--model_dir", trained[1], "--cache_dir", tmp_path / "cache", "--threads", 1)
        succeed_here("--exec_mode", "predict", "--patch_overlap", 0.3, "--images", *paths + list(model))
        for path in paths:
            mask = read_image(trained[1], "eval", os.path.basename(path))
            assert grid_of(mask) == grid_of(sitk.ReadImage(path))
            # There is nothing but noise.
            assert np.mean(sitk.GetArrayViewFromImage(mask) > 0) < 0.2
        assert all(name.endswith(".npy") and name[0] != "." for name in os.listdir(str(tmp_path / "cache")))

    def test_more_overlap_changes_little_and_the_disk_nothing(self, trained, tmp_path, monkeypatch):
        scan = os.path.join(trained[0], "imagesTs", "case_12.nii.gz")
        masks = []
        for overlap, in_memory in ((0.5, 1 << 25), (0.7, 1 << 25), (0.5, 1000)):
            monkeypatch.setattr(sliding_window, "IN_MEMORY", in_memory)
            model = ("--model_dir", trained[1], "--cache_dir", tmp_path, "--threads", 1)
            succeed_here("--exec_mode", "predict", "--patch_overlap", overlap, "--images", scan, *model)
            masks.append(voxels(trained[1], "eval", "case_12.nii.gz"))
        assert np.mean(masks[0] > 0) > 0.01 and 0 < np.mean(masks[0] != masks[1]) < 0.05
        np.testing.assert_array_equal(masks[0], masks[2])

    def test_a_model_sees_as_it_was_trained(self, trained):
        where = ("--data_dir", trained[0], "--model_dir", trained[1])
        refused = run_here("--exec_mode", "evaluate", "--sampling", "resize", *where)
        assert refused.status == 2 and "--sampling is resize here and patch in" in refused.errors


class TestStitchedNetwork:
    """The probabilities of V-Net, from patches and from the whole at once."""

    # Voxels from which on the border of what it gets does not reach this network's answer.
    MARGIN = 8

    @pytest.fixture
    def network(self, params, tmp_path):
        """Function: images [N, X, Y, Z, 1] to probabilities, by one network whatever their shape."""
        checkpoint = str(tmp_path / "model.ckpt")

        def probabilities(images):
            with tf.Graph().as_default(), tf.Session() as session:
                tf.set_random_seed(1)
                found = probabilities_of(tf.constant(images), params)
                saver = tf.train.Saver()
                if os.path.exists(checkpoint + ".index"):
                    saver.restore(session, checkpoint)
                else:
                    session.run(tf.global_variables_initializer())
                    saver.save(session, checkpoint)
                return session.run(found)

        return probabilities

    def stitched(self, image, patch, network, folder):
        feeding, shape = Patches(patch, 0.5, str(folder)), image.shape[:3]
        corners = feeding.corners(shape)
        found = network(np.stack([feeding.cut(image, corner) for corner in corners]))
        return feeding.together(shape, zip(corners, found)), corners

    def test_of_a_volume_that_fits_is_that_of_the_whole(self, network, tmp_path):
        image = np.random.RandomState(0).randn(24, 18, 20, 1).astype(np.float32)
        np.testing.assert_array_equal(
            self.stitched(image, (24, 18, 20), network, tmp_path)[0], network(image[np.newaxis])[0]
        )

    def test_of_a_larger_one_is_that_of_the_whole_away_from_the_borders_of_patches(self, network, tmp_path):
        image = np.random.RandomState(0).randn(80, 40, 40, 1).astype(np.float32)
        patch = (40, 40, 40)
        found, corners = self.stitched(image, patch, network, tmp_path)
        assert [corner[0] for corner in corners] == [0, 20, 40]
        errors = np.abs(found - network(image[np.newaxis])[0]).max(axis=(1, 2, 3))
        borders = [20, 40, 60]
        away = [place for place in range(80) if min(abs(place + 0.5 - border) for border in borders) > self.MARGIN]
        assert len(away) > 10
        assert errors[away].max() < 1e-5
        assert errors.max() < 0.1
