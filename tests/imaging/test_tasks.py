import json
import os

import pytest

from utils.imaging.tasks import Case, case_name, cases_of_images, read_task
from utils.system.errors import UserError

LABELS = {"0": "background", "1": "Anterior", "2": "Posterior"}


def entry(name):
    return {"image": "./imagesTr/{}.nii.gz".format(name), "label": "./labelsTr/{}.nii.gz".format(name)}


def description(**changes):
    content = {
        "name": "Hippocampus",
        "modality": {"0": "MRI"},
        "labels": LABELS,
        "training": [entry("b"), entry("a")],
        "test": ["./imagesTs/d.nii.gz", "./imagesTs/c.nii.gz"],
    }
    content.update(changes)
    return {key: value for key, value in content.items() if value is not KeyError}


@pytest.fixture
def folder(tmp_path):
    """A task's folder with files for the cases a, b (training) and c, d (test), without dataset.json."""
    for name in ("imagesTr/a", "imagesTr/b", "labelsTr/a", "labelsTr/b", "imagesTs/c", "imagesTs/d"):
        path = tmp_path / (name + ".nii.gz")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"voxels")
    return tmp_path


def read(folder, content):
    (folder / "dataset.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return read_task(str(folder))


def refusal(folder, content):
    """Return the message of the refusal, which must be one line that names dataset.json."""
    with pytest.raises(UserError) as caught:
        read(folder, content)
    message = str(caught.value)
    assert "dataset.json" in message and "\n" not in message
    return message


class TestReadTask:
    def test_everything_in_the_description(self, folder):
        task = read(folder, description())
        assert task.name == "Hippocampus"
        assert task.directory == str(folder)
        assert task.labels == ("background", "Anterior", "Posterior")
        assert task.modalities == ("MRI",)
        assert task.training == tuple(
            Case(name, *[str(folder / kind / (name + ".nii.gz")) for kind in ("imagesTr", "labelsTr")])
            for name in ("a", "b")
        )
        assert task.test == tuple(
            Case(name, str(folder / "imagesTs" / (name + ".nii.gz")), None) for name in ("c", "d")
        )

    def test_names_follow_their_numbers(self, folder):
        labels = {str(value): "structure {}".format(value) for value in reversed(range(12))}
        task = read(folder, description(labels=labels, modality={"1": "T2", "0": "FLAIR"}))
        assert task.labels == tuple("structure {}".format(value) for value in range(12))
        assert task.modalities == ("FLAIR", "T2")

    @pytest.mark.parametrize("test", [KeyError, [], None])
    def test_test_images_are_not_needed(self, folder, test):
        assert read(folder, description(test=test)).test == ()

    def test_training_images_are_not_needed_beside_test_images(self, folder):
        assert read(folder, description(training=[])).training == ()

    def test_a_task_without_name_is_called_like_its_folder(self, folder):
        assert read(folder, description(name=KeyError)).name == folder.name

    def test_leftovers_of_macos_archives_are_ignored(self, folder):
        content = description()
        content["training"].append(entry("._a"))
        content["test"].append("./imagesTs/._c.nii.gz")
        assert read(folder, content) == read(folder, description())

    def test_a_relative_folder(self, folder, monkeypatch):
        read(folder, description())
        monkeypatch.chdir(folder.parent)
        task = read_task(folder.name)
        assert task.training[0].image == os.path.join(folder.name, "imagesTr", "a.nii.gz")

    def test_a_folder_reached_by_a_link(self, folder, tmp_path):
        read(folder, description())
        link = tmp_path / "link"
        link.symlink_to(folder, target_is_directory=True)
        assert [case.name for case in read_task(str(link)).training] == ["a", "b"]

    def test_a_path_that_leaves_and_comes_back(self, folder):
        training = [{"image": "imagesTr/../imagesTr/a.nii.gz", "label": "labelsTr/a.nii.gz"}]
        assert read(folder, description(training=training)).training[0].image == str(folder / "imagesTr" / "a.nii.gz")

    def test_uncompressed_files(self, folder):
        (folder / "imagesTs" / "e.nii").write_bytes(b"voxels")
        assert read(folder, description(test=["imagesTs/e.nii"])).test[0].name == "e"


class TestFolder:
    def test_missing(self, tmp_path):
        with pytest.raises(UserError, match=r"--data_dir .*nowhere: no such folder: download_dataset\.py"):
            read_task(str(tmp_path / "nowhere"))

    def test_without_description(self, tmp_path):
        with pytest.raises(UserError, match=r"--data_dir .*: has no dataset\.json: .*download_dataset\.py"):
            read_task(str(tmp_path))


class TestBadDescription:
    @pytest.mark.parametrize("content", ["", "{", "no JSON", '{"name": }', "[" * 100000])
    def test_not_json(self, folder, content):
        assert "JSON" in refusal(folder, content)

    @pytest.mark.parametrize("content", [[], "text", 3, None])
    def test_no_object(self, folder, content):
        assert "must hold a JSON object" in refusal(folder, json.dumps(content))

    @pytest.mark.parametrize("name", [3, "", None, ["Hippocampus"]])
    def test_name(self, folder, name):
        assert '"name" must be a text' in refusal(folder, description(name=name))

    @pytest.mark.parametrize("key", ["labels", "modality"])
    def test_names_missing(self, folder, key):
        assert 'has no "{}"'.format(key) in refusal(folder, description(**{key: KeyError}))

    @pytest.mark.parametrize("key", ["labels", "modality"])
    @pytest.mark.parametrize("names", [[], ["MRI"], "MRI", None, {"0": 1}, {"0": ""}, {"0": None}])
    def test_names_of_the_wrong_type(self, folder, key, names):
        assert '"{}" must be an object of numbers and names'.format(key) in refusal(folder, description(**{key: names}))

    @pytest.mark.parametrize("number", ["one", "", "1.0", "1\n2"])
    def test_keys_that_are_no_numbers(self, folder, number):
        message = refusal(folder, description(labels={"0": "background", number: "Anterior"}))
        assert '"labels" must have whole numbers as keys' in message

    @pytest.mark.parametrize(
        "labels",
        [
            {},
            {"0": "background"},
            {"0": "background", "2": "Posterior"},
            {"1": "Anterior", "2": "Posterior"},
            {"-1": "nothing", "0": "background"},
            {"0": "background", "1": "Anterior", "01": "Posterior"},
        ],
    )
    def test_numbers_with_gaps(self, folder, labels):
        assert '"labels" must number at least 2 names 0, 1, 2, ...' in refusal(folder, description(labels=labels))

    def test_no_modality(self, folder):
        assert '"modality" must number at least 1 name 0' in refusal(folder, description(modality={}))

    def test_two_structures_of_one_name(self, folder):
        message = refusal(folder, description(labels={"0": "background", "1": "Lobe", "2": "Lobe"}))
        assert '"labels" gives two numbers the same name' in message

    @pytest.mark.parametrize("training", [KeyError, None, {}, "imagesTr", 3])
    def test_training_is_no_list(self, folder, training):
        assert '"training" must be a list' in refusal(folder, description(training=training))

    @pytest.mark.parametrize("test", [{}, "imagesTs", 3, False])
    def test_test_is_no_list(self, folder, test):
        assert '"test" must be a list' in refusal(folder, description(test=test))

    @pytest.mark.parametrize(
        "one, told",
        [
            ("imagesTr/a.nii.gz", 'must list objects {"image": file, "label": file}, not \'imagesTr/a.nii.gz\''),
            (3, "must list objects"),
            (None, "must list objects"),
            ([], "must list objects"),
            ({}, "must list objects"),
            ("x" * 200, "not '{}...".format("x" * 79)),
            ({"image": "a.nii"}, '(\'a.nii\'): has no "label": add it, or list the image in "test"'),
            ({"label": "a.nii"}, "('a.nii'): has no \"image\": add it"),
            ({"image": 3, "label": "a.nii"}, 'its "image" must be a file name, not 3'),
            ({"image": "a.nii", "label": None}, 'its "label" must be a file name, not None'),
            ({"image": ["a_0000.nii", "a_0001.nii"], "label": "a.nii"}, 'its "image" are several files: name one, all'),
            ({"image": "imagesTr/a.nii.gz", "label": "./imagesTr//a.nii.gz"}, "is both image and label: correct one"),
        ],
    )
    def test_training_entries(self, folder, one, told):
        message = refusal(folder, description(training=[entry("a"), entry("._a"), one]))
        # Counted as they stand in the file.
        assert 'dataset.json: entry 3 of "training"' in message and told in message

    @pytest.mark.parametrize("one", [3, None, [], {"image": "imagesTs/c.nii.gz"}])
    def test_test_entries(self, folder, one):
        message = refusal(folder, description(test=["imagesTs/d.nii.gz", one]))
        assert 'dataset.json: entry 2 of "test": "test" must list file names, not ' in message

    def test_the_form_of_nnunet_is_named(self, folder):
        content = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "a": 1}, "file_ending": ".nii.gz"}
        for numbers in ({"numTraining": 2}, {"numTraining": 2, "training": 2}):
            message = refusal(folder, dict(content, **numbers))
            assert "has the form of nnU-Net, which lists no cases: write one as in" in message

    def test_names_and_numbers_the_wrong_way_round(self, folder):
        message = refusal(folder, description(labels={"background": 0, "a": 1}))
        assert 'such as {"0": "..."}, not of names and numbers: turn them round' in message

    def test_every_refusal_of_names_says_what_to_do(self, folder):
        for labels, told in (
            ({"1": "a", "2": "b"}, "not 1, 2: number all values up to the largest, the background 0"),
            ({"0": "a", "1": "a"}, "the same name: rename one"),
            ({str(number): str(number) for number in range(257)}, "256 are possible: leave some out"),
            ({"0": "a", "1": "b\nc"}, "cannot be shown: write another"),
        ):
            assert told in refusal(folder, description(labels=labels))
        assert 'such as "modality": {"0": "MRI"}' in refusal(folder, description(modality=KeyError))
        assert ': write "training": [{"image": file, "label": file}, ...]' in refusal(folder, description(training=3))

    def test_nothing_listed(self, folder):
        assert "lists neither training nor test" in refusal(folder, description(training=[], test=[]))


class TestPaths:
    @pytest.mark.parametrize("kind", ["image", "label", "test"])
    @pytest.mark.parametrize("name", ["../outside.nii.gz", "imagesTr/../../outside.nii.gz", "{parent}/outside.nii.gz"])
    def test_out_of_the_folder(self, folder, kind, name):
        (folder / "task").mkdir()
        (folder / "outside.nii.gz").write_bytes(b"voxels")
        name = name.format(parent=folder)
        content = description(training=[], test=[name])
        if kind != "test":
            content = description(training=[dict(entry("a"), **{kind: name})], test=[])
        assert "leads out of the task's folder" in refusal(folder / "task", content)

    def test_an_absolute_path_into_the_folder(self, folder):
        path = str(folder / "imagesTs" / "c.nii.gz")
        assert read(folder, description(test=[path])).test == (Case("c", path, None),)

    def test_an_absolute_path_into_a_folder_that_a_link_leads_to(self, folder):
        task, link = folder / "imagesTs", folder / "link"
        link.symlink_to(task, target_is_directory=True)
        for used, named in ((link, task), (task, link)):
            path = str(named / "c.nii.gz")
            assert read(used, description(training=[], test=[path])).test == (Case("c", path, None),)

    @pytest.mark.parametrize("by", ["relative", "absolute"])
    def test_of_a_link_out_of_the_folder_it_says_where_it_leads(self, folder, by):
        task = folder / "task"
        task.mkdir()
        (task / "linked").symlink_to(folder / "imagesTs")
        name = "linked/c.nii.gz" if by == "relative" else str(task / "linked" / "c.nii.gz")
        told = "{} leads out of the task's folder: {} is a symbolic link to {}: put what it leads to in its place"
        message = refusal(task, description(training=[], test=[name]))
        assert told.format(name, task / "linked", (folder / "imagesTs").resolve()) in message

    def test_back_slashes_are_told_once(self, folder):
        training = [{key: path.replace("/", "\\") for key, path in entry(name).items()} for name in "ab"]
        message = refusal(folder, description(training=training))
        assert message.count("back-slashes, as on Windows: write / instead, in all paths") == 1
        assert "No such file" not in message and "missing" not in message
        with pytest.raises(UserError, match='entry 1 of "training": .*back-slashes'):
            read_task(str(folder), refuse_cases=False)

    def test_a_back_slash_in_the_name_of_a_file(self, folder):
        (folder / "imagesTs" / "a\\b.nii").write_bytes(b"voxels")
        assert read(folder, description(test=["imagesTs/a\\b.nii"])).test[0].name == "a\\b"

    @pytest.mark.parametrize("name", ["imagesTs/c.nii.gz ", " imagesTs/c.nii.gz"])
    def test_a_space_that_nobody_sees(self, folder, name):
        told = "{!r}: begins or ends with a space: take that away".format(name)
        assert told in refusal(folder, description(test=[name]))

    @pytest.mark.parametrize("name", ["~/c.nii.gz", "$HOME/c.nii.gz", "https://host/c.nii.gz", "file:///c.nii.gz"])
    def test_what_a_shell_or_a_browser_would_take(self, folder, name):
        told = "{!r}: is taken as it stands: name the file by its path from the task's folder".format(name)
        assert told in refusal(folder, description(test=[name]))

    @pytest.mark.parametrize("name, there", [("C.nii.gz", "c.nii.gz"), ("c.nii", "c.nii.gz")])
    def test_a_missing_file_with_a_likely_neighbour(self, folder, name, there):
        assert "{} (there is {}): put".format(name, there) in refusal(folder, description(test=["imagesTs/" + name]))

    @pytest.mark.parametrize("link", ["linked", "linked.nii.gz"])
    def test_a_link_out_of_the_folder(self, folder, link):
        task = folder / "task"
        task.mkdir()
        target = folder / "imagesTs"
        (task / link).symlink_to(target if link == "linked" else target / "c.nii.gz")
        name = "linked/c.nii.gz" if link == "linked" else link
        assert "leads out of the task's folder" in refusal(task, description(training=[], test=[name]))

    def test_a_link_out_of_the_folder_behind_one_that_stays(self, folder):
        # To the system "inner/../c.nii.gz" is deep/c.nii.gz; without "inner/.." it is the link.
        task = folder / "task"
        (task / "deep" / "est").mkdir(parents=True)
        (task / "deep" / "c.nii.gz").touch()
        (task / "inner").symlink_to(task / "deep" / "est")
        (task / "c.nii.gz").symlink_to(folder / "imagesTs" / "c.nii.gz")
        content = description(training=[], test=["inner/../c.nii.gz"])
        assert "leads out of the task's folder" in refusal(task, content)

    def test_a_folder_beside_with_a_longer_name(self, folder):
        (folder / "task").mkdir()
        (folder / "task2").mkdir()
        (folder / "task2" / "c.nii.gz").write_bytes(b"voxels")
        message = refusal(folder / "task", description(training=[], test=["../task2/c.nii.gz"]))
        assert "leads out of the task's folder" in message

    @pytest.mark.parametrize("name", ["", "imagesTs/c\0.nii.gz", "a\nb.nii.gz", "\ud800.nii.gz", "\u2028.nii.gz"])
    def test_no_file_name(self, folder, name):
        assert "is not a file name" in refusal(folder, description(test=[name]))

    def test_missing_files_are_counted_and_the_first_named(self, folder):
        content = description(training=[entry("a"), entry("x"), entry("y")], test=["imagesTs/z.nii.gz"])
        message = refusal(folder, content)
        assert ": 5 of 7 files missing: " in message
        assert message.count(".nii.gz") == 3 and message.endswith(", ...: put them there, or correct what names them")

    def test_one_missing_label(self, folder):
        os.remove(str(folder / "labelsTr" / "b.nii.gz"))
        message = refusal(folder, description())
        assert ": 1 of 6 files missing: {}: put them".format(folder / "labelsTr" / "b.nii.gz") in message

    @pytest.mark.parametrize(
        "training, test",
        [
            ([entry("a"), entry("a")], []),
            ([entry("a")], ["imagesTr/a.nii.gz"]),
            ([], ["imagesTs/c.nii.gz", "imagesTr/../imagesTs/c.nii.gz"]),
        ],
    )
    def test_a_file_that_is_named_twice(self, folder, training, test):
        message = refusal(folder, description(training=training, test=test))
        assert message.endswith(".nii.gz is named twice: delete the repeated entry") and "rename" not in message

    def test_two_cases_of_one_name(self, folder):
        files = [str(folder / "imagesTs" / name) for name in ("c.nii.gz", "c.nii")]
        message = refusal(folder, description(training=[], test=["imagesTs/c.nii.gz", "imagesTs/c.nii"]))
        assert message.endswith("two images with the same name: {} and {}: rename one".format(*files))
        several = description(training=[], test=["c.nii", "c.nii", "c.nii.gz"])
        assert refusal(folder, several).endswith("(1 more like this)")


class TestCaseName:
    @pytest.mark.parametrize(
        "path, name",
        [
            ("a.nii", "a"),
            ("a.nii.gz", "a"),
            ("/some.nii/folder/scan.2.nii.gz", "scan.2"),
            ("scan.nii.nii.gz", "scan.nii"),
            ("H\u00e4lfte \u4e00.nii", "H\u00e4lfte \u4e00"),
        ],
    )
    def test_name(self, path, name):
        assert case_name(path) == name

    @pytest.mark.parametrize(
        "path", ["a.mha", "a.gz", "a", "", ".nii", "x/.nii.gz", "a.nii.gz/", "a.NII", "a.nii.gz.part"]
    )
    def test_other_extensions(self, path):
        with pytest.raises(UserError, match="not a NIfTI file name: it must end with .nii or .nii.gz"):
            case_name(path)


class TestCasesOfImages:
    def test_in_the_order_given(self, folder):
        paths = [str(folder / "imagesTs" / "d.nii.gz"), str(folder / "imagesTr" / "a.nii.gz")]
        assert cases_of_images(paths) == (Case("d", paths[0], None), Case("a", paths[1], None))

    def test_none(self):
        with pytest.raises(UserError, match="--images: no file given"):
            cases_of_images([])

    def test_missing(self, folder):
        with pytest.raises(UserError, match=r"--images: 1 of 2 files missing: .*e\.nii: put them there"):
            cases_of_images([str(folder / "imagesTs" / "d.nii.gz"), str(folder / "e.nii")])

    def test_a_folder(self, folder):
        (folder / "folder.nii").mkdir()
        with pytest.raises(UserError, match="--images: 1 of 1 files missing"):
            cases_of_images([str(folder / "folder.nii")])

    def test_two_of_one_name(self, folder):
        (folder / "a.nii").write_bytes(b"voxels")
        with pytest.raises(
            UserError, match="--images: two images with the same name: .*a.nii and .*a.nii.gz: rename one"
        ):
            cases_of_images([str(folder / "a.nii"), str(folder / "imagesTr" / "a.nii.gz")])

    def test_one_that_is_given_twice(self, folder):
        (folder / "a.nii").write_bytes(b"voxels")
        with pytest.raises(UserError, match="--images: .*a.nii is named twice: delete the repeated"):
            cases_of_images([str(folder / "a.nii"), str(folder / "imagesTr" / ".." / "a.nii")])

    def test_another_kind_of_file(self):
        with pytest.raises(UserError, match=r"scan\.dcm: not a NIfTI file name"):
            cases_of_images(["scan.dcm"])

    @pytest.mark.parametrize("name", ["a\nb.nii", "a\udcff.nii"])
    def test_a_name_that_cannot_be_shown(self, name):
        with pytest.raises(UserError, match=r"^--images: 'a\\.*nii': has characters that cannot be shown"):
            cases_of_images([name])
