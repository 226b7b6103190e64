"""What becomes of the training graph on a GPU, as far as TensorFlow for CPUs shows it."""

import gpu_graphs
import pytest

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
