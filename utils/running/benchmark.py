"""What a benchmark feeds the network with, and the file it leaves: figures, settings, hardware and runtime.

Dimensions: N cases in a batch; X, Y, Z voxels along the image's axes; C input channels.
"""

import platform
import sys

from utils.data_loader import Volumes
from utils.hooks.profiling_hook import PERCENTILES
from utils.model_dir.settings import MODEL_SETTINGS, RUN_SETTINGS
from utils.system import hardware
from utils.system.environment import threads
from utils.tf_runtime import tf, version

# Beside those of the network, the settings that a speed depends on.
SPEED_SETTINGS = (
    ("batch_size", "amp", "xla", "synthetic", "warmup_steps", "benchmark_steps", "augment", "crop_shape", "loss")
    + ("deep_supervision", "dropout", "empty_slices", "optimizer", "weight_decay", "weight_averaging")
    + ("test_time_flips",)
    + tuple(name for name in RUN_SETTINGS if name.startswith("augment_"))
)
PREFETCHED_BATCHES = 2


def rounded_up(cases, images):
    """How many cases make whole steps of so many images: at least ``cases``, so that an epoch has no smaller batch."""
    return -(-cases // images) * images


def cycled(volumes, count):
    """``count`` cases: those of ``volumes``, over and over."""
    return Volumes([volumes.kept[index % len(volumes)] for index in range(count)])


def synthetic_dataset(params, steps, labelled):
    """A ``tf.data`` pipeline that hands out one batch of noise ``steps`` times: the cost of an input is left out.

    Gives {"image": float32 [N, X, Y, Z, C]}; with ``labelled``, training batches of weight 1 with uint8 labels
    [N, X, Y, Z].
    """
    shape = labelled and params["crop_shape"] or params["input_shape"]
    grid = [params["batch_size"]] + list(shape)

    def batch(_):
        images = tf.random.normal(grid + [len(params["modalities"])], seed=params["seed"])
        if not labelled:
            return {"image": images}
        labels = tf.random.uniform(grid, maxval=len(params["labels"]), dtype=tf.int32, seed=params["seed"])
        features = {"image": images, "weight": tf.constant(1.0)}
        if params["loss"] == "weighted_ce":
            features["voxel_weights"] = tf.ones(grid)
        return features, tf.cast(labels, tf.uint8)

    return tf.data.Dataset.range(1).map(batch).cache().repeat(steps).prefetch(PREFETCHED_BATCHES)


def result(params, mode, figures):
    """What is known of a finished benchmark, as a JSON value.

    Args:
        params: the validated params dict.
        mode: "train" or "predict".
        figures: those of the ``utils.hooks.profiling_hook.ProfilingHook``.
    """
    latency = {"mean": figures["latency_mean"]}
    latency.update(("p{}".format(part), figures["latency_{}".format(part)]) for part in PERCENTILES)
    settings = {name: params[name] for name in SPEED_SETTINGS + MODEL_SETTINGS}
    settings.update(workers=figures["workers"], threads=threads(params), task=params["task"])
    return {
        "mode": mode,
        "images_per_second": figures["images_per_second"],
        "latency_ms": latency,
        "settings": settings,
        "hardware": hardware.describe(),
        "runtime": _runtime(),
    }


def _runtime():
    versions = {"tensorflow": version(), "python": platform.python_version(), "system": platform.platform()}
    # Loaded where there are several workers.
    if "horovod" in sys.modules:
        versions["horovod"] = sys.modules["horovod"].__version__
    return versions
