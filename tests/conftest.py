"""Fixtures of the tests that build graphs: a graph of their own, a tiny network's params, volumes, a log."""

import json
import signal

import numpy as np
import pytest
import shared_files
from command_line import trained_model
from shared_model import copy_of

import dllogger
from utils.config.flags import FLAGS
from utils.imaging.tasks import Case
from utils.preprocessing.cache import Kept
from utils.system import environment


def pytest_addoption(parser):
    text = "run the tests of those files alone that no other run with the same folder has begun: so several share them"
    parser.addoption("--shared_in", metavar="DIR", help=text)


def pytest_collection_modifyitems(config, items):
    if config.getoption("--shared_in"):
        items.sort(key=lambda item: shared_files.place(item.path.name))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    folder = item.config.getoption("--shared_in")
    if folder and not shared_files.taken(folder, item.path.name):
        # As if it had been run: without a report it is not counted. It may have been the last one of its folder.
        item.session._setupstate.teardown_exact(nextitem)
        return True


# In the background of a script, and under nohup, these are ignored, and so they would be by all that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Before any test loads TensorFlow: one thread is quickest for tiny volumes, and repeatable.
environment.configure({"threads": 1, "amp": False, "xla": False, "no_tf32": False, "folds": 0})


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """The `command_line.Model` that all tests share; they leave its folders as they are."""
    return trained_model(tmp_path_factory.mktemp("shared"))


@pytest.fixture
def copied(model, tmp_path):
    """The shared model in a folder that a test may change; without masks, so that those found are new."""
    return copy_of(model, tmp_path)


@pytest.fixture
def graph():
    """A fresh default graph with a seed."""
    from utils.tf_runtime import tf

    with tf.Graph().as_default() as fresh:
        tf.set_random_seed(1)
        yield fresh


@pytest.fixture
def session(graph):
    """A session of the fresh graph that runs on one thread."""
    from utils.tf_runtime import tf

    config = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
    with tf.Session(graph=graph, config=config) as opened:
        yield opened


@pytest.fixture
def params():
    """The params dict of a network for [8, 8, 8] voxels, one channel and two structures."""
    values = {name: flag.default for name, flag in FLAGS.items()}
    values.update(
        labels=["background", "front", "back"],
        modalities=["MRI"],
        input_shape=[8, 8, 8],
        downscale_blocks=[1],
        upscale_blocks=[1],
        threads=1,
        workers=1,
        wrap_optimizer=lambda optimizer: optimizer,
        prediction_batch_size=None,
        intensities=None,
    )
    return values


@pytest.fixture
def kept_volumes(tmp_path):
    """Function (count, shape, channels) -> Volumes of random cases whose files lie in a folder of their own."""
    from utils.data_loader import Volumes

    def make(count, shape=(8, 8, 8), channels=1, classes=3):
        folder = tmp_path / "kept_{}".format(len(list(tmp_path.iterdir())))
        folder.mkdir()
        random = np.random.RandomState(count)
        kept = []
        for index in range(count):
            case = Case("case_{}".format(index), "unused", "unused")
            paths = [str(folder / "{}.{}.npy".format(case.name, part)) for part in ("image", "label")]
            np.save(paths[0], random.randn(*shape + (channels,)).astype(np.float32))
            np.save(paths[1], random.randint(classes, size=shape).astype(np.uint8))
            kept.append(Kept(case, *paths))
        return Volumes(kept)

    return make


@pytest.fixture
def logged(tmp_path):
    """Logs everything to a file during the test; function () -> list of (step, data) logged so far."""
    path = tmp_path / "logged.json"
    backend = dllogger.JSONStreamBackend(dllogger.Verbosity.VERBOSE, str(path))
    dllogger.init([backend])

    def events():
        lines = [json.loads(line[len("DLLL ") :]) for line in path.read_text().splitlines()]
        return [(line["step"], line["data"]) for line in lines if line["type"] == "LOG"]

    yield events
    dllogger.init([])
    backend.close()
