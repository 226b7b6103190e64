import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import SimpleITK as sitk
from command_line import (
    MAIN,
    STRUCTURES,
    make_task,
    read_description,
    read_image,
    read_json,
    run_main,
    voxels,
    write_description,
)
from synthetic import DIRECTIONS, image_of

import main
from utils.imaging import tasks
from utils.inspection import case_facts as reading

TRAINING, TEST = 6, 2


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return make_task(tmp_path_factory.mktemp("check"), training=TRAINING, test=TEST)


@pytest.fixture
def own_task(task, tmp_path):
    return shutil.copytree(task, str(tmp_path / "Task91_Own"))


@pytest.fixture
def found(capsys, tmp_path):
    """Function (data_dir, flags) -> status, output, error lines, findings by case."""

    def run(data_dir, *flags):
        path = tmp_path / "findings.json"
        arguments = ["--exec_mode", "check", "--data_dir", data_dir, "--output", str(path)] + list(flags)
        status = main.main(arguments)
        output, errors = capsys.readouterr()
        told = errors.partition("main.py: error: ")[2].splitlines()
        return status, output, told, {entry["case"]: entry for entry in read_json(path)["cases"]}

    return run


def image(data_dir, number):
    return os.path.join(data_dir, "imagesTr", "case_{:02d}.nii.gz".format(number))


def label(data_dir, number):
    return os.path.join(data_dir, "labelsTr", "case_{:02d}.nii.gz".format(number))


def write(image, path):
    sitk.WriteImage(image, path)


class TestGoodTask:
    def test_ends_with_0_and_tells_nothing_wrong(self, task, found):
        status, output, told, findings = found(task)
        assert (status, told) == (0, [])
        assert "8 of 8 cases can be used" in output and "BAD" not in output
        assert all(not entry["problems"] and not entry["warnings"] for entry in findings.values())

    def test_the_facts_are_those_of_the_files(self, task, found):
        _, output, _, findings = found(task)
        assert len(findings) == TRAINING + TEST
        for number, (name, entry) in enumerate(sorted(findings.items())):
            assert name == "case_{:02d}".format(number)
            part = "imagesTr" if number < TRAINING else "imagesTs"
            file = read_image(task, part, name + ".nii.gz")
            values = sitk.GetArrayFromImage(file)
            assert tuple(entry["size"]) == file.GetSize() and tuple(entry["spacing_mm"]) == file.GetSpacing()
            assert entry["intensities"] == [[values.min(), values.max()]]
            (row,) = [line for line in output.splitlines() if line.startswith(name + " ")]
            assert " x ".join(map(str, file.GetSize())) in row and " 0.7 x 1.1 x 2.9 " in row
            if number >= TRAINING:
                assert entry["voxels"] is None and entry["part"] == "test"
                continue
            assert entry["part"] == "training"
            truth = voxels(task, "labelsTr", name + ".nii.gz")
            for value, structure in enumerate(STRUCTURES, 1):
                count = (truth == value).sum()
                assert entry["voxels"][structure] == count > 0
                volume = count * np.prod(file.GetSpacing()) / 1000
                assert entry["volume_ml"][structure] == pytest.approx(volume, rel=1e-9)
                assert "{:.3f} ({})".format(volume, count) in row

    def test_the_summary(self, task, found):
        _, output, _, findings = found(task)
        lines = output.splitlines()
        assert "Tiny: 6 training cases, 2 test images; MRI0" in lines
        assert "spacing: 0.7 x 1.1 x 2.9 mm" in lines
        sizes = np.array([entry["size"] for entry in findings.values()])
        (told,) = [line for line in lines if line.startswith("size: ")]
        numbers = [int(number) for number in re.findall(r"\d+", told)]
        assert numbers[:3] == sizes.min(axis=0).tolist() and numbers[3:6] == sizes.max(axis=0).tolist()
        for structure in STRUCTURES:
            assert any(line.startswith(structure + ": in 6 of 6 labels, ") for line in lines)
        assert "the network sees: 32 x 32 x 32 voxels (--fit resize)" in lines

    def test_the_flags_decide_what_the_network_sees(self, task, found):
        flags = "--fit pad --input_shape auto --crop_shape auto --spacing 1 1 1.5 --downscale_blocks 1 1"
        _, output, _, _ = found(task, *(flags + " --upscale_blocks 1").split())
        told = r"the network sees: 16 x 28 x 32 voxels of 1 x 1 x 1.5 mm, in training parts of 12 x 24 x 24 voxels"
        assert re.search(told, output), output

    def test_it_leaves_nothing_and_needs_no_tensorflow(self, task, tmp_path):
        (tmp_path / "tensorflow").mkdir()
        (tmp_path / "tensorflow" / "__init__.py").write_text('raise SystemExit("loaded")\n')
        (tmp_path / "here").mkdir()
        finished = run_main(
            *("--exec_mode", "check", "--data_dir", task),
            environment={"PYTHONPATH": str(tmp_path)},
            folder=tmp_path / "here",
        )
        assert finished.status == 0 and "checking: 8/8 cases (100%)" in finished.errors
        assert os.listdir(str(tmp_path / "here")) == []

    def test_a_reader_that_has_seen_enough(self, task, tmp_path):
        reading, writing = os.pipe()
        os.close(reading)
        command = [sys.executable, MAIN, "--exec_mode", "check", "--data_dir", task, "--model_dir", str(tmp_path)]
        process = subprocess.Popen(command, stdout=writing, stderr=subprocess.PIPE, universal_newlines=True)
        os.close(writing)
        _, errors = process.communicate()
        assert process.returncode == 0 and "Traceback" not in errors and "BrokenPipe" not in errors

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
    def test_an_output_that_takes_nothing(self, task, tmp_path):
        command = [sys.executable, MAIN, "--exec_mode", "check", "--data_dir", task, "--model_dir", str(tmp_path)]
        with open("/dev/full", "w") as full:
            finished = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, universal_newlines=True)
        assert finished.returncode == 2
        assert finished.stderr.endswith(
            "main.py: error: standard output: cannot be written (No space left on device)\n"
        )

    def test_cases_do_not_wait_in_memory(self, task, monkeypatch, found):
        # With one thread, no more than two findings are under way while the first is handed out.
        order = []
        examined, update = reading.examined, reading.Progress.update
        monkeypatch.setattr(reading, "examined", lambda *given: order.append("read") or examined(*given))
        monkeypatch.setattr(reading.Progress, "update", lambda *given: order.append("told") or update(*given))
        found(task, "--threads", "1")
        ahead = [order[:place].count("read") - order[:place].count("told") for place in range(len(order) + 1)]
        assert order.count("read") == 8 and max(ahead) <= 2


class TestDirections:
    @pytest.mark.parametrize(
        "direction, axes", [("identity", "LPS"), ("flipped", "RAS"), ("left_handed", "LPI"), ("permuted", "PSL")]
    )
    def test_are_told_as_letters(self, tmp_path, direction, axes):
        path = str(tmp_path / "scan.nii.gz")
        write(image_of(np.arange(24.0).reshape(2, 3, 4), direction), path)
        described = tasks.Task("Own", str(tmp_path), ("background", "a"), ("MRI",), (), ())
        assert reading.examined(described, tasks.Case("scan", path, None), "test").axes == axes
        assert direction in DIRECTIONS


class TestWarnings:
    def test_of_a_background_that_has_another_value(self, own_task, found):
        write_description(
            own_task, dict(read_description(own_task), labels={"0": "Upper", "1": "Background", "2": "b"})
        )
        assert 'warning: the structure of value 0, "Upper", is the background, whatever' in found(own_task)[1]

    def test_do_not_change_the_status(self, own_task, found):
        first = sitk.ReadImage(image(own_task, 0))
        write(first * 0 + 7, image(own_task, 0))
        write(sitk.ReadImage(label(own_task, 1)) * 0, label(own_task, 1))
        status, output, told, findings = found(own_task)
        assert (status, told) == (0, [])
        assert findings["case_00"]["warnings"] == ["all voxels are 7"]
        assert findings["case_01"]["warnings"] == ["label without any structure"]
        assert "warning: an image of one intensity: 1 case\n" in output
        assert "warning: label without any structure: 1 case\n" in output

    def test_of_one_channel_among_several(self, tmp_path, found):
        task = make_task(tmp_path, training=1, test=0, modalities=2)
        several = sitk.ReadImage(image(task, 0))
        channels = [several[:, :, :, 0], several[:, :, :, 1] * 0 + 5]
        write(sitk.JoinSeries(channels), image(task, 0))
        assert found(task)[3]["case_00"]["warnings"] == ["all voxels of MRI1 are 5"]

    def test_of_equal_scans_however_they_are_packed(self, own_task, found):
        # In training and in test: the score of such a case would be worth nothing.
        same = os.path.join(own_task, "imagesTs", "case_06.nii.gz")
        write(sitk.Cast(sitk.ReadImage(image(own_task, 2)), sitk.sitkFloat64), same)
        status, output, _, findings = found(own_task)
        assert status == 0
        assert findings["case_02"]["warnings"] == ["the same voxels as case_06 (test)"]
        assert findings["case_06"]["warnings"] == ["the same voxels as case_02 (training)"]
        assert "warning: the same voxels as another case: 2 cases\n" in output

    def test_of_structures_beyond_the_networks_input(self, own_task, found):
        shape = np.array(sitk.ReadImage(image(own_task, 0)).GetSize())
        for number in (0, 1):
            # As large as the first one; only the second has a structure in a corner.
            values = np.zeros(shape[::-1], np.uint8)
            values[tuple(shape[::-1] // 2)] = 1
            values[0, 0, 0] = number
            for path, made in ((image(own_task, number), values.astype(np.float32)), (label(own_task, number), values)):
                write(sitk.GetImageFromArray(made), path)
        flags = "--fit", "pad", "--spacing", "1", "1", "1", "--downscale_blocks", "1", "--upscale_blocks", "1"
        smaller = [str(2 * ((size - 1) // 2)) for size in shape]
        status, output, told, findings = found(own_task, *flags + ("--input_shape",) + tuple(smaller))
        assert (status, told) == (0, [])
        beyond = "structures reach beyond the network's input"
        assert findings["case_00"]["warnings"] == [] and findings["case_01"]["warnings"] == [beyond]
        count = sum(beyond in entry["warnings"] for entry in findings.values())
        assert "warning: {}: {} case".format(beyond, count) in output
        # Resized scans are seen whole.
        assert beyond not in found(own_task, "--input_shape", *smaller + list(flags[5:]))[1]

    def test_of_a_structure_that_is_nowhere_and_of_turned_scans(self, tmp_path, found):
        task = make_task(tmp_path, training=2, test=0, structures=STRUCTURES + ("Nowhere",))
        _, output, _, _ = found(task)
        assert "Nowhere: in 0 of 2 labels\n" in output and "warning: Nowhere: in none of the labels\n" in output
        assert "warning: the axes point in different directions" in output


class TestProblems:
    def test_image_and_label_are_told_in_one_line(self, own_task, found):
        open(image(own_task, 3), "wb").close()
        write(sitk.ReadImage(label(own_task, 3)) * 9, label(own_task, 3))
        status, output, told, findings = found(own_task)
        assert status == 2
        problems = (
            image(own_task, 3) + ": is empty: get the file again or leave it out",
            label(own_task, 3)
            + ": has the value 18: labels of this task are whole numbers from 0 to 2: correct it, or "
            "dataset.json",
        )
        assert told == ["1 of 8 cases cannot be used: " + "; ".join(problems)]
        assert len(findings["case_03"]["problems"]) == 2 and "BAD image: is empty" in output
        assert "7 of 8 cases can be used" in output

    def test_missing_files_are_told_with_the_others(self, own_task, found):
        os.remove(image(own_task, 0))
        os.remove(label(own_task, 1))
        open(image(own_task, 2), "wb").close()
        status, _, told, _ = found(own_task)
        assert (status, told[0], len(told)) == (2, "3 of 8 cases cannot be used:", 4)
        for line, path in zip(told[1:], (image(own_task, 0), label(own_task, 1))):
            assert line.startswith(path + ": cannot be read (No such file or directory)")

    def test_a_name_that_is_listed_twice(self, own_task, found):
        description = read_description(own_task)
        write_description(own_task, dict(description, test=description["test"] + ["./imagesTr/case_04.nii.gz"]))
        status, output, told, _ = found(own_task)
        twice = " is named twice: delete the repeated entry"
        assert "the same voxels" not in output
        assert (status, told) == (2, ["1 of 9 cases cannot be used: " + image(own_task, 4) + twice])

    def test_a_name_that_two_files_have(self, own_task, found):
        other = os.path.join(own_task, "imagesTs", "case_04.nii.gz")
        os.rename(os.path.join(own_task, "imagesTs", "case_06.nii.gz"), other)
        description = read_description(own_task)
        write_description(own_task, dict(description, test=["imagesTs/case_04.nii.gz", description["test"][1]]))
        status, output, told, _ = found(own_task)
        named = "two images with the same name: {} and {}: rename one".format(image(own_task, 4), other)
        assert (status, told) == (2, ["1 of 8 cases cannot be used: " + named])

    def test_a_spacing_that_makes_too_much_of_one_scan(self, own_task, found):
        large = sitk.ReadImage(image(own_task, 5))
        large.SetSpacing((9e4, 9e4, 9e4))
        write(large, image(own_task, 5))
        mask = sitk.ReadImage(label(own_task, 5))
        mask.CopyInformation(large)
        write(mask, label(own_task, 5))
        flags = "--fit", "pad", "--spacing", "1", "1", "1"
        status, output, told, findings = found(own_task, *flags)
        assert status == 2 and len(told) == 1
        path = re.escape(image(own_task, 5))
        assert re.search(
            "--spacing 1 1 1: " + path + r" would have \d+ x \d+ x \d+ voxels, which take at least", told[0]
        )
        assert [name for name, entry in findings.items() if entry["problems"]] == ["case_05"]

    def test_patches_whose_open_slices_take_too_much(self, own_task, found, monkeypatch):
        labels = {str(value): "structure {}".format(value) for value in range(1, 200)}
        write_description(own_task, dict(read_description(own_task), labels=dict(labels, **{"0": "background"})))
        size = sitk.ReadImage(image(own_task, 5)).GetSize()
        flags = "--sampling patch --input_shape 8 8 8 --downscale_blocks 1 --upscale_blocks 1".split()
        flags += "--spacing 1 1 1 --batch_size 1".split()
        assert found(own_task, *flags)[0] == 0
        monkeypatch.setattr("utils.system.memory.limit", lambda: 4 * 200 * 8 * np.prod(size[:2]) // 2)
        status, _, told, _ = found(own_task, *flags)
        assert status == 2 and re.search("--spacing 1 1 1: .* would have .* voxels, which take at least", told[1])

    def test_settings_that_go_with_no_task(self, own_task, found):
        open(image(own_task, 0), "wb").close()
        status, output, told, _ = found(own_task, *"--crop_shape 64 64 64".split())
        assert status == 2 and "case_01  training" in output
        assert told[0].startswith("--crop_shape 64 64 64: is larger than --input_shape 32 32 32")
        assert told[1].startswith("1 of 8 cases cannot be used: ")

    def test_nothing_but_bad_cases(self, own_task, found):
        for number in range(TRAINING):
            open(image(own_task, number), "wb").close()
        write_description(own_task, dict(read_description(own_task), test=[]))
        status, output, told, _ = found(own_task)
        assert (status, told[0], len(told)) == (2, "6 of 6 cases cannot be used:", 7)
        assert output.endswith("0 of 6 cases can be used\nfindings: " + output.split("findings: ")[1])

    def test_a_description_that_is_none(self, own_task, capsys):
        write_description(own_task, [])
        assert main.main(["--exec_mode", "check", "--data_dir", own_task]) == 2
        assert "dataset.json: must hold a JSON object" in capsys.readouterr().err

    def test_no_task(self, capsys):
        assert main.main(["--exec_mode", "check"]) == 2
        assert capsys.readouterr().err.startswith("main.py: error: --data_dir: --exec_mode check needs it")


class TestFlags:
    def test_a_model_is_left_alone(self, task, tmp_path, capsys):
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "params.json").write_text("[]")
        assert main.main(["--exec_mode", "check", "--data_dir", task, "--model_dir", str(tmp_path / "model")]) == 0
        assert (tmp_path / "model" / "params.json").read_text() == "[]"
        assert os.listdir(str(tmp_path / "model")) == ["params.json"]

    def test_output_belongs_to_it_or_to_a_benchmark(self, task, capsys):
        assert main.main(["--exec_mode", "train", "--data_dir", task, "--output", "found.json"]) == 2
        told = capsys.readouterr().err
        assert told.startswith(
            "main.py: error: --output: belongs to --benchmark or --exec_mode check or plan: add that"
        )
