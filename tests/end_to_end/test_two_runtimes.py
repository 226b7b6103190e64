"""What one runtime has trained predicts on the other one, and is trained further there, as the README promises."""

import os

import pytest
from command_line import EPOCHS, PROJECT, STEPS_PER_EPOCH, checkpoint_steps, losses, succeed_in_turn, voxels
from shared_model import copy_of, masks, run

from utils.tf_runtime import RUNTIME

# The other runtime's environment, as the Makefile makes it.
OTHER = os.path.join(PROJECT, {"tf1": ".venv", "tf2": ".venv-tf1"}[RUNTIME])
pytestmark = pytest.mark.skipif(
    # The file that the set-up writes when all is installed.
    not os.path.exists(os.path.join(OTHER, ".complete-tensorflow")),
    reason="the other runtime is not set up here: there is no {}, which `make setup` makes with its Python".format(
        os.path.basename(OTHER)
    ),
)
PARTS = [
    ("predict", ()),
    # One epoch more than the shared model has.
    ("train", ("--train_epochs", str(EPOCHS + 1), "--log_every", "1", "--evaluate_every", "0")),
]


@pytest.fixture(scope="module")
def copies(model, tmp_path_factory):
    """The folders of two copies of the shared model that have predicted and been trained further: here, and there."""
    here, there = (copy_of(model, tmp_path_factory.mktemp(name)) for name in ("here", "there"))
    for mode, flags in PARTS:
        run(mode, here, *flags)
    where = "--data_dir", there.data_dir, "--model_dir", there.model_dir, "--threads", 1
    runs = [("--exec_mode", mode) + flags + where for mode, flags in PARTS]
    succeed_in_turn(*runs, python=os.path.join(OTHER, "bin", "python"))
    return here.model_dir, there.model_dir


class TestCheckpointOfTheOtherRuntime:
    def test_predicts_the_same_masks(self, copies):
        here, there = copies
        names = masks(here).keys()
        assert names and masks(there).keys() == names
        for name in names:
            # All of them on one machine; another's rounding may turn a voxel over.
            assert (voxels(there, "eval", name) == voxels(here, "eval", name)).mean() > 0.999

    def test_training_goes_on_from_it_as_at_home(self, copies):
        here, there = copies
        assert checkpoint_steps(there)[-1] == (EPOCHS + 1) * STEPS_PER_EPOCH
        # What the optimizer knows is read as well: the losses after the first of these steps follow from it.
        assert losses(there) == pytest.approx(losses(here), rel=1e-4)
        assert (EPOCHS + 1,) in losses(there)
