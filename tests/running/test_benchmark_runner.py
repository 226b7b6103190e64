import collections
import os

import numpy as np
import pytest
from command_line import TINY, checkpoint_steps, logged
from shared_model import content, run

from model.model_fn import probabilities_of
from utils.running.benchmark_runner import fresh_checkpoint
from utils.tf_runtime import RUNTIME, tf
from utils.var_storage import frozen_weights_scope


class TestRun:
    @pytest.mark.parametrize("mode", ["train", "predict"])
    def test_it_measures_and_leaves_no_model(self, model, tmp_path, mode, capsys):
        mine = model._replace(model_dir=str(tmp_path / "mine"))
        flags = "--benchmark", "--warmup_steps", "2", "--benchmark_steps", "7"
        run(mode, mine, *TINY + flags)
        assert not {"checkpoint", "params.json", "split.json", "eval", "best"} & set(os.listdir(mine.model_dir))
        assert checkpoint_steps(mine.model_dir) == []
        figures = dict(logged(mine.model_dir, 0))[()]
        assert (figures["mode"], figures["steps"], figures["batch_size"]) == (mode, 7, 2)
        assert figures["images_per_second"] > 0
        assert 0 < figures["latency_90"] <= figures["latency_95"] <= figures["latency_99"]
        assert "images_per_second" in capsys.readouterr().out

    def test_it_leaves_a_model_alone(self, copied):
        before = content(copied.model_dir, "checkpoint"), checkpoint_steps(copied.model_dir)
        # Settings that contradict the model's are no matter: they are measured.
        flags = "--benchmark", "--warmup_steps", "0", "--benchmark_steps", "2", "--base_lr", "0.5"
        run("train", copied, *TINY + flags)
        assert (content(copied.model_dir, "checkpoint"), checkpoint_steps(copied.model_dir)) == before


class TestFreshCheckpoint:
    """What is measured is what a trained network runs: TensorFlow leaves a bias of zeros out."""

    @pytest.fixture
    def operations(self, params, tmp_path):
        """How many operations of each type a step of prediction runs, and how many of each were asked for."""
        params = dict(params, input_shape=[16, 16, 16], modalities=["a"], labels=["0", "1", "2"])
        scope = frozen_weights_scope(fresh_checkpoint(params, str(tmp_path)))
        with tf.Graph().as_default() as graph, tf.Session() as session:
            images = tf.placeholder(tf.float32, [None, 16, 16, 16, 1])
            probabilities = probabilities_of(images, params, scope)
            asked = collections.Counter(operation.type for operation in graph.get_operations())
            found = tf.RunMetadata()
            options = tf.RunOptions(output_partition_graphs=True)
            session.run(probabilities, {images: np.zeros([2, 16, 16, 16, 1])}, options, found)
        nodes = [node for part in found.partition_graphs for node in part.node]
        return collections.Counter(node.op for node in nodes), asked

    def test_every_bias_is_added(self, operations):
        found, asked = operations
        added = sum(count for kind, count in found.items() if "BiasAdd" in kind or "FusedConv3D" in kind)
        assert added == asked["Conv3D"] + asked["Conv3DBackpropInputV2"] == asked["BiasAdd"]

    @pytest.mark.skipif(RUNTIME == "tf1", reason="TensorFlow 1.15 fuses no 3-D convolutions")
    def test_every_convolution_is_fused(self, operations):
        found, asked = operations
        assert sum(count for kind, count in found.items() if "FusedConv3D" in kind) == asked["Conv3D"]
