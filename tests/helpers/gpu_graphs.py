"""The training graph as TensorFlow rewrites it for a GPU, on a machine without one: the GPU is a virtual one.

As a program, ``gpu_graphs.py PARAMS`` (JSON) prints what `kinds` counts, as JSON. TensorFlow then rewrites to float16
without kernels for GPUs, as a process does or does not from its first rewrite on: convolutions become float16, but not
what follows them.
"""

import collections
import json
import os
import sys

from utils.system import environment

PLACE = "/job:localhost/replica:0/task:0/device:"


def machine():
    """A processor and a GPU with Tensor Cores, for Grappler."""
    from tensorflow.core.protobuf import device_properties_pb2
    from tensorflow.python.grappler import cluster

    processor = device_properties_pb2.NamedDevice(name=PLACE + "CPU:0")
    processor.properties.type, processor.properties.num_cores, processor.properties.frequency = "CPU", 2, 2000
    gpu = device_properties_pb2.NamedDevice(name=PLACE + "GPU:0")
    gpu.properties.type, gpu.properties.vendor, gpu.properties.memory_size = "GPU", "NVIDIA", 16 << 30
    gpu.properties.num_cores, gpu.properties.frequency, gpu.properties.bandwidth = 80, 1380, 900000000
    for name, value in (("architecture", "8.0"), ("cuda", "11000"), ("cudnn", "8000")):
        gpu.properties.environment[name] = value
    return cluster.Cluster(devices=[processor, gpu])


def rewritten(params):
    """The nodes of the training graph of the params, in a session that they ask for; a list of NodeDef."""
    from tensorflow.python.grappler import tf_optimizer

    from model.model_fn import model_fn
    from utils.running.session_config import session_config
    from utils.running.workers import Workers
    from utils.tf_runtime import tf

    config, _ = session_config(params, Workers())
    # Small graphs are not rewritten otherwise.
    config.graph_options.rewrite_options.min_graph_nodes = -1
    run_config = tf.estimator.RunConfig(keep_checkpoint_max=2)
    with tf.Graph().as_default() as graph, graph.device(PLACE + "GPU:0"):
        shape = [None] + params["input_shape"]
        images = tf.placeholder(tf.float32, shape + [len(params["modalities"])])
        labels = tf.placeholder(tf.uint8, shape)
        tf.train.create_global_step()
        features = {"image": images, "weight": tf.constant(1.0)}
        spec = model_fn(features, labels, tf.estimator.ModeKeys.TRAIN, params, run_config)
        exported = tf.train.export_meta_graph(graph=graph, collection_list=[])
    exported.collection_def["train_op"].node_list.value.extend([spec.train_op.name, spec.loss.op.name])
    return list(tf_optimizer.OptimizeGraph(config, exported, cluster=machine()).node)


def kinds(nodes):
    """How many operations of each kind there are, by name and type: "Conv3D float16", or "NoOp"."""
    from utils.tf_runtime import tf

    named = (
        "{} {}".format(node.op, tf.as_dtype(node.attr["T"].type).name) if node.attr["T"].type else node.op
        for node in nodes
    )
    return dict(collections.Counter(named))


def pretend_a_gpu(set_attribute):
    """Lets the modules that ask for GPUs find one; `set_attribute`: setattr, or that of pytest's monkeypatch."""
    from utils import tf_runtime
    from utils.running import session_config

    for module in (session_config, tf_runtime):
        set_attribute(module, "gpus", lambda: ["/physical_device:GPU:0"])


def main(given):
    os.environ["TF_AUTO_MIXED_PRECISION_GRAPH_REWRITE_SIMULATE_GPU"] = "1"
    environment.configure(given)
    pretend_a_gpu(setattr)
    from utils.tf_runtime import scale_loss

    print(json.dumps(kinds(rewritten(dict(given, wrap_optimizer=scale_loss)))))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
