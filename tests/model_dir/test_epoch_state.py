import json
import os

import pytest
from command_line import checkpoint_steps, succeed_here

from utils.model_dir.epoch_state import Unfinished, from_note
from utils.system.errors import UserError


@pytest.mark.parametrize("values", [(1.25, 3, False), (0, 0, True), (0.1, 2.0, True)])
def test_a_note_brings_it_back(values):
    found = from_note(Unfinished(*values).note(), "model.ckpt-4")
    assert (found.loss, found.cases, found.is_due) == values


def test_where_nothing_is_unfinished_there_is_no_note():
    assert Unfinished().note() is None
    found = from_note(None, "model.ckpt-4")
    assert (found.loss, found.cases, found.is_due) == (0, 0, False)


def test_losses_are_taken_once():
    unfinished = Unfinished(2.5, 4)
    assert unfinished.take_losses() == (2.5, 4) and unfinished.take_losses() == (0, 0)


@pytest.mark.parametrize("note", [{"steps": 1}, {"loss": "much"}, {"loss": None}, [1], "text"])
def test_a_damaged_note_is_named(note):
    with pytest.raises(UserError, match=r"model\.ckpt-4\.json: is damaged: delete it"):
        from_note(note, "model.ckpt-4")


@pytest.mark.parametrize("every, evaluated", [("1", True), ("0", False)])
def test_an_evaluation_that_is_due_is_made_up_for_once_or_left_out(copied, every, evaluated):
    note = os.path.join(copied.model_dir, "model.ckpt-{}.json".format(checkpoint_steps(copied.model_dir)[-1]))
    with open(note, "w") as file:
        json.dump(Unfinished(is_due=True).note(), file)
    command = ("--exec_mode", "train", "--data_dir", copied.data_dir, "--model_dir", copied.model_dir)
    command += ("--evaluate_every", every, "--threads", "1")
    first, second = (succeed_here(*command).output for _ in range(2))
    assert ("soft_dice" in first, "trained for" in first) == (evaluated, not evaluated)
    assert "soft_dice" not in second and "has been trained for" in second
    assert os.path.exists(note) != evaluated
