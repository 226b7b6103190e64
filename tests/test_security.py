"""What SECURITY.md promises and no module's own test shows: it goes for the whole project."""

import ast
import glob
import os
import pickle
import shutil
import stat

import numpy as np
import pytest
from command_line import PROJECT, succeed, voxels
from pages import evaluated_model, write_json
from parsed_page import Page
from synthetic import raw_nifti
from test_tf_runtime import PLACES, imported, sources

import download_dataset
import main
from examples import launching
from utils.html_report import build
from utils.imaging.tasks import Case
from utils.preprocessing import cache
from utils.system.errors import refuse
from utils.system.printable import printable

OURS = sources(*PLACES + ["images/*.py"])
# Modules that make objects, and so run code, of what a file says.
UNPICKLING = (
    "pickle",
    "_pickle",
    "cPickle",
    "cloudpickle",
    "dill",
    "joblib",
    "marshal",
    "shelve",
    "yaml",
    "jsonpickle",
)
EXECUTING = ("eval", "exec", "compile", "__import__", "execfile", "input")
SHELLS = ("system", "popen", "getoutput", "getstatusoutput", "create_subprocess_shell", "spawnl", "spawnlp", "spawnvp")
# A graph that was stored may hold any operation; ours is made by model/ alone.
GRAPHS = ("import_meta_graph", "import_graph_def", "load_model", "saved_model", "load_weights")
ESCAPE = "\x1b]0;owned\x07\u202e"


def nodes(source):
    with open(os.path.join(PROJECT, source), encoding="utf-8") as file:
        return list(ast.walk(ast.parse(file.read())))


def name_of(node):
    """The last name of what is called or used: ``load`` of ``np.load``."""
    return getattr(node, "attr", None) or getattr(node, "id", None)


def faults(source):
    """What a source file must not have: a list of texts."""
    found = ["imports " + name for name in imported(source) if name.split(".")[0] in UNPICKLING]
    for node in nodes(source):
        if isinstance(node, (ast.Attribute, ast.Name)) and name_of(node) in SHELLS + GRAPHS:
            found.append("uses " + name_of(node))
        if isinstance(node, ast.Call):
            keywords = {keyword.arg: getattr(keyword.value, "value", None) for keyword in node.keywords}
            if isinstance(node.func, ast.Name) and node.func.id in EXECUTING:
                found.append("calls " + node.func.id)
            if "shell" in keywords:
                found.append("starts a shell")
            ours = isinstance(node.func, ast.Attribute) and name_of(node.func.value) in ("np", "numpy")
            if ours and node.func.attr in ("load", "save", "savez") and keywords.get("allow_pickle") is not False:
                found.append("lets NumPy pickle")
    return found


class TestSources:
    def test_are_all_there(self):
        assert {"main.py", "utils/preprocessing/cache.py", "model/vnet.py", "examples/processes.py"} < set(OURS)

    @pytest.mark.parametrize("source", OURS)
    def test_nothing_is_unpickled_executed_or_handed_to_a_shell(self, source):
        assert faults(source) == []

    @pytest.mark.parametrize(
        "code",
        [
            "import pickle",
            "from yaml import load",
            "eval('1')",
            "exec(text)",
            "os.system(name)",
            "tf.saved_model.load(d)",
        ]
        + ["np.load(path)", "np.load(path, allow_pickle=True)", "np.save(path, x)", "subprocess.run(c, shell=True)"]
        + ["saver = tf.train.import_meta_graph(path)", "subprocess.getoutput(text)"],
    )
    def test_what_is_looked_for_is_found(self, tmp_path, code):
        (tmp_path / "bad.py").write_text(code + "\n")
        assert len(faults(str(tmp_path / "bad.py"))) == 1


class Touch:
    """An object that makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


class TestCache:
    SETTINGS = {"input_shape": [5, 7, 4], "fit": "resize", "spacing": None, "resize_interpolator": "linear"}
    SETTINGS.update(intensities=None, classes=2, channels=1)

    def test_a_file_of_pickled_objects_is_made_anew_without_being_read(self, tmp_path):
        (tmp_path / "a.nii").write_bytes(raw_nifti())
        cases = [Case("a", str(tmp_path / "a.nii"), None)]
        path = cache.keep(cases, self.SETTINGS, str(tmp_path / "cache"))[0].image
        kept = np.load(path, allow_pickle=False)
        np.save(path, np.array([Touch(str(tmp_path / "touched"))], object), allow_pickle=True)
        with pytest.raises(ValueError):
            cache.view(path)
        assert cache.keep(cases, self.SETTINGS, str(tmp_path / "cache"))[0].image == path
        np.testing.assert_array_equal(cache.view(path), kept)
        assert not (tmp_path / "touched").exists()

    def test_reading_it_would_have_run_code(self, tmp_path):
        pickle.loads(pickle.dumps(Touch(str(tmp_path / "touched")))).close()
        assert (tmp_path / "touched").exists()


class TestCheckpoints:
    def test_of_a_stored_graph_nothing_is_read(self, model, tmp_path):
        model_dir = str(tmp_path / "model")
        shutil.copytree(model.model_dir, model_dir)
        masks = glob.glob(os.path.join(model_dir, "eval", "*.nii.gz"))
        expected = {path: voxels(path) for path in masks}
        graphs = glob.glob(os.path.join(model_dir, "*.meta"))
        assert len(graphs) > 1 and masks
        for path in graphs:
            with open(path, "wb") as file:
                file.write(b"no graph")
        shutil.rmtree(os.path.join(model_dir, "eval"))
        flags = ("--threads", "1", "--data_dir", model.data_dir, "--model_dir", model_dir)
        succeed("--exec_mode", "evaluate", *flags)
        for path, mask in expected.items():
            np.testing.assert_array_equal(voxels(path), mask)


class TestTerminal:
    def test_errors_show_names_without_their_commands(self, tmp_path, capsys):
        folder = tmp_path / ESCAPE
        folder.mkdir()
        (folder / "dataset.json").write_text("{}")
        arguments = ["--data_dir", str(folder), "--model_dir", str(tmp_path / "model")]
        assert main.main(arguments) == 2
        assert refuse("vnet_train.py", ESCAPE) == 2
        assert download_dataset.main(["--data_dir", str(folder / "dataset.json"), "--dataset", "phantom"]) == 2
        errors = capsys.readouterr().err
        assert errors.count("error: ") == 3 <= errors.count("\\x1b]0;owned\\x07\\u202e")
        assert not set(ESCAPE[0] + ESCAPE[-2:]) & set(errors)

    def test_commands_are_shown_without_them_too(self, capfd):
        assert launching.run(["true", ESCAPE]) == 0
        shown = capfd.readouterr().out
        assert "true" in shown and "\\x1b" in shown and "\x1b" not in shown


class TestReport:
    HOSTILE = ("<img src=x onerror=alert(1)>", "'\"--><svg onload=alert(1)>", "</script><script>alert(1)</script>")

    @pytest.mark.parametrize("hostile", HOSTILE + (ESCAPE, "{0.__class__} $title %s"))
    def test_shows_names_and_is_not_changed_by_them(self, tmp_path, hostile):
        names = [hostile.replace("/", "|"), "plain"]
        model_dir, cases, log = evaluated_model(tmp_path, names=names, structures=(hostile, "Back"))
        settings = {"task": hostile, "labels": ["background", hostile], "modalities": [hostile], hostile: hostile}
        write_json(settings, model_dir, "params.json")
        build.write(model_dir, cases, (hostile, "Back"), logs=[log])
        page, shown = Page(model_dir), printable(hostile)
        assert page.text("h1") == [shown] and sorted(page.text("h3")) == sorted(map(printable, names))
        assert page.shown().count(shown) > 10 and printable(page.source, lines=True) == page.source
        assert len(page.all("script")) == 2 + len(names) and not page.all("img")
        assert not [key for _, attributes in page.elements for key in attributes if key.startswith("on")]
        policy = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
        assert "default-src 'none'" in policy[0]["content"] and "unsafe" not in policy[0]["content"]


class TestArguments:
    def test_reach_main_as_they_were_given(self, tmp_path):
        hostile = "a b;$(touch touched)`touch touched`'\"&|\\"
        flags = ["--data_dir", hostile, "--model_dir", str(tmp_path / hostile)]
        command = launching.example_command("vnet_train.py", "", "train", argv=flags)
        assert command[command.index("--data_dir") + 1] == hostile
        assert command[command.index("--model_dir") + 1] == str(tmp_path / hostile)


class TestPermissions:
    def test_everything_in_a_models_folder_has_those_of_new_files(self, model):
        umask = os.umask(0)
        os.umask(umask)
        found = [path for parent, folders, files in os.walk(model.model_dir) for path in _paths(parent, folders, files)]
        kinds = {os.path.splitext(path)[1] for path in found}
        assert {".json", ".csv", ".npy", ".gz", ".html", ".png", ".index"} <= kinds
        for path in found:
            mode = 0o777 if os.path.isdir(path) else 0o666
            assert stat.S_IMODE(os.stat(path).st_mode) == mode & ~umask, path


def _paths(parent, folders, files):
    return [os.path.join(parent, name) for name in folders + files]
