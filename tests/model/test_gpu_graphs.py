"""What becomes of the training graph on a GPU, as far as TensorFlow for CPUs shows it."""

import json
import os
import subprocess
import sys

import gpu_graphs
import pytest
from command_line import PROJECT

from utils import tf_runtime
from utils.tf_runtime import RUNTIME

pytestmark = pytest.mark.skipif(RUNTIME != "tf2", reason="TensorFlow 1.15 rewrites no graph for a virtual GPU")
CONVOLUTIONS = ("Conv3D", "Conv3DBackpropFilterV2", "Conv3DBackpropInputV2")


@pytest.fixture
def network(params):
    """The params of a network of eight normalised convolutions and the output's."""
    return dict(params, downscale_blocks=[1, 1])


def convolutions(counted):
    """Those among `gpu_graphs.kinds`."""
    return {kind: count for kind, count in counted.items() if kind.split(" ")[0] in CONVOLUTIONS}


class TestFloat32:
    def transposed(self, params):
        counted = gpu_graphs.kinds(gpu_graphs.rewritten(params))
        assert sum(convolutions(counted).values()) == 26
        return counted["Transpose float32"]

    def test_volumes_stay_with_their_channels_first(self, network, monkeypatch):
        """Transposed are the few that enter the network or leave it."""
        gpu_graphs.pretend_a_gpu(monkeypatch.setattr)
        assert self.transposed(network) < 10

    def test_a_view_of_four_dimensions_would_transpose_them_between_all_layers(self, network, monkeypatch):
        gpu_graphs.pretend_a_gpu(monkeypatch.setattr)
        monkeypatch.setattr(tf_runtime, "gpus", list)
        assert self.transposed(network) > 26


def test_with_amp_all_convolutions_and_their_gradients_are_float16(network):
    given = {name: value for name, value in dict(network, amp=True).items() if name != "wrap_optimizer"}
    finished = subprocess.run(
        [sys.executable, gpu_graphs.__file__, json.dumps(given)],
        env=dict(os.environ, PYTHONPATH=PROJECT),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
    )
    assert finished.returncode == 0, finished.stderr
    expected = {"Conv3D float16": 9, "Conv3DBackpropFilterV2 float16": 9, "Conv3DBackpropInputV2 float16": 8}
    assert convolutions(json.loads(finished.stdout)) == expected
