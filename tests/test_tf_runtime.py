import ast
import glob
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from command_line import PROJECT
from networks import random_volume

from utils import tf_runtime
from utils.tf_runtime import (
    RUNTIME,
    convolve,
    cpu_mixed_precision,
    gpu_mixed_precision,
    gpus,
    normalise,
    relu,
    scale_loss,
    tf,
    version,
)

PLACES = ["model/*.py", "utils/**/*.py", "main.py", "dllogger/*.py", "download_dataset.py", "examples/*.py"]
PLACES += ["benchmarks/*.py"]


def sources(*places):
    """The project's source files, relative to it."""
    found = [path for place in places for path in glob.glob(os.path.join(PROJECT, place), recursive=True)]
    return sorted(os.path.relpath(path, PROJECT) for path in found)


def imported(source):
    """The full names of what a file imports anywhere in it, modules and what is taken from them."""
    with open(os.path.join(PROJECT, source), encoding="utf-8") as file:
        tree = ast.parse(file.read())
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "{}: relative import".format(source)
            names.update("{}.{}".format(node.module, alias.name) for alias in node.names)
    return names


def run(code):
    """Python code in a process of its own, where nothing has been configured."""
    ours = ("TF_CPP_MIN_LOG_LEVEL", "OMP_NUM_THREADS", "KMP_BLOCKTIME", "KMP_WARNINGS")
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT,
        env={name: value for name, value in os.environ.items() if name not in ours},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
    )


def check_gradients(session, result, kernels):
    """Check the gradients of a weighted sum of what is proportional to each of the kernels: k . ds/dk = s."""
    total = tf.reduce_sum(result * random_volume(*result.shape.as_list()))
    products = [tf.reduce_sum(kernel * gradient) for kernel, gradient in zip(kernels, tf.gradients(total, kernels))]
    session.run(tf.global_variables_initializer())
    for _ in range(5):
        expected, found = session.run([total, products])
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


class TestOnlyModule:
    def test_that_imports_tensorflow(self):
        importing = {
            source
            for source in sources(*PLACES)
            if any(name.split(".")[0] in ("tensorflow", "keras", "tensorboard") for name in imported(source))
        }
        assert importing == {os.path.join("utils", "tf_runtime.py")}

    def test_that_is_not_got_round_by_name(self):
        for source in sources(*PLACES):
            with open(os.path.join(PROJECT, source), encoding="utf-8") as file:
                text = file.read()
            assert not re.search(r"(import_module|__import__)\(\s*['\"]tensorflow", text), source

    def test_of_utils_that_the_model_needs_beside_the_storage_of_variables(self):
        modules = sources("model/*.py")
        assert len(modules) >= 4
        for source in modules:
            for name in imported(source):
                if name.split(".")[0] in ("utils", "dllogger", "examples", "main"):
                    assert name.startswith(("utils.tf_runtime.", "utils.var_storage.")), (source, name)


class TestImport:
    def test_is_silent_once_the_environment_is_configured(self):
        finished = run(
            "from utils.system import environment;"
            "environment.configure({'threads': 1, 'amp': False, 'xla': False, 'no_tf32': False, 'folds': 0});"
            "from utils.tf_runtime import tf;"
            "print(tf.Session().run(tf.constant(3)))"
        )
        assert (finished.returncode, finished.stdout, finished.stderr) == (0, "3\n", "")


class TestRuntime:
    def test_follows_from_the_python(self):
        assert RUNTIME == ("tf1" if sys.version_info < (3, 9) else "tf2")

    def test_version_names_both(self):
        runtime, number = version().split(" ")
        assert runtime == RUNTIME and number == tf.__version__
        assert number.startswith({"tf1": "1.15", "tf2": "2."}[RUNTIME])

    def test_is_that_of_graphs(self):
        assert not tf.executing_eagerly()
        assert not tf.resource_variables_enabled()
        assert not tf.control_flow_v2_enabled()

    def test_gpus_are_names(self, monkeypatch):
        names = ["/physical_device:GPU:0", "/physical_device:GPU:1"]
        devices = {"GPU": [SimpleNamespace(name=name) for name in names], "CPU": []}
        monkeypatch.setattr(tf.config.experimental, "list_physical_devices", devices.get)
        assert gpus() == names


class TestRelu:
    def test_cuts_what_is_negative_and_its_gradient(self, session):
        values = tf.constant([-2.0, 0.0, 3.0])
        result = relu(values)
        gradient = tf.gradients(result * [5.0, 6.0, 7.0], values)[0]
        assert [part.tolist() for part in session.run([result, gradient])] == [[0.0, 0.0, 3.0], [0.0, 0.0, 7.0]]

    def test_right_after_a_convolution_its_gradient_is_right(self, session):
        """There the one of TensorFlow 1.15 for CPUs takes one memory layout for another."""
        kernel = tf.get_variable("kernel", [3, 3, 3, 1, 16])
        result = relu(convolve(tf.constant(random_volume(2, 8, 8, 8, 1)), kernel, 1))
        check_gradients(session, 2.0 * result, [kernel])


class TestConvolve:
    @pytest.mark.parametrize("size, stride", [(1, 1), (2, 2), (3, 1), (5, 1)])
    @pytest.mark.parametrize("side", [2, 4, 6])
    def test_gradients_are_right_on_grids_larger_and_smaller_than_the_kernel(self, session, side, size, stride):
        first = tf.get_variable("first", [3, 3, 3, 1, 16])
        second = tf.get_variable("second", [size, size, size, 16, 16])
        result = convolve(convolve(tf.constant(random_volume(2, side, side, side, 1)), first, 1), second, stride)
        assert result.shape.as_list() == [2] + 3 * [side // stride] + [16]
        check_gradients(session, result, [first, second])

    @pytest.mark.parametrize("size, padding", [(1, "valid"), (3, "valid"), (3, "same")])
    @pytest.mark.parametrize("side", [3, 12])
    def test_gradients_of_images_are_right_behind_a_bias_and_relu(self, session, side, size, padding):
        """Of the kernels, in the order in which they follow on each other in a network."""
        first = tf.get_variable("first", [3, 3, 1, 16])
        second = tf.get_variable("second", [size, size, 16, 16])
        image = tf.constant(random_volume(2, side, side, 1))
        result = convolve(relu(tf.nn.bias_add(convolve(image, first), tf.zeros([16]))), second, padding=padding)
        assert result.shape.as_list() == [2] + 2 * [side if padding == "same" else side - size + 1] + [16]
        check_gradients(session, result, [first, second])


class TestNormalise:
    def parts(self, images):
        """What it makes of images, and the gradients of a weighted sum of that."""
        channels = images.shape[-1]
        sources = [tf.constant(images), tf.linspace(0.5, 2.0, channels), tf.linspace(-1.0, 1.0, channels)]
        made = normalise(*sources, epsilon=1e-3)
        assert made[0].shape.as_list() == list(images.shape)
        return list(made) + tf.gradients(made[0] * random_volume(*images.shape)[::-1], sources)

    def dimensions(self, graph):
        return [found.inputs[0].shape.ndims for found in graph.get_operations() if found.type == "FusedBatchNormV3"]

    def test_is_the_same_with_and_without_gpus(self, session, graph, monkeypatch):
        volume = 3.0 + 2.0 * random_volume(3, 4, 2, 6, 5)
        both = []
        for found in ([], ["/physical_device:GPU:0"]):
            monkeypatch.setattr(tf_runtime, "gpus", lambda found=found: found)
            both.append(self.parts(volume))
        assert self.dimensions(graph) == [4, 5 if RUNTIME == "tf2" else 4]
        for one, other in zip(*session.run(both)):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("found", [[], ["/physical_device:GPU:0"]])
    def test_of_images_equals_that_of_a_volume_of_one_slice(self, session, graph, monkeypatch, found):
        monkeypatch.setattr(tf_runtime, "gpus", lambda: found)
        images = 3.0 + 2.0 * random_volume(3, 4, 6, 5)
        of_images, of_volumes = session.run([self.parts(images), self.parts(images[..., np.newaxis, :])])
        assert self.dimensions(graph)[0] == 4
        for one, other in zip(of_images[1:3], of_volumes[1:3]):
            np.testing.assert_allclose(one, other, rtol=1e-4)
        np.testing.assert_allclose(of_images[0], of_volumes[0][..., 0, :], rtol=1e-4, atol=1e-5)


class TestMixedPrecision:
    def test_on_cpus_comes_with_the_second_runtime(self):
        config = tf.ConfigProto()
        switched_on = cpu_mixed_precision(config)
        assert switched_on == (RUNTIME == "tf2")
        assert (config != tf.ConfigProto()) == switched_on

    @pytest.mark.parametrize("nvidia", [False, True])
    def test_on_gpus_is_asked_for_where_the_build_is_not_nvidias(self, monkeypatch, nvidia):
        config = tf.ConfigProto()
        monkeypatch.setattr(tf_runtime, "_NVIDIA_BUILD", nvidia)
        gpu_mixed_precision(config)
        rewrites = config.graph_options.rewrite_options
        assert rewrites.auto_mixed_precision == (rewrites.DEFAULT if nvidia else rewrites.ON)
        assert (config == tf.ConfigProto()) == nvidia

    def test_nvidias_build_is_not_asked_twice(self, graph, monkeypatch):
        optimizer = tf.train.GradientDescentOptimizer(1.0)
        monkeypatch.setattr(tf_runtime, "_NVIDIA_BUILD", True)
        assert scale_loss(optimizer) is optimizer

    def test_every_other_build_is_asked(self, graph, monkeypatch):
        optimizer = tf.train.GradientDescentOptimizer(1.0)
        monkeypatch.setattr(tf_runtime, "_NVIDIA_BUILD", False)
        try:
            assert scale_loss(optimizer) is not optimizer
        finally:
            tf.train.experimental.disable_mixed_precision_graph_rewrite()
