"""Input that is unusual and good: it is trained on, scored and predicted, and masks lie exactly on their scans."""

import gzip
import json
import os
import struct
import sys
import tempfile

import numpy as np
import pytest
import SimpleITK as sitk
from command_line import SMALLEST, TINY, make_task, read_image, read_json, succeed_here, write_description
from shared_model import copy_of
from synthetic import DIRECTIONS, affine, blob, grid_of, image_of, raw_nifti, scan, written

import main
from utils.imaging.nifti import read_channels
from utils.system.errors import UserError

NOBODY = 65534
SPACE, LETTERS = "with  two spaces", "Kopf rechts \u00e4\u4e00\U0001f9e0 'a&b' %s"
STRUCTURES = {"0": "background", "1": "H\u00f6hle links", "2": "<b>"}


def label_of(shape, empty=False):
    values = blob(shape, [size / 2 for size in shape], [max(size / 3, 1) for size in shape]) > 0.4
    return (
        np.zeros(shape, np.uint8)
        if empty
        else values.astype(np.uint8) * (1 + (np.indices(shape)[0] % 2)).astype(np.uint8)
    )


def odd_scans():
    """Name -> (image, label), SimpleITK images."""
    random = np.random.RandomState(3)
    shape = (15, 18, 13)
    found = {}
    for direction in sorted(DIRECTIONS):
        values = label_of(shape)
        found[direction] = image_of((values * 100 + random.normal(0, 9, shape)).astype(np.float32), direction), values
    found["constant"] = image_of(np.full(shape, 7, np.int16)), label_of(shape)
    found["one slice"] = image_of(scan(1, (15, 18, 1))), label_of((15, 18, 1))
    found["one row"] = image_of(scan(2, (1, 18, 1))), label_of((1, 18, 1))
    found["one voxel"] = image_of(scan(3, (1, 1, 1))), label_of((1, 1, 1))
    found["without any structure"] = image_of(scan(4, shape)), label_of(shape, empty=True)
    found[SPACE] = image_of(scan(5, shape)), label_of(shape)
    found[LETTERS] = image_of(scan(6, shape)), label_of(shape)
    made = {}
    for name, (image, values) in found.items():
        mask = sitk.GetImageFromArray(values.transpose(2, 1, 0))
        mask.CopyInformation(image)
        made[name] = image, mask
    return made


ODD = sorted(odd_scans())


def write_scan(image, *path):
    # SimpleITK of the runtime tf1 takes any name, too.
    sitk.WriteImage(image, os.path.join(*path))


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """The folders of a task of odd scans and of a model trained on it, which has predicted and scored them."""
    data_dir = make_task(tmp_path_factory.mktemp("odd"), name="Task92_With space \u00e4", training=0, test=0)
    training, test = [], []
    for name, (image, label) in odd_scans().items():
        file = name + ".nii.gz"
        write_scan(image, data_dir, "imagesTr", file)
        write_scan(label, data_dir, "labelsTr", file)
        write_scan(image, data_dir, "imagesTs", "test " + file)
        training.append({"image": "./imagesTr/" + file, "label": "./labelsTr/" + file})
        test.append("./imagesTs/test " + file)
        # What macOS leaves beside the files, and lists of them name.
        for part in ("imagesTr", "labelsTr", "imagesTs"):
            with open(os.path.join(data_dir, part, "._" + file), "wb") as leftover:
                leftover.write(b"\0\5\26\7Mac OS X")
        training.append({"image": "./imagesTr/._" + file, "label": "./labelsTr/._" + file})
        test.append("./imagesTs/._" + file)
    # Not in the list, so nobody's business.
    open(os.path.join(os.fsencode(data_dir), b"imagesTr", b"\xff.nii.gz"), "wb").close()
    description = {"name": "Odd \u00e4", "modality": {"0": "MRI"}, "labels": STRUCTURES}
    write_description(data_dir, dict(description, training=training, test=test))
    model_dir = os.path.join(os.path.dirname(data_dir), "model \u00e4")
    where = ["--data_dir", data_dir, "--model_dir", model_dir]
    flags = ["--train_epochs", "1", "--pictures", "--train_split", "0.5"]
    assert main.main(["--exec_mode", "train_and_predict"] + list(TINY) + flags + where) == 0
    assert main.main(["--exec_mode", "evaluate", "--threads", "1"] + where) == 0
    return data_dir, model_dir


class TestOdd:
    @pytest.mark.parametrize("name", ODD)
    def test_its_mask_lies_exactly_on_it(self, odd, name):
        data_dir, model_dir = odd
        image = read_image(data_dir, "imagesTs", "test " + name + ".nii.gz")
        mask = read_image(model_dir, "eval", "test " + name + ".nii.gz")
        assert grid_of(mask) == grid_of(image)

    def test_every_case_is_trained_on_or_scored_and_none_is_left_over(self, odd):
        data_dir, model_dir = odd
        split = read_json(model_dir, "split.json")
        assert sorted(split["training"] + split["held_out"]) == ODD
        assert [entry["case"] for entry in read_json(model_dir, "evaluation.json")["cases"]] == split["held_out"]
        predicted = [entry["case"] for entry in read_json(model_dir, "predictions.json")["cases"]]
        assert predicted == ["test " + name for name in ODD]

    def test_a_structure_that_is_not_there_has_no_surface(self, odd):
        data_dir, model_dir = odd
        for entry in read_json(model_dir, "evaluation.json")["cases"]:
            if entry["case"] == "without any structure":
                assert set(entry["true_volume_ml"].values()) == {0.0}
                assert set(entry["hausdorff_95_mm"].values()) == {None}

    def test_the_check_finds_nothing_wrong(self, odd, capsys):
        assert main.main(["--exec_mode", "check", "--data_dir", odd[0]]) == 0
        output = capsys.readouterr().out
        assert "{0} of {0} cases can be used".format(2 * len(ODD)) in output
        assert "warning: label without any structure: 1 case" in output


class TestNames:
    @pytest.mark.skipif(sys.platform != "linux", reason="file names are always text there")
    def test_an_image_whose_name_is_no_text_is_refused(self, model, tmp_path, capsys):
        name = os.path.join(os.fsencode(str(tmp_path)), b"scan\xff.nii.gz")
        with open(name, "wb") as file:
            file.write(raw_nifti())
        where = ["--exec_mode", "predict", "--model_dir", model.model_dir, "--images", os.fsdecode(name)]
        assert main.main(where) == 2
        told = capsys.readouterr().err
        assert told.startswith("main.py: error: --images: '") and told.count("\n") == 1
        assert r"scan\udcff.nii.gz': has characters that cannot be shown: rename it" in told

    @pytest.mark.parametrize("key", ["name", "labels", "modality"])
    @pytest.mark.parametrize("text", ["\ud800", "a\nb", "\x1b[2J"])
    def test_names_that_no_file_can_hold_are_refused(self, tmp_path, capsys, key, text):
        data_dir = make_task(tmp_path, training=1, test=0)
        with open(os.path.join(data_dir, "dataset.json")) as file:
            description = json.load(file)
        description[key] = text if key == "name" else dict(description[key], **{"0": text})
        write_description(data_dir, description)
        assert main.main(["--exec_mode", "check", "--data_dir", data_dir]) == 2
        told = capsys.readouterr().err
        assert 'dataset.json: "{}" '.format(key) in told and told.count("\n") == 1

    def test_a_longer_name_than_the_cache_can_hold_is_told(self, model, tmp_path, capsys):
        path = written(tmp_path / ("a" * 240 + ".nii"), raw_nifti())
        where = ["--model_dir", model.model_dir, "--cache_dir", str(tmp_path / "cache"), "--images", path]
        assert main.main(["--exec_mode", "predict", "--threads", "1"] + where) == 2
        told = capsys.readouterr().err.partition("main.py: error: ")[2]
        assert "File name too long" in told and told.count("\n") == 1


class TestLabels:
    def test_values_that_are_nearly_whole_are_rounded_and_told_of_once(self, tmp_path):
        data_dir = make_task(tmp_path, training=4, test=0)
        for number in range(4):
            path = os.path.join(data_dir, "labelsTr", "case_0{}.nii.gz".format(number))
            sitk.WriteImage(sitk.Cast(read_image(path), sitk.sitkFloat64) * 0.9999999, path)
        where = ["--data_dir", data_dir, "--model_dir", tmp_path / "model"]
        checked = succeed_here("--exec_mode", "check", *where[:2]).output
        assert "warning: label of values that are rounded to whole numbers: 4 cases" in checked
        told = "labels whose values were rounded to whole numbers: {} of {} cases: case_0"
        flags = SMALLEST + ("--train_epochs", "1", "--evaluate_every", "0", "--exec_mode", "train_and_evaluate")
        trained = succeed_here(*flags + tuple(where)).output
        assert trained.count("rounded to whole numbers") == 1 and told.format(4, 4) in trained
        evaluated = succeed_here("--exec_mode", "evaluate", "--threads", "1", *where).output
        assert evaluated.count("rounded to whole numbers") == 1 and told.format(1, 1) in evaluated


class TestKinds:
    """Files that other programs write, whose masks lie exactly on them."""

    def test_vectors_of_one_number_and_gzip_of_several_parts(self, model, tmp_path):
        content = bytearray(raw_nifti(sform=(1,) + affine("oblique")))
        struct.pack_into("<h", content, 68, 1007)
        vectors = written(tmp_path / "vectors.nii", bytes(content))
        struct.pack_into("<6h", content, 40, 5, *scan().shape + (1, 1))
        more = written(tmp_path / "more.nii.gz", bytes(content))
        parts = tmp_path / "parts.nii.gz"
        parts.write_bytes(gzip.compress(raw_nifti()[:400]) + gzip.compress(raw_nifti()[400:]) + bytes(9))
        copy = copy_of(model, tmp_path)
        images = [vectors, more, str(parts)]
        succeed_here("--exec_mode", "predict", "--threads", "1", "--model_dir", copy.model_dir, "--images", *images)
        for path in images:
            mask = read_image(copy.model_dir, "eval", os.path.basename(path).split(".")[0] + ".nii.gz")
            assert grid_of(mask) == grid_of(read_image(path))


class TestPermission:
    def test_a_file_that_may_not_be_read(self):
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            path = os.path.join(folder, "scan.nii")
            with open(path, "wb") as file:
                file.write(raw_nifti())
            os.chmod(path, 0)
            is_root = os.geteuid() == 0
            if is_root:
                # Who may read everything: for a moment somebody else, then.
                os.seteuid(NOBODY)
            try:
                with pytest.raises(UserError, match=r"scan\.nii: cannot be read \(Permission denied\)"):
                    read_channels(path)
            finally:
                if is_root:
                    os.seteuid(0)
