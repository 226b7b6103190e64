import os
import shlex

import numpy as np
import pytest
import SimpleITK as sitk
import ten_tasks
from command_line import make_task, read_description, read_json, run_main, succeed_here, write_description

import main
from utils.config.parser import build_parser
from utils.fetching import phantom_stack
from utils.imaging import tasks
from utils.planning import network_cost, proposal, trial
from utils.system import memory

REFERENCE = ("--recipe", "reference")
FORMS = {form.folder: form for form in ten_tasks.FORMS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("plan")


@pytest.fixture(scope="module")
def ct(folder):
    return ten_tasks.write_task(folder, FORMS["Task03_Liver"], training=6, test=2)


@pytest.fixture(scope="module")
def flat(folder):
    return ten_tasks.write_task(folder, FORMS["Task08_HepaticVessel"], training=4, test=1)


@pytest.fixture(scope="module")
def stack(folder):
    return phantom_stack.write_task(str(folder))


def planned(data_dir, tmp_path, *flags):
    """A plan without a trial: what it printed, and its JSON."""
    path = tmp_path / "plan.json"
    where = ("--data_dir", data_dir, "--model_dir", tmp_path / "model", "--output", path)
    told = succeed_here("--exec_mode", "plan", "--no_trial", *where + flags)
    return told.output, read_json(path)


def settings_of(plan):
    return {choice["flag"]: choice["value"] for choice in plan["proposed"]}


def type_in(commands):
    """Run commands as they were printed."""
    for command in commands:
        words = shlex.split(command)
        assert words[:2] == ["python", "main.py"]
        succeed_here(*words[2:])


class TestFound:
    def test_is_what_the_files_hold(self, ct, tmp_path):
        output, plan = planned(ct, tmp_path)
        found, task = plan["found"], tasks.read_task(ct)
        scans = [sitk.ReadImage(case.image) for case in task.training + task.test]
        labels = [sitk.GetArrayFromImage(sitk.ReadImage(case.label)) for case in task.training]
        sizes = np.array([scan.GetSize() for scan in scans])
        assert (found["training"], found["test"]) == (6, 2)
        assert found["size"]["median"] == np.median(sizes, axis=0).tolist()
        counts = sizes.prod(axis=1)
        assert found["size"]["smallest"] == sizes[counts.argmin()].tolist()
        assert found["size"]["largest"] == sizes[counts.argmax()].tolist()
        assert found["spacing_mm"]["median"] == pytest.approx([0.77, 0.77, 2.5])
        assert found["anisotropy"] == pytest.approx(2.5 / 0.77)
        voxels = sum(label.size for label in labels)
        for value, name in enumerate(("liver", "cancer"), 1):
            share = sum((label == value).sum() for label in labels) / voxels
            assert found["foreground_share"][name] == pytest.approx(share)
            assert "  {}: {:.3g} %, in {} of 6 cases".format(name, 100 * share, 6 if value == 1 else 4) in output
        intensities = found["intensities"]["CT"]
        assert intensities["lowest"] == min(sitk.GetArrayViewFromImage(scan).min() for scan in scans) < -1000
        inside = np.concatenate([sitk.GetArrayFromImage(scan)[label > 0] for scan, label in zip(scans, labels)])
        np.testing.assert_allclose(intensities["structures"][:3], [*np.percentile(inside, (0.5, 99.5)), inside.mean()])

    def test_of_several_modalities(self, tmp_path):
        task = make_task(tmp_path, training=3, test=0, modalities=3)
        output, plan = planned(task, tmp_path)
        assert list(plan["found"]["intensities"]) == ["MRI0", "MRI1", "MRI2"]
        assert settings_of(plan)["data_normalization"] == "zscore" and "3 labelled cases, 0 to predict" in output
        assert len(plan["commands"]) == 1


class TestProposed:
    def test_whole_scans_where_they_fit(self, ct, tmp_path):
        _, plan = planned(ct, tmp_path)
        settings = settings_of(plan)
        assert (settings["model"], settings["sampling"], settings["fit"]) == ("vnet", "resize", "pad")
        assert settings["data_normalization"] == "ct" and settings["spacing"] == [0.77, 0.77, 2.5]
        step = 2 ** len(settings["downscale_blocks"])
        assert all(size % step == 0 for size in settings["input_shape"])
        assert settings["train_epochs"] % settings["evaluate_every"] == 0
        assert all(choice["reason"] for choice in plan["proposed"])

    def test_patches_where_scans_are_larger(self, ct, tmp_path, monkeypatch):
        monkeypatch.setattr(proposal, "MOST_VOXELS", {"whole": (9000, 9000), "patch": (6000, 6000), "slice": (1, 1)})
        settings = settings_of(planned(ct, tmp_path)[1])
        assert settings["sampling"] == "patch" and "fit" not in settings
        # About a cube, in mm.
        assert 2000 <= memory.voxels(settings["input_shape"]) <= 6000
        extent = np.multiply(settings["input_shape"], settings["spacing"])
        assert extent.max() / extent.min() < 2.5

    def test_and_where_there_is_little_memory(self, ct, tmp_path, monkeypatch):
        monkeypatch.setattr(memory, "limit", lambda: int(1.2e9))
        assert settings_of(planned(ct, tmp_path)[1])["sampling"] == "patch"

    def test_slices_where_there_are_few(self, flat, tmp_path):
        settings = settings_of(planned(flat, tmp_path)[1])
        assert (settings["model"], settings["slice_axis"]) == ("unet", "z")
        assert len(settings["input_shape"]) == 2 and "sampling" not in settings

    def test_pages_of_stacks_one_by_one(self, stack, tmp_path):
        output, plan = planned(stack, tmp_path)
        settings = settings_of(plan)
        assert (settings["model"], settings["slice_axis"], settings["input_shape"]) == ("unet", "z", [160, 160])
        assert "spacing" not in settings and "spacing" not in output and plan["found"]["spacing_mm"] is None

    @pytest.mark.parametrize(
        "flags",
        [
            "--model unet --batch_size 3",
            "--sampling patch --input_shape 16 16 8 --threads 1",
            "--fit pad --spacing 1 1 1 --downscale_blocks 2 --upscale_blocks 2",
            "--recipe reference --input_shape 24 24 24 --augment",
            "--sampling patch --spacing 2 2 2.5 --no_tf32 --folds 2",
            "--upscale_blocks 3 3",
            "--upscale_blocks 1 1 1 1 1 1",
            "--upscale_blocks 3 3 3 --input_shape 24 24 24",
            "--downscale_blocks 3 3 3 3",
            "--crop_shape 48 48 48 --input_shape 56 56 56",
            "--sampling patch --crop_shape 96 96 96",
            "--crop_shape 16 8 4",
            "--input_shape 20 28 12",
        ],
    )
    def test_what_is_given_stands(self, ct, tmp_path, flags):
        _, plan = planned(ct, tmp_path, *flags.split())
        given = vars(build_parser().parse_args(flags.split()))
        command = vars(build_parser().parse_args(shlex.split(plan["commands"][0])[2:]))
        assert {name: command[name] for name in given} == given
        assert not set(given) & set(settings_of(plan))

    def test_one_case_alone_is_trained_on(self, folder, tmp_path):
        task = ten_tasks.write_task(folder, FORMS["Task06_Lung"], training=1, test=1)
        _, plan = planned(task, tmp_path)
        assert settings_of(plan)["train_split"] == 1 and plan["commands"][0].split()[3] == "train"

    def test_the_recipe_that_is_given_decides_the_last_blocks(self, ct, tmp_path):
        last = [settings_of(planned(ct, tmp_path, *flags)[1])["upscale_blocks"][-1] for flags in ((), REFERENCE)]
        assert last == [1, 3]


class TestCommands:
    @pytest.mark.parametrize(
        "name, flags",
        [
            ("ct", "--sampling patch --patches_per_case 1"),
            ("flat", "--model unet --filters 4"),
            pytest.param("stack", "", marks=pytest.mark.endurance),
        ],
    )
    def test_run_as_printed(self, request, tmp_path, name, flags):
        task = request.getfixturevalue(name)
        output, plan = planned(task, tmp_path, "--train_epochs", 1, "--threads", 1, *flags.split())
        assert len(plan["commands"]) == 2 and all("\n" + command + "\n" in output for command in plan["commands"])
        assert not os.path.exists(str(tmp_path / "model"))
        type_in(plan["commands"])
        masks = os.listdir(str(tmp_path / "model" / "eval"))
        assert len(masks) == plan["found"]["test"] + 1
        # What the plan says of the kept copies is so: those of the training cases and of all images to predict.
        kept = tmp_path / "model" / "cache"
        sizes = [os.path.getsize(str(kept / one)) for one in os.listdir(str(kept))]
        assert plan["estimate"]["disk"] == pytest.approx(sum(sizes), rel=0.05)

    def test_with_names_that_a_shell_would_part(self, flat, tmp_path):
        odd = tmp_path / "a folder; of 'mine'"
        _, plan = planned(flat, tmp_path, "--model_dir", odd, "--cache_dir", odd / "kept")
        assert shlex.split(plan["commands"][1])[-1] == str(odd)
        assert vars(build_parser().parse_args(shlex.split(plan["commands"][0])[2:]))["cache_dir"] == str(odd / "kept")

    def test_measure_where_cases_are_held_out(self, flat, tmp_path):
        modes = [planned(flat, tmp_path, "--train_split", share)[1]["commands"][0].split()[3] for share in (0.5, 1)]
        assert modes == ["train_and_evaluate", "train"]


class TestEstimate:
    def times(self, ct, tmp_path, monkeypatch, *flags):
        part = trial.Part(2.0, 1, 5, 10**9)
        fixed = trial.Trial(predict=part._replace(seconds=0.0), train=part, again=part, beside=0.0, cases=3)
        monkeypatch.setattr(trial, "attempt", lambda *_: fixed)
        where = ("--data_dir", ct, "--model_dir", tmp_path / "model", "--output", tmp_path / "plan.json")
        flags += ("--sampling", "patch", "--patches_per_case", 10, "--train_epochs", 100, "--batch_size", 1)
        output = succeed_here("--exec_mode", "plan", *where + flags).output
        return output, read_json(tmp_path / "plan.json")["estimate"]

    def test_takes_as_many_steps_as_are_trained(self, ct, tmp_path, monkeypatch):
        _, estimate = self.times(ct, tmp_path, monkeypatch, "--train_split", 0.5)
        assert estimate["steps"] == 3 * 10 and estimate["epoch"] == 2.0 * 3 * 10
        assert estimate["training"] == pytest.approx(100 * estimate["epoch"], rel=0.05)

    def test_of_folds_is_that_of_all_their_models(self, ct, tmp_path, monkeypatch):
        output, estimate = self.times(ct, tmp_path, monkeypatch, "--folds", 3)
        assert estimate["steps"] == 4 * 10 and "for all 100 of 3 folds" in output
        assert estimate["training"] == pytest.approx(3 * 100 * estimate["epoch"], rel=0.05)
        _, one = self.times(ct, tmp_path, monkeypatch, "--train_split", 0.5)
        # Each has kept copies of its own of the labelled cases, of which there are six beside two others.
        assert estimate["disk"] / one["disk"] == pytest.approx((3 * 6 + 2) / 8, rel=0.1)


class TestTrial:
    def test_measures_and_leaves_nothing(self, ct, tmp_path, monkeypatch):
        seen = []
        attempt = trial.attempt
        monkeypatch.setattr(trial, "attempt", lambda *given: seen.append((given[0], attempt(*given))) or seen[0][1])
        flags = ("--sampling", "patch", "--input_shape", 32, 32, 16, "--batch_size", 4, "--threads", 1)
        monkeypatch.chdir(os.path.dirname(ct))
        where = ("--data_dir", os.path.basename(ct), "--model_dir", tmp_path / "model")
        where += ("--output", tmp_path / "plan.json")
        output = succeed_here("--exec_mode", "plan", *where + flags).output
        estimate = read_json(tmp_path / "plan.json")["estimate"]
        assert estimate["trouble"] is None and "steps of training" in estimate["trial"]
        assert (
            "an epoch ({} steps)".format(estimate["steps"]) in output and estimate["steps"] * estimate["epochs"] > 2500
        )
        assert 0 < estimate["epoch"] < estimate["training"] and estimate["scan"] > 0
        assert os.listdir(str(tmp_path)) == ["plan.json"]
        ((params, found),) = seen
        assert estimate["prediction_memory"] >= found.predict.peak and estimate["training_memory"] >= found.again.peak
        # Shapes are chosen by what is computed.
        needed = network_cost.needed(params, "training", params["input_shape"], params["batch_size"])
        assert 0.5 < found.train.peak / needed < 1.5

    def test_without_one_nothing_needs_tensorflow(self, ct, tmp_path):
        (tmp_path / "tensorflow").mkdir()
        (tmp_path / "tensorflow" / "__init__.py").write_text('raise SystemExit("loaded")\n')
        arguments = ("--exec_mode", "plan", "--data_dir", ct, "--model_dir", tmp_path / "model")
        environment = {"PYTHONPATH": str(tmp_path)}
        finished = run_main(*arguments + ("--no_trial",), environment=environment)
        assert finished.status == 0 and "not measured" in finished.output
        # Where TensorFlow does not load, the plan does without.
        finished = run_main(*arguments, environment=environment)
        assert finished.status == 0 and "not measured: loaded" in finished.output


class TestProblems:
    def test_bad_cases_are_told_as_check_does(self, tmp_path, capsys):
        task = make_task(tmp_path, training=4, test=1)
        open(os.path.join(task, "imagesTr", "case_02.nii.gz"), "wb").close()
        os.remove(os.path.join(task, "labelsTr", "case_01.nii.gz"))
        told = []
        for mode in ("check", "plan"):
            assert main.main(["--exec_mode", mode, "--data_dir", task]) == 2
            told.append(capsys.readouterr().err.partition("main.py: error: ")[2])
        assert told[0] == told[1] and told[0].startswith("2 of 5 cases cannot be used:\n")

    def test_no_labelled_images(self, tmp_path, capsys):
        task = make_task(tmp_path, training=1, test=2)
        write_description(task, dict(read_description(task), training=[]))
        assert main.main(["--exec_mode", "plan", "--data_dir", task]) == 2
        output, errors = capsys.readouterr()
        assert "Tiny: 0 labelled cases, 2 to predict" in output
        assert "main.py: error: --data_dir {}: lists no labelled images".format(task) in errors

    @pytest.mark.parametrize(
        "flags, told",
        [
            ("--model unet --sampling patch", "--sampling patch: belongs to --model vnet"),
            ("--input_shape 17 16 16", "--input_shape 17 16 16: 1 level of --downscale_blocks needs multiples of 2"),
            ("--sampling patch --crop_shape 24 24", "--crop_shape: takes 3 values, not 2"),
            ("--train_split 0.01", "--train_split 0.01 of 6 labelled cases leaves none to train on"),
            ("--folds 20", "--folds 20: the task has 6 labelled cases: use fewer folds"),
            ("--images a.nii", "--images: --exec_mode plan predicts nothing"),
        ],
    )
    def test_what_contradicts_itself(self, ct, capsys, flags, told):
        assert main.main(["--exec_mode", "plan", "--no_trial", "--data_dir", ct] + flags.split()) == 2
        assert told in capsys.readouterr().err

    def test_no_trial_belongs_to_it(self, ct, capsys):
        assert main.main(["--exec_mode", "check", "--no_trial", "--data_dir", ct]) == 2
        assert "--no_trial: belongs to --exec_mode plan" in capsys.readouterr().err
