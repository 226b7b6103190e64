"""Disks that are full, and folders that go away, while main.py runs: what is told, and what is left."""

import glob
import gzip
import hashlib
import os
import shutil
import stat

import pytest
from command_line import (
    EPOCHS,
    HELD_OUT,
    SMALLEST,
    STEPS_PER_EPOCH,
    TEST_CASES,
    TINY,
    checkpoint_steps,
    command,
    read_description,
    read_image,
    read_json,
    succeed_here,
    write_description,
)
from full_disk import no_file_above, run_on_small_disk

import main
from utils.hooks.training_hook import TrainingHook
from utils.model_dir.record import combined
from utils.model_dir.settings import load, runs, save
from utils.system.files import write_json_atomically

FULL = "No space left on device"


@pytest.fixture
def copied(model, tmp_path):
    """The shared model in a folder that a test may change, without masks."""
    copy = shutil.copytree(model.model_dir, str(tmp_path / "copied"))
    shutil.rmtree(os.path.join(copy, "eval"))
    return model._replace(model_dir=copy)


@pytest.fixture
def own_task(model, tmp_path):
    """A copy of the task that a test may change."""
    return shutil.copytree(model.data_dir, str(tmp_path / os.path.basename(model.data_dir)))


@pytest.fixture
def refused(capsys):
    """Function (arguments) -> the last line of a run of main.py in this process, which must end with status 2."""

    def run(*arguments):
        assert main.main([str(argument) for argument in arguments] + ["--threads", "1"]) == 2
        return capsys.readouterr().err.splitlines()[-1]

    return run


def in_folder(mode, model, *more):
    return ("--exec_mode", mode, "--data_dir", model.data_dir, "--model_dir", model.model_dir) + more


def temporaries(folder):
    """What runs leave that could not remove what they had begun."""
    found = glob.glob(os.path.join(str(folder), "**", ".*"), recursive=True)
    return found + glob.glob(os.path.join(str(folder), "**", "*temp*"), recursive=True)


def masks(folder):
    """The names of the masks in a folder, each of which must be whole."""
    names = sorted(os.path.basename(path) for path in glob.glob(os.path.join(str(folder), "eval", "*.nii.gz")))
    assert all(read_image(folder, "eval", name).GetSize() for name in names)
    return names


def change_image(data_dir, name):
    """Give a scan other voxels."""
    path = os.path.join(data_dir, "imagesTr", name + ".nii.gz")
    with gzip.open(path, "rb") as file:
        content = bytearray(file.read())
    content[-4:] = b"\0\0\0\0"
    with gzip.open(path, "wb") as file:
        file.write(content)


def compress_anew(paths):
    """Leave what is in files as it is, and no byte of the files."""
    for path in paths:
        with gzip.open(path, "rb") as file:
            packed = gzip.compress(file.read(), 1)
        with open(path, "wb") as file:
            file.write(packed)


def hash_of_earlier_releases(paths):
    """What split.json had of a case: a hash of the hashes of its files' bytes."""
    digests = []
    for path in paths:
        with open(path, "rb") as file:
            digests.append(hashlib.blake2b(file.read()).digest())
    return hashlib.blake2b(b"".join(digests), digest_size=16).hexdigest()


class TestFullDisk:
    def test_prediction_keeps_what_it_had_and_tells_of_everything(self, copied, tmp_path):
        disk, copy = tmp_path / "disk", tmp_path / "copy"
        disk.mkdir()
        copy.mkdir()
        (tmp_path / "broken.nii.gz").write_bytes(b"")
        images = [tmp_path / "broken.nii.gz"]
        images += [os.path.join(copied.data_dir, "imagesTs", "case_1{}.nii.gz".format(n)) for n in range(TEST_CASES)]
        program = command(["--exec_mode", "predict", "--model_dir", disk, "--threads", "1", "--images"] + images)
        program += ["--cache_dir", str(tmp_path / "cache"), "--log_dir", str(tmp_path / "log")]
        # Room for two small files: for the folder of the masks, and not for all of them.
        fill = 'cp -a "$1/." "$2"; cat /dev/zero >"$2/filling" 2>/dev/null; truncate -s -8192 "$2/filling"; shift 2; '
        program = ["sh", "-c", fill + 'exec "$@"', "sh", copied.model_dir, str(disk)] + program
        finished = run_on_small_disk(program, "40m", disk, copy, universal_newlines=True)
        assert finished.returncode == 2 and "Traceback" not in finished.stderr, finished.stderr
        lines = [line for line in finished.stderr.splitlines() if "cases cannot be used" in line or FULL in line]
        assert lines[0].startswith("main.py: error: 1 of 6 cases cannot be used: {}".format(images[0]))
        assert FULL + "; cases left: " in lines[1] and "/eval/case_1" in lines[1]
        for name in "predictions.json", "predictions.csv", "params.json":
            assert "{}: cannot be written: {}".format(disk / name, FULL) in lines
        assert 0 < len(masks(copy)) < TEST_CASES
        assert temporaries(copy) == []
        assert load(str(copy)) == load(copied.model_dir)

    def test_a_checkpoint_that_has_no_room(self, model, tmp_path, refused):
        where = ("--data_dir", model.data_dir, "--model_dir", str(tmp_path / "model"), "--exec_mode", "train")
        flags = TINY + where + ("--train_epochs", "1", "--evaluate_every", "0")
        with no_file_above(3000000):
            line = refused(*flags)
        expected = "main.py: error: --model_dir {}: cannot be written: File too large: make room"
        assert line.startswith(expected.format(tmp_path / "model"))
        assert checkpoint_steps(tmp_path / "model") == []
        assert main.main(list(flags)) == 0
        assert checkpoint_steps(tmp_path / "model")[-1] == STEPS_PER_EPOCH
        assert len(runs(str(tmp_path / "model"))) == 2

    @pytest.mark.endurance
    def test_training_goes_on_when_there_is_room_again(self, model, tmp_path, capsys):
        disk, copy = tmp_path / "disk", tmp_path / "copy"
        disk.mkdir()
        copy.mkdir()
        flags = TINY + ("--exec_mode", "train", "--data_dir", model.data_dir, "--evaluate_every", "0")
        flags += ("--train_epochs", "4", "--cache_dir", tmp_path / "cache")
        # A checkpoint takes 5.3 MB, graph and events 3.2 MB.
        finished = run_on_small_disk(
            command(flags + ("--model_dir", disk / "model")), "17m", disk, copy, universal_newlines=True
        )
        assert finished.returncode == 2 and "Traceback" not in finished.stderr, finished.stderr
        expected = "main.py: error: --model_dir {}: cannot be written: {}: make room".format(disk / "model", FULL)
        assert finished.stderr.splitlines()[-1].startswith(expected)
        saved = checkpoint_steps(copy / "model")
        assert saved and saved[-1] < 4 * STEPS_PER_EPOCH
        assert main.main([str(flag) for flag in flags + ("--model_dir", copy / "model")]) == 0
        assert checkpoint_steps(copy / "model")[-1] == 4 * STEPS_PER_EPOCH
        assert len(runs(str(copy / "model"))) == 2

    def test_a_log_that_cannot_grow(self, model, tmp_path, refused):
        # Room for the start of the log, and for all smaller files.
        limit, log = 6000000, tmp_path / "model" / "dllogger.json"
        log.parent.mkdir()
        log.write_text("DLLL {}".ljust(limit - 8000) + "\n")
        where = ("--data_dir", model.data_dir, "--model_dir", log.parent, "--exec_mode", "train")
        with no_file_above(limit):
            line = refused(*SMALLEST + where)
        assert (
            line
            == "main.py: error: {}: cannot go on: File too large: make room and start the same command again".format(
                log
            )
        )

    def test_kept_copies_that_have_no_room_are_told_of_once(self, model, tmp_path, refused):
        where = ("--data_dir", model.data_dir, "--model_dir", tmp_path / "model", "--exec_mode", "train")
        with no_file_above(10000):
            line = refused(*TINY + where)
        assert line.startswith("main.py: error: {}/case_".format(tmp_path / "model" / "cache"))
        assert line.endswith(".image.npy: cannot be written: File too large")
        assert temporaries(tmp_path / "model") == [] and checkpoint_steps(tmp_path / "model") == []


class TestEndOfPrediction:
    def test_a_table_that_cannot_be_written_hides_no_bad_scan(self, copied, tmp_path, capsys):
        os.remove(os.path.join(copied.model_dir, "dllogger.json"))
        os.makedirs(os.path.join(copied.model_dir, "predictions.json", "taken"))
        before = set(glob.glob(copied.model_dir + "/**", recursive=True))
        broken = tmp_path / "broken.nii.gz"
        broken.write_bytes(b"")
        image = os.path.join(copied.data_dir, "imagesTs", "case_10.nii.gz")
        umask = os.umask(0o027)
        try:
            arguments = ["--exec_mode", "predict", "--model_dir", copied.model_dir, "--pictures", "--images"]
            assert main.main(arguments + [str(broken), image, "--threads", "1"]) == 2
        finally:
            os.umask(umask)
        told = capsys.readouterr().err.splitlines()[-2:]
        assert told[0].startswith("main.py: error: 1 of 2 cases cannot be used: {}: is empty".format(broken))
        assert told[1] == "{}/predictions.json: cannot be written: Is a directory".format(copied.model_dir)
        assert masks(copied.model_dir) == ["case_10.nii.gz"]
        made = set(glob.glob(copied.model_dir + "/**", recursive=True)) - before
        names = {os.path.relpath(path, copied.model_dir) for path in made}
        assert {"eval/case_10.nii.gz", "eval/case_10.png", "predictions.csv", "dllogger.json"} < names
        # It was there before, but what a run replaces has the permissions of now as well.
        made.add(os.path.join(copied.model_dir, "params.json"))
        modes = {path: stat.S_IMODE(os.stat(path).st_mode) for path in made}
        assert modes == {path: 0o750 if os.path.isdir(path) else 0o640 for path in made}
        assert temporaries(copied.model_dir) == []


class TestGoingAway:
    @pytest.fixture
    def train(self, model, own_task, tmp_path, monkeypatch, refused):
        """Function (name of a flag, mode) -> what is told where that folder is deleted after the first epoch."""
        folders = {"model_dir": str(tmp_path / "gone"), "cache_dir": str(tmp_path / "cache"), "data_dir": own_task}

        def run(name, mode="train"):
            ended = TrainingHook._end_epoch

            def end_epoch(hook, session):
                ended(hook, session)
                shutil.rmtree(folders[name], ignore_errors=True)

            monkeypatch.setattr(TrainingHook, "_end_epoch", end_epoch)
            flags = SMALLEST + ("--train_epochs", "4", "--evaluate_every", "0", "--exec_mode", mode)
            for folder, path in folders.items():
                flags += ("--" + folder, path)
            return refused(*flags)

        return run

    def test_the_models_folder(self, train):
        line = train("model_dir")
        assert line.startswith("main.py: error: --model_dir ") and "gone: was deleted, moved or replaced while" in line

    def test_the_kept_copies(self, train, tmp_path):
        line = train("cache_dir")
        assert line.startswith("main.py: error: --model_dir {}: cannot go on: ".format(tmp_path / "gone"))
        assert str(tmp_path / "cache" / "case_0") in line and line.endswith(": No such file or directory")

    def test_the_data_which_training_needs_no_more(self, train, tmp_path, own_task):
        line = train("data_dir", "train_and_predict")
        assert line.startswith(os.path.join(own_task, "imagesTs", "case_14.nii.gz") + ": cannot be read (No such file")
        assert checkpoint_steps(tmp_path / "gone")[-1] == 4 * STEPS_PER_EPOCH


class TestAnotherModel:
    @pytest.mark.parametrize(
        "mode, changes",
        [
            ("train", {"convolution_size": 5}),
            ("predict", {"labels": ["background", "Upper"]}),
        ],
    )
    def test_a_checkpoint_of_another_network(self, copied, own_task, refused, mode, changes):
        save(dict(load(copied.model_dir), **changes), copied.model_dir)
        if "labels" in changes:
            write_description(own_task, dict(read_description(own_task), labels={"0": "background", "1": "Upper"}))
        more = ("--train_epochs", "30") if mode == "train" else ()
        told = refused(*in_folder(mode, copied._replace(data_dir=own_task), *more))
        assert told.startswith("main.py: error: ") and copied.model_dir in told and "another network" in told
        assert masks(copied.model_dir) == [] and checkpoint_steps(copied.model_dir)[-1] == EPOCHS * STEPS_PER_EPOCH


class TestData:
    def test_of_a_training_that_goes_on_must_be_what_they_were(self, copied, own_task, refused):
        name = read_json(copied.model_dir, "split.json")["training"][1]
        change_image(own_task, name)
        told = refused(*in_folder("train", copied._replace(data_dir=own_task), "--train_epochs", "30"))
        expected = "main.py: error: --model_dir {}: cases have changed since it was trained on them (1 of 10: {}): use"
        assert told.startswith(expected.format(copied.model_dir, name))
        assert len(runs(copied.model_dir)[-1]["data"]) == 0

    @pytest.mark.parametrize("earlier", [False, True])
    def test_files_compressed_anew_and_hashes_of_earlier_releases_are_the_same_data(self, copied, own_task, earlier):
        moved = copied._replace(data_dir=own_task)
        path = os.path.join(copied.model_dir, "split.json")
        split = read_json(path)
        for name in split["training"] + split["held_out"]:
            files = [os.path.join(own_task, part, name + ".nii.gz") for part in ("imagesTr", "labelsTr")]
            if earlier:
                split["contents"][name] = hash_of_earlier_releases(files)
            else:
                compress_anew(files)
        write_json_atomically(path, split)
        assert "changed" not in succeed_here(*in_folder("evaluate", moved, "--threads", "1")).output
        succeed_here(*in_folder("train", moved, "--train_epochs", str(EPOCHS + 1)))

    def test_held_out_cases_that_have_changed_are_told_of(self, copied, own_task, capsys):
        name = read_json(copied.model_dir, "split.json")["held_out"][0]
        change_image(own_task, name)
        moved = copied._replace(data_dir=own_task)
        assert main.main(list(in_folder("evaluate", moved, "--threads", "1"))) == 0
        assert "held-out cases have changed since training (1 of 3: {})".format(name) in capsys.readouterr().out

    def test_every_run_is_on_record(self, copied, capsys):
        assert main.main(list(in_folder("predict", copied, "--threads", "1"))) == 0
        assert main.main(list(in_folder("evaluate", copied, "--threads", "1"))) == 0
        trained, predicted, evaluated = runs(copied.model_dir)
        contents = read_json(copied.model_dir, "split.json")["contents"]
        held_out = read_json(copied.model_dir, "split.json")["held_out"]
        expected = {"cases": HELD_OUT, "hash": combined({name: contents[name] for name in held_out})}
        assert trained["data"]["held_out"] == evaluated["data"]["held_out"] == expected
        assert predicted["data"]["predicted"]["cases"] == TEST_CASES and len(predicted["data"]) == 1
        assert trained["command"].startswith("main.py --input_shape 16 16 16 ")
        # Horovod's is there where it is loaded, which in this process it may be by now.
        assert dict(trained["versions"], horovod=None) == dict(predicted["versions"], horovod=None)
        assert trained["host"]["cpu"]
