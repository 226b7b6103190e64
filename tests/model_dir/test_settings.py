import json
import os

import pytest

from utils.model_dir import settings as model_settings
from utils.model_dir.settings import LEARNED_SETTINGS, MODEL_SETTINGS, RUN_SETTINGS, TASK_SETTINGS
from utils.params import from_command_line
from utils.system.errors import UserError

TASK = {
    "task": "Hippocampus",
    "labels": ["background", "Anterior"],
    "modalities": ["MRI"],
    "image_kind": "stacks",
    "workers": 1,
}


@pytest.fixture
def model_dir(tmp_path):
    return str(tmp_path / "model")


@pytest.fixture
def stored(model_dir):
    """What training leaves in model_dir, as a dict."""
    flags = ["--exec_mode", "train", "--data_dir", "task", "--momentum", "0.5", "--model_dir", model_dir]
    model_settings.save(model_settings.settings_of(dict(from_command_line(flags), **TASK)), model_dir)
    return model_settings.load(model_dir)


class TestFile:
    def test_round_trip(self, stored, tmp_path):
        assert stored["labels"] == ["background", "Anterior"]
        assert (stored["task"], stored["modalities"], stored["momentum"]) == ("Hippocampus", ["MRI"], 0.5)
        model_settings.save(stored, str(tmp_path / "other"))
        assert model_settings.load(str(tmp_path / "other")) == stored

    def test_holds_no_flag_that_is_free(self, stored):
        assert set(stored) == set(MODEL_SETTINGS + RUN_SETTINGS + TASK_SETTINGS + LEARNED_SETTINGS) | {"workers"}

    @pytest.mark.parametrize("sampling, overlap", [("resize", {}), ("patch", {"patch_overlap": 0.5})])
    def test_those_of_the_masks_are_told_beside_them(self, sampling, overlap):
        flags = "--data_dir task --model_dir none --largest_component --sampling".split() + [sampling]
        expected = dict(test_time_flips=False, largest_component=True, **overlap)
        assert set(model_settings.MASK_SETTINGS) <= set(model_settings.FREE_SETTINGS)
        assert model_settings.mask_settings(from_command_line(flags)) == expected

    def test_none_is_stored(self, tmp_path):
        assert model_settings.load(str(tmp_path)) is None

    @pytest.mark.parametrize(
        "name, value, told",
        [
            ("input_shape", [32, 32], "takes 3 values, not 2"),
            ("base_lr", "fast", "'fast' is not a number above 0"),
            ("base_lr", float("nan"), "nan is not a number above 0"),
            ("augment", 1, "1 is not on or off"),
            ("labels", [], r"\[\] is not a list of names"),
            ("labels", ["background", "Head", "Head"], "two structures have one name"),
            ("modalities", "MRI", "'MRI' is not a list of names"),
            ("task", None, "None is not a name"),
            ("image_kind", "volumes", "'volumes' is none of scans, stacks"),
            ("intensities", [[0, 1, 2]], "{0!r} are no intensities of CT".format([[0, 1, 2]]).replace("[", r"\[")),
            ("intensities", [[0, 1, 2, -1.0]], "{0!r} are no".format([[0, 1, 2, -1.0]]).replace("[", r"\[")),
            ("intensities", "CT", "'CT' are no intensities of CT"),
            ("axes", [], r"\[\] are no axes of scans"),
            ("axes", ["LPX"], r"\['LPX'\] are no axes of scans"),
            ("axes", "LPS", "'LPS' are no axes of scans"),
            ("workers", "two", "'two' is not a whole number from 1"),
            ("workers", True, "True is not a whole number from 1"),
        ],
    )
    def test_a_damaged_value_is_named(self, stored, model_dir, name, value, told):
        with open(os.path.join(model_dir, "params.json"), "w") as file:
            json.dump(dict(stored, **{name: value}), file)
        flags = ["--exec_mode", "predict", "--images", "scan.nii", "--model_dir", model_dir]
        with pytest.raises(
            UserError, match='params.json: is damaged, "{}": {}.*: put back a whole copy'.format(name, told)
        ):
            from_command_line(flags)

    @pytest.mark.parametrize("name", ["input_shape", "split_seed", "labels"])
    def test_a_missing_value_is_named(self, stored, model_dir, name):
        del stored[name]
        model_settings.save(stored, model_dir)
        with pytest.raises(
            UserError, match='params.json: is damaged, it lacks "{}": put back a whole copy'.format(name)
        ):
            model_settings.load(model_dir)

    def test_what_a_later_version_may_have_added_is_refused(self, stored, model_dir):
        model_settings.save(dict(stored, dilation=2, attention=True), model_dir)
        with pytest.raises(
            UserError, match=r"params.json: holds settings that this version does not know \('attention', 'dilation'\)"
        ):
            model_settings.load(model_dir)

    @pytest.mark.parametrize(
        "normalization, modality, intensities, fine",
        [
            ("ct", "CT", [[-50.0, 150.0, 60.0, 30.0]], True),
            ("auto", "CT", [[-50.0, 150.0, 60.0, 30.0]], True),
            ("auto", "MRI", None, True),
            ("ct", "CT", None, False),
            ("auto", "CT", None, False),
            ("ct", "CT", [[-50.0, 150.0, 60.0, 30.0]] * 2, False),
            ("zscore", "CT", [[-50.0, 150.0, 60.0, 30.0]], False),
            ("ct", "CT", [None], False),
        ],
    )
    def test_intensities_belong_to_the_normalisation(
        self, stored, model_dir, normalization, modality, intensities, fine
    ):
        changed = dict(stored, data_normalization=normalization, modalities=[modality], intensities=intensities)
        model_settings.save(changed, model_dir)
        if fine:
            assert model_settings.load(model_dir) == changed
            return
        with pytest.raises(UserError, match='is damaged, "intensities" are not those of its modalities: put back'):
            model_settings.load(model_dir)

    def test_the_folds_of_a_model_have_intensities_of_their_own(self, stored, model_dir):
        changed = dict(stored, data_normalization="ct", folds=3)
        model_settings.save(changed, model_dir)
        assert model_settings.load(model_dir) == changed

    def test_a_model_of_an_earlier_release_was_trained_on_scans(self, stored, model_dir):
        assert stored.pop("image_kind") == "stacks"
        model_settings.save(stored, model_dir)
        assert model_settings.load(model_dir)["image_kind"] == "scans"

    def test_a_model_of_an_earlier_release_has_none(self, stored, model_dir):
        for name in LEARNED_SETTINGS:
            del stored[name]
        model_settings.save(stored, model_dir)
        assert [model_settings.load(model_dir)[name] for name in LEARNED_SETTINGS] == [None] * len(LEARNED_SETTINGS)

    @pytest.mark.parametrize("content", ["", "{", "[]", "null"])
    def test_a_damaged_file_is_named(self, tmp_path, content):
        (tmp_path / "params.json").write_text(content)
        with pytest.raises(UserError, match="params.json: is damaged"):
            model_settings.load(str(tmp_path))

    def test_a_pipe_in_its_place_is_refused_rather_than_waited_for(self, tmp_path):
        os.mkfifo(str(tmp_path / "params.json"))
        with pytest.raises(UserError, match="params.json: cannot be read: is no file"):
            model_settings.load(str(tmp_path))


class TestRuns:
    def test_they_are_kept_in_order_beside_the_settings(self, stored, model_dir):
        records = [{"started": "first", "data": {}}, {"started": "second"}, {"started": "third"}]
        for record in records:
            model_settings.record_run(record, model_dir)
        assert model_settings.runs(model_dir) == records
        assert model_settings.load(model_dir) == stored

    def test_a_run_may_add_to_its_own(self, stored, model_dir):
        for record in {"started": "first"}, {"started": "second"}, {"started": "second", "data": {"training": 1}}:
            model_settings.record_run(record, model_dir)
        assert model_settings.runs(model_dir) == [
            {"started": "first"},
            {"started": "second", "data": {"training": 1}},
        ]

    def test_new_settings_leave_them(self, stored, model_dir):
        model_settings.record_run({"started": "first"}, model_dir)
        model_settings.save(dict(stored, seed=7), model_dir)
        assert model_settings.runs(model_dir) == [{"started": "first"}]
        assert model_settings.load(model_dir)["seed"] == 7

    def test_of_those_that_trained_nothing_the_last_are_kept(self, stored, model_dir, monkeypatch):
        monkeypatch.setattr(model_settings, "OTHER_RUNS_KEPT", 2)
        for number in range(6):
            data = {"training": {}} if number in (1, 2) else {"predicted": {}}
            model_settings.record_run({"started": number, "data": data}, model_dir)
        assert [record["started"] for record in model_settings.runs(model_dir)] == [1, 2, 4, 5]

    def test_there_are_none(self, tmp_path, model_dir, stored):
        assert model_settings.runs(str(tmp_path)) == model_settings.runs(model_dir) == []

    @pytest.mark.parametrize("damaged", [{"started": "first"}, ["first"], [{"data": None}], None])
    def test_damaged_ones_are_named(self, stored, model_dir, damaged):
        model_settings.save(dict(stored, runs=damaged), model_dir)
        with pytest.raises(UserError, match='params.json: is damaged, "runs" is not a list of records'):
            model_settings.runs(model_dir)
        assert model_settings.load(model_dir) == stored
