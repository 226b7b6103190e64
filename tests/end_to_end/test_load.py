"""Many cases and large ones, as a user runs them, in bounded memory."""

import os
import tracemalloc

import numpy as np
import pytest
import SimpleITK as sitk
from command_line import TINY_NETWORK, make_task, read_json
from peak_memory import KNOWN, measured
from synthetic import grid_of, image_of, write_image

from utils.imaging.tasks import Case
from utils.inference.masks import MaskWriter
from utils.preprocessing import fitting

NETWORK = TINY_NETWORK + ("--batch_size", "2")
# MB more, however many cases: the report fills up to its 20 MB, and is in memory more than once while it is made.
FULL_PAGE = 80.0
CT_SHAPE = (512, 512, 300)
# MB; parts and distances of structures that reach through the whole scan take maps of their own.
LARGEST_PEAK = {"predicted": 1500.0, "three": 1700.0, "evaluated": 2200.0, "sliding window": 3000.0}


def ct_scan(shape=CT_SHAPE, classes=3, seed=0):
    """(image int16, label uint8) of one body of bands, each of another structure, on an oblique grid of slim voxels."""
    random = np.random.RandomState(seed)
    axes = [np.linspace(-1.0, 1.0, size, dtype=np.float32) for size in shape]
    distance = sum(
        axis.reshape([-1 if place == own else 1 for own in range(3)]) ** 2 for place, axis in enumerate(axes)
    )
    band = 1 + np.arange(shape[2]) * (classes - 1) // shape[2]
    label = np.where(distance < 0.5, band, 0).astype(np.uint8)
    noise = random.randint(-40, 40, shape[:2] + (8,)).astype(np.int16)
    image = np.where(label > 0, 60, -900).astype(np.int16) + np.resize(noise, shape)
    return tuple(image_of(voxels, "oblique", (0.78, 0.78, 1.5)) for voxels in (image, label))


def run(*arguments):
    """The Measured of a run of main.py that must succeed."""
    found = measured(*NETWORK + arguments)
    assert found.status == 0, found.errors
    return found


class TestMasks:
    SHAPE = (96, 80, 64)
    CLASSES = (3, 24)
    VALUES_AT_ONCE = 1 << 18

    @pytest.mark.parametrize("fit", ["resize", "pad"])
    def test_memory_hardly_grows_with_the_classes(self, tmp_path, monkeypatch, fit):
        monkeypatch.setattr(fitting, "VALUES_AT_ONCE", self.VALUES_AT_ONCE)
        path = write_image(ct_scan(self.SHAPE)[0], tmp_path / "ct.nii.gz")
        peaks = []
        for classes in self.CLASSES:
            probabilities = np.random.RandomState(0).rand(16, 16, 16, classes).astype(np.float32)
            prepared = {"input_shape": (16, 16, 16), "fit": fit, "spacing": (0.8, 0.8, 1.5), "classes": classes}
            params = {"model_dir": str(tmp_path), "pictures": False, "largest_component": False}
            writer = MaskWriter(params, prepared, ["structure"] * (classes - 1))
            tracemalloc.start()
            writer.write(Case("ct", path, None), probabilities)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        whole = 4 * np.prod(self.SHAPE) * np.array(self.CLASSES)
        assert peaks[1] - peaks[0] < 0.1 * (whole[1] - whole[0])


@pytest.mark.skipif(not KNOWN, reason="this system does not tell a process's peak of resident memory")
@pytest.mark.endurance
class TestManyCases:
    """2,000 cases are trained on for an epoch, 500 of them held out and evaluated, and 2,000 predicted: minutes."""

    COUNTS = (200, 2000)

    def peaks(self, parent, count):
        data_dir = make_task(parent, training=count, test=count)
        model_dir = str(parent / "model")
        folders = ("--data_dir", data_dir, "--model_dir", model_dir)
        found = {}
        for mode in ("train", "evaluate", "predict"):
            training = ("--train_epochs", "1", "--train_split", "0.75") if mode == "train" else ()
            found[mode] = run("--exec_mode", mode, *training + folders).peak
        assert len(read_json(model_dir, "split.json")["held_out"]) == count // 4
        assert len(read_json(model_dir, "evaluation.json")["cases"]) == count // 4
        assert len(read_json(model_dir, "predictions.json")["cases"]) == count
        assert len(os.listdir(os.path.join(model_dir, "eval"))) == count + count // 4
        assert os.path.getsize(os.path.join(model_dir, "report", "index.html")) < 20 * 10**6
        return found

    def test_memory_does_not_grow_with_them(self, tmp_path):
        fewer, more = (self.peaks(tmp_path / str(count), count) for count in self.COUNTS)
        print("peaks in MB:", fewer, more)
        for mode in fewer:
            assert more[mode] - fewer[mode] < FULL_PAGE, mode


@pytest.mark.skipif(not KNOWN, reason="this system does not tell a process's peak of resident memory")
@pytest.mark.endurance
class TestLargeScans:
    def test_a_ct_scan_is_evaluated_and_predicted_whole(self, tmp_path):
        data_dir, model_dir = make_task(tmp_path), str(tmp_path / "model")
        folders = ("--data_dir", data_dir, "--model_dir", model_dir)
        run("--exec_mode", "train", "--train_epochs", "2", *folders)
        image, label = ct_scan()
        held_out = read_json(model_dir, "split.json")["held_out"][0] + ".nii.gz"
        for folder, voxels in (("imagesTr", image), ("labelsTr", label)):
            write_image(voxels, os.path.join(data_dir, folder, held_out))
        paths = [write_image(image, tmp_path / "ct_{}.nii.gz".format(number)) for number in range(3)]
        peaks = {
            "evaluated": run("--exec_mode", "evaluate", *folders).peak,
            "predicted": run("--exec_mode", "predict", "--images", paths[0], *folders).peak,
            "three": run(
                "--exec_mode", "predict", "--pictures", "--largest_component", "--images", *paths + list(folders)
            ).peak,
        }
        print("peaks in MB:", peaks)
        mask = sitk.ReadImage(os.path.join(model_dir, "eval", "ct_0.nii.gz"))
        assert grid_of(mask) == grid_of(sitk.ReadImage(paths[0]))
        assert all(peaks[name] < LARGEST_PEAK[name] for name in peaks)

    def test_a_ct_scan_is_predicted_by_a_sliding_window_at_its_own_spacing(self, tmp_path):
        data_dir, model_dir = make_task(tmp_path, training=4), str(tmp_path / "model")
        folders = ("--data_dir", data_dir, "--model_dir", model_dir)
        patches = ("--sampling", "patch", "--input_shape", 128, 128, 64, "--spacing", 0.78, 0.78, 1.5)
        network = ("--downscale_blocks", 1, "--upscale_blocks", 1, "--batch_size", 1)
        training = ("--train_epochs", 1, "--train_split", 0.5, "--evaluate_every", 0)
        run("--exec_mode", "train", *patches + network + training + folders)
        path = write_image(ct_scan()[0], tmp_path / "ct.nii.gz")
        overlap = ("--patch_overlap", 0.25, "--batch_size", 1)
        peak = run("--exec_mode", "predict", "--images", path, *patches + network + overlap + folders).peak
        print("peak in MB:", peak)
        assert grid_of(sitk.ReadImage(os.path.join(model_dir, "eval", "ct.nii.gz"))) == grid_of(sitk.ReadImage(path))
        assert peak < LARGEST_PEAK["sliding window"]
