"""The recipe itself: the model function in training and prediction, run as the runner runs it."""

import functools
import operator
import re
import tempfile

from benchmarks import graphs
from benchmarks.contender import Built
from utils.config.flags import FLAGS
from utils.system import environment
from utils.system.errors import UserError

UNTRAINED = re.compile(r"(^|/)(global_step|moving_mean|moving_variance)$")


def params_of(network, amp):
    """Returns the params dict of a `Network` with all flags at their defaults but --amp."""
    params = {name: flag.default for name, flag in FLAGS.items()}
    params.update(
        input_shape=list(network.input_shape),
        downscale_blocks=list(network.downscale_blocks),
        upscale_blocks=list(network.upscale_blocks),
        labels=["class {}".format(number) for number in range(network.classes)],
        modalities=["channel {}".format(number) for number in range(network.channels)],
        amp=amp,
        weights=None,
        steps_per_epoch=1,
    )
    return params


def build(given, contender):
    """Returns the `Built` of the cells; raises UserError where this TensorFlow lacks the precision."""
    params = params_of(given.network, amp=contender.precision != "float32")
    environment.configure(params)
    from utils.running.session_config import cpu_session_config, session_config
    from utils.running.workers import Workers
    from utils.tf_runtime import cpu_mixed_precision, gpus, tf, version

    if params["amp"] and not gpus() and not cpu_mixed_precision(tf.ConfigProto()):
        raise UserError("this TensorFlow has no mixed precision for this machine")
    workers = Workers(cpu_session_config(params))
    params.update(workers=workers.size)
    config, _ = session_config(params, workers)
    made, steps = 0, {}
    with tempfile.TemporaryDirectory() as folder:
        for name in given.cells:
            kind, size = name.split(":")
            if kind == "train":
                step, made = _training(given.network, int(size), params, config, workers)
            else:
                if params["weights"] is None:
                    path, made = _saved_weights(params, folder)
                    params["weights"] = [path]
                step = _prediction(given.network, int(size), params, config)
            steps[name] = step, int(size)
    return Built(version(), made, steps, workers=workers)


def _run_config():
    from utils.tf_runtime import tf

    return tf.estimator.RunConfig(keep_checkpoint_max=2)


def _training(network, size, params, config, workers):
    """A function that does one step of training and returns the loss; and the number of parameters trained."""
    from model.model_fn import model_fn
    from utils.tf_runtime import gpus, scale_loss, tf

    def wrap(optimizer):
        averaged = workers.average_gradients(optimizer)
        return scale_loss(averaged) if params["amp"] and gpus() else averaged

    params = dict(params, wrap_optimizer=wrap, weights=None, batch_size=size)
    with tf.Graph().as_default():
        tf.set_random_seed(params["seed"])
        tf.train.create_global_step()
        images, labels, fed = graphs.placeholders(network, size, open_batch=True)
        features = {"image": images, "weight": tf.constant(1.0)}
        spec = model_fn(features, labels, tf.estimator.ModeKeys.TRAIN, params, _run_config())
        equalise = workers.equaliser(tf.global_variables())
        session = graphs.session(config)
        equalise(session)
        return lambda: session.run([spec.loss, spec.train_op], fed)[0], graphs.parameters()


def _saved_weights(params, folder):
    """The path of a checkpoint of fresh weights; and the number of trained parameters in it."""
    from utils.running.benchmark_runner import fresh_checkpoint
    from utils.tf_runtime import tf

    checkpoint = fresh_checkpoint(params, folder)
    trained = [shape for name, shape in tf.train.list_variables(checkpoint) if not UNTRAINED.search(name)]
    return checkpoint, sum(functools.reduce(operator.mul, shape, 1) for shape in trained)


def _prediction(network, size, params, config):
    """A function that predicts one batch and returns one of its probabilities."""
    from model.model_fn import model_fn
    from utils.tf_runtime import tf

    with tf.Graph().as_default():
        tf.set_random_seed(params["seed"])
        images, labels, fed = graphs.placeholders(network, size, open_batch=True)
        del fed[labels]
        params = dict(params, batch_size=size)
        spec = model_fn({"image": images}, None, tf.estimator.ModeKeys.PREDICT, params, _run_config())
        probabilities = spec.predictions["probabilities"]
        session = graphs.session(config)
        return lambda: session.run(probabilities, fed).flat[0]
