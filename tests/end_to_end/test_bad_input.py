"""Every sort of bad input: what is said of it, and that all else survives. Of every mode of main.py."""

import contextlib
import io
import os
import re
import shutil

import pytest
from bad_files import IMAGES, LABELS
from command_line import STRUCTURES, TINY, make_task, read_description, read_image, read_json, write_description
from synthetic import grid_of

import main
from utils import job
from utils.inference import masks

GOOD = 3
SORTS = [("image", sort) for sort in IMAGES] + [("label", sort) for sort in LABELS]


class Run:
    """A run of main.main in this process: its exit status, its output, and the lines that tell what is wrong."""

    def __init__(self, *arguments):
        output, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            self.status = main.main([str(argument) for argument in arguments])
        self.output = output.getvalue()
        _, found, self.errors = errors.getvalue().partition("main.py: error: ")
        assert (self.status == 2) == bool(found)

    def assert_tells(self, path, pattern):
        """There is one line about a file, and it says that."""
        (line,) = [line for line in self.errors.splitlines() if path + ": " in line]
        assert re.search(re.escape(path) + ": " + pattern, line), line


class Spoilt:
    """A task with one case for every sort of bad image and of bad label, and some good cases in between.

    ``image`` and ``label`` are the paths of the bad files by their sort, ``good`` the names of the good cases.
    """

    def __init__(self, parent):
        self.data_dir = make_task(parent, training=GOOD + len(IMAGES) + len(LABELS), test=0)
        entries = read_description(self.data_dir)["training"]
        paths = [
            {part: os.path.normpath(os.path.join(self.data_dir, entry[part])) for part in entry} for entry in entries
        ]
        self.good = [os.path.basename(path["image"])[: -len(".nii.gz")] for path in paths[:GOOD]]
        self.image = dict(zip(IMAGES, (path["image"] for path in paths[GOOD:])))
        self.label = dict(zip(LABELS, (path["label"] for path in paths[GOOD + len(IMAGES) :])))

    def spoil(self):
        for bad, paths in ((IMAGES, self.image), (LABELS, self.label)):
            for sort, path in paths.items():
                bad[sort].spoil(path)

    def path(self, part, sort):
        return getattr(self, part)[sort]


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory):
    task = Spoilt(tmp_path_factory.mktemp("spoilt"))
    task.spoil()
    return task


@pytest.fixture(scope="module")
def checked(spoilt):
    return Run("--exec_mode", "check", "--data_dir", spoilt.data_dir)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of training on such a task, of which all files are there when the cases are planned."""
    task = Spoilt(tmp_path_factory.mktemp("trained"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "plan", then(job.plan, task.spoil))
        # Nobody is measured while training: the held-out ones would not be read before its end.
        task.model_dir = task.data_dir + "_model"
        where = "--data_dir", task.data_dir, "--model_dir", task.model_dir
        task.run = Run("--exec_mode", "train_and_evaluate", "--evaluate_every", "0", *TINY + where)
    return task


@pytest.fixture(scope="module")
def predicted(model, tmp_path_factory):
    """A run that predicts bad images of all sorts and good ones among them; all are there when it is planned."""
    parent = tmp_path_factory.mktemp("predicted")
    task = Spoilt(parent)
    copy = shutil.copytree(model.model_dir, str(parent / "model"))
    shutil.rmtree(os.path.join(copy, "eval"))
    images = [os.path.join(task.data_dir, "imagesTr", name + ".nii.gz") for name in task.good]
    images[1:1] = task.image.values()
    task.model_dir = copy
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "plan", then(job.plan, task.spoil))
        task.run = Run("--exec_mode", "predict", "--model_dir", copy, "--threads", "1", "--images", *images)
    return task


def then(function, change):
    """The function, which changes something once it is done."""

    def changed(*arguments, **options):
        result = function(*arguments, **options)
        change()
        return result

    return changed


class TestCheck:
    @pytest.mark.parametrize("part, sort", SORTS)
    def test_names_every_bad_file(self, checked, spoilt, part, sort):
        path = spoilt.path(part, sort)
        checked.assert_tells(path, {"image": IMAGES, "label": LABELS}[part][sort].told)
        (row,) = [line for line in checked.output.splitlines() if line.startswith(case_of(path) + " ")]
        assert "BAD " + part + ": " in row

    def test_reads_all_others(self, checked, spoilt):
        assert checked.status == 2
        bad = len(SORTS)
        assert checked.errors.startswith("{} of {} cases cannot be used:\n".format(bad, bad + GOOD))
        assert len(checked.errors.splitlines()) == 1 + bad
        for name in spoilt.good:
            (row,) = [line for line in checked.output.splitlines() if line.startswith(name + " ")]
            assert row.count(" (") == len(STRUCTURES) and "BAD" not in row
        assert checked.output.endswith("{} of {} cases can be used\n".format(GOOD, bad + GOOD))


class TestTraining:
    @pytest.mark.parametrize("part, sort", SORTS)
    def test_names_every_bad_file(self, trained, part, sort):
        trained.run.assert_tells(trained.path(part, sort), {"image": IMAGES, "label": LABELS}[part][sort].told)

    def test_stops_before_the_first_step_and_keeps_what_was_good(self, trained):
        bad = len(SORTS)
        assert trained.run.errors.startswith("{} of {} cases cannot be used:\n".format(bad, bad + GOOD))
        assert len(trained.run.errors.splitlines()) == 1 + bad
        assert not [name for name in os.listdir(trained.model_dir) if name.startswith("model.ckpt")]
        kept = os.listdir(os.path.join(trained.model_dir, "cache"))
        assert sorted({name.split("-")[0] for name in kept}) == trained.good

    def test_scans_to_be_predicted_are_looked_at_too(self, tmp_path):
        task = make_task(tmp_path, training=4, test=3)
        images = [
            os.path.join(task, *name.split("/")) for name in ("imagesTr/case_00.nii.gz", "imagesTs/case_05.nii.gz")
        ]
        IMAGES["empty"].spoil(images[0])
        IMAGES["several channels"].spoil(images[1])
        model_dir = str(tmp_path / "model")
        run = Run("--data_dir", task, "--model_dir", model_dir, "--exec_mode", "train_and_predict", *TINY)
        assert run.errors.splitlines()[0] == "2 of 7 cases cannot be used:"
        run.assert_tells(images[0], "is empty")
        run.assert_tells(images[1], "has 2 channels where 1 are expected")

    def test_the_choice_of_a_grid_names_all_bad_headers(self, tmp_path):
        task = make_task(tmp_path, training=4, test=0)
        for number, sort in enumerate(("empty", "zero spacing", "two axes")):
            IMAGES[sort].spoil(os.path.join(task, "imagesTr", "case_0{}.nii.gz".format(number)))
        where = "--data_dir", task, "--model_dir", tmp_path / "model"
        run = Run("--exec_mode", "train", "--input_shape", "auto", *where)
        assert run.errors.splitlines()[0] == "3 of 4 cases cannot be used:"
        assert len(run.errors.splitlines()) == 4


class TestPrediction:
    @pytest.mark.parametrize("sort", IMAGES)
    def test_names_every_bad_scan(self, predicted, sort):
        told = {"missing": "cannot be read", "a folder": "cannot be read"}.get(sort, IMAGES[sort].told)
        predicted.run.assert_tells(predicted.image[sort], told)

    def test_predicts_all_others(self, predicted):
        first = predicted.run.errors.splitlines()[0]
        assert first == "{} of {} cases cannot be used:".format(len(IMAGES), len(IMAGES) + GOOD)
        assert len(predicted.run.errors.splitlines()) == 1 + len(IMAGES)
        for name in predicted.good:
            mask = read_image(predicted.model_dir, "eval", name + ".nii.gz")
            assert grid_of(mask) == grid_of(read_image(predicted.data_dir, "imagesTr", name + ".nii.gz"))
        assert sorted(os.listdir(os.path.join(predicted.model_dir, "eval"))) == [n + ".nii.gz" for n in predicted.good]
        table = read_json(predicted.model_dir, "predictions.json")
        assert [entry["case"] for entry in table["cases"]] == predicted.good


@pytest.fixture
def own(model, tmp_path):
    """The shared model and its task, in folders that a test may change; without masks."""
    copy = shutil.copytree(model.model_dir, str(tmp_path / "model"))
    shutil.rmtree(os.path.join(copy, "eval"))
    return model._replace(data_dir=shutil.copytree(model.data_dir, str(tmp_path / "task")), model_dir=copy)


class TestLater:
    """What only goes wrong when the mask is to be written: the scan is read again then."""

    # What is cut off of the voxels then matters no more: the mask needs the header alone.
    @pytest.mark.parametrize("sort", ["missing", "a folder"])
    def test_a_scan_that_changes_between_reading_and_writing(self, own, monkeypatch, sort):
        image = os.path.join(own.data_dir, "imagesTs", "case_11.nii.gz")
        write = masks.MaskWriter.write

        def changed(writer, case, probabilities):
            if case.name == "case_11":
                IMAGES[sort].spoil(case.image)
            return write(writer, case, probabilities)

        monkeypatch.setattr(masks.MaskWriter, "write", changed)
        where = "--data_dir", own.data_dir, "--model_dir", own.model_dir
        run = Run("--exec_mode", "predict", "--threads", "1", *where)
        assert run.errors.startswith("1 of 5 cases cannot be used: ") and run.errors.count("\n") == 1
        run.assert_tells(image, IMAGES[sort].told)
        assert sorted(os.listdir(os.path.join(own.model_dir, "eval"))) == [
            "case_{}.nii.gz".format(number) for number in (10, 12, 13, 14)
        ]

    def test_the_only_scan_is_bad(self, own, tmp_path):
        image = os.path.join(own.data_dir, "imagesTs", "case_11.nii.gz")
        IMAGES["random bytes"].spoil(image)
        run = Run("--exec_mode", "predict", "--model_dir", own.model_dir, "--threads", "1", "--images", image)
        assert run.errors.startswith("1 of 1 cases cannot be used: ")
        run.assert_tells(image, "is not a NIfTI-1 file")
        assert not os.path.exists(os.path.join(own.model_dir, "eval"))


class TestEvaluation:
    @pytest.mark.parametrize("part, sort", [("image", "not a number"), ("label", "an unknown value")])
    def test_the_others_are_scored(self, own, part, sort):
        bad, *good = read_json(own.model_dir, "split.json")["held_out"]
        path = os.path.join(own.data_dir, part + "sTr", bad + ".nii.gz")
        {"image": IMAGES, "label": LABELS}[part][sort].spoil(path)
        before = {entry["case"]: entry for entry in read_json(own.model_dir, "evaluation.json")["cases"]}
        where = "--data_dir", own.data_dir, "--model_dir", own.model_dir
        run = Run("--exec_mode", "evaluate", "--threads", "1", *where)
        assert run.errors.startswith("1 of 3 cases cannot be used: ")
        run.assert_tells(path, {"image": IMAGES, "label": LABELS}[part][sort].told)
        scored = read_json(own.model_dir, "evaluation.json")["cases"]
        assert scored == [before[name] for name in good]
        assert sorted(os.listdir(os.path.join(own.model_dir, "eval"))) == [name + ".nii.gz" for name in good]

    def test_nothing_to_score(self, own):
        for name in read_json(own.model_dir, "split.json")["held_out"]:
            IMAGES["missing"].spoil(os.path.join(own.data_dir, "labelsTr", name + ".nii.gz"))
            open(os.path.join(own.data_dir, "labelsTr", name + ".nii.gz"), "wb").close()
        before = read_json(own.model_dir, "evaluation.json")
        run = Run("--exec_mode", "evaluate", "--data_dir", own.data_dir, "--model_dir", own.model_dir)
        assert run.errors.startswith("3 of 3 cases cannot be used:\n")
        assert read_json(own.model_dir, "evaluation.json") == before


def _without(key):
    return lambda description: {name: value for name, value in description.items() if name != key}


def _with(**changes):
    return lambda description: dict(description, **changes)


def _naming(path):
    return lambda description: dict(description, test=[path])


DESCRIPTIONS = {
    "no object": (lambda description: ["labels"], "must hold a JSON object"),
    "no labels": (_without("labels"), 'has no "labels"'),
    "no modality": (_without("modality"), 'has no "modality"'),
    "no training": (_without("training"), '"training" must be a list'),
    "labels as a list": (_with(labels=["background", "a"]), '"labels" must be an object of numbers and names'),
    "too many labels": (_with(labels={str(n): str(n) for n in range(257)}), '"labels" has 257 names: 256 are possible'),
    "a label left out": (_with(labels={"0": "background", "2": "a"}), '"labels" must number at least 2 names 0, 1, 2'),
    "training as texts": (_with(training=["a.nii"]), '"training" must list objects'),
    "test as numbers": (_with(test=[1]), '"test" must list file names'),
    "nothing listed": (_with(training=[], test=[]), "lists neither training nor test images"),
    "a label left out of an entry": (
        _with(training=[{"image": "a.nii"}]),
        'entry 1 of "training" (\'a.nii\'): has no "label": add it',
    ),
    "the form of nnU-Net": (
        lambda description: {"channel_names": {}, "labels": {}, "numTraining": 3, "file_ending": ".nii.gz"},
        "has the form of nnU-Net, which lists no cases",
    ),
    "back-slashes": (_naming("imagesTs\\a.nii"), "back-slashes, as on Windows"),
    "a path out of the folder": (_naming("../outside.nii"), "leads out of the task's folder"),
    "an absolute path": (_naming("/etc/hostname.nii"), "leads out of the task's folder"),
    "a link out of the folder": (_naming("link/outside.nii"), "leads out of the task's folder"),
    "a file of another kind": (_naming("dataset.json"), "not a NIfTI file name"),
}


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    data_dir = make_task(tmp_path_factory.mktemp("described"), training=3, test=0)
    os.symlink(os.path.dirname(data_dir), os.path.join(data_dir, "link"))
    with open(os.path.join(os.path.dirname(data_dir), "outside.nii"), "wb"):
        pass
    return data_dir, read_description(data_dir)


class TestDescription:
    """Of dataset.json, in whatever mode."""

    @pytest.mark.parametrize("mode", ["check", "train", "train_and_evaluate", "train_and_predict"])
    @pytest.mark.parametrize("sort", DESCRIPTIONS)
    def test_is_refused_in_one_line(self, described, tmp_path, mode, sort):
        data_dir, description = described
        change, told = DESCRIPTIONS[sort]
        write_description(data_dir, change(description))
        self.assert_refused(data_dir, tmp_path, mode, told)

    @pytest.mark.parametrize("mode", ["check", "train"])
    @pytest.mark.parametrize("content", [b"", b"{", b"\xfc", b'{"labels": }', b"[" * 10**5], ids=range(5))
    def test_that_is_no_json(self, described, tmp_path, mode, content):
        with open(os.path.join(described[0], "dataset.json"), "wb") as file:
            file.write(content)
        self.assert_refused(described[0], tmp_path, mode, "dataset.json: is damaged, no valid JSON")

    @pytest.mark.parametrize("mode", ["check", "train"])
    def test_that_is_missing(self, described, tmp_path, mode):
        path = os.path.join(described[0], "dataset.json")
        if os.path.exists(path):
            os.remove(path)
        self.assert_refused(described[0], tmp_path, mode, "has no dataset.json: give the folder of one task")

    def test_a_case_that_is_listed_twice(self, described, tmp_path):
        data_dir, description = described
        write_description(data_dir, dict(description, test=["imagesTr/case_01.nii.gz"]))
        self.assert_refused(data_dir, tmp_path, "train", "case_01.nii.gz is named twice: delete the repeated entry")

    def assert_refused(self, data_dir, tmp_path, mode, told):
        run = Run("--exec_mode", mode, "--data_dir", data_dir, "--model_dir", tmp_path / "model")
        assert run.status == 2 and run.output == "" and run.errors.count("\n") == 1
        assert data_dir in run.errors and told in run.errors
        assert os.listdir(str(tmp_path)) == []


def case_of(path):
    return os.path.basename(path)[: -len(".nii.gz")]
