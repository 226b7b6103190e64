"""How the weights follow from the gradients: learning rate, optimizer, weight decay and weight averaging."""

import math

from model.layers import MOVING_STATISTICS
from utils.tf_runtime import tf

POLYNOMIAL_POWER = 0.9


def make_optimizer(params):
    """The ``tf.train.Optimizer`` that the params ask for, with its learning rate and weight decay.

    ``rmsprop`` is centred (Hinton 2012; Graves 2013, section 4.2, for the centring); ``adam`` that of Kingma and Ba
    (2015), which takes no momentum from the params; ``sgd`` has Nesterov's momentum (Sutskever et al. 2013).
    """
    rate, momentum = learning_rate(params), params["momentum"]
    if params["optimizer"] == "rmsprop":
        optimizer = tf.train.RMSPropOptimizer(rate, momentum=momentum, centered=True)
    elif params["optimizer"] == "adam":
        optimizer = tf.train.AdamOptimizer(rate)
    else:
        optimizer = tf.train.MomentumOptimizer(rate, momentum, use_nesterov=True)
    if params["weight_decay"]:
        return DecoupledWeightDecay(optimizer, rate * params["weight_decay"])
    return optimizer


def learning_rate(params):
    """The learning rate: ``base_lr``, or a float32 tensor that follows the global step where that changes it.

    The product of ``base_lr`` and of

    * linear scaling: the number of workers, to which it rises over the first epochs (Goyal et al. 2017, "Accurate,
      large minibatch SGD", section 2);
    * warm-up: (step + 1) / ``lr_warmup_steps`` in the first steps, then 1; a tenth of all steps at most;
    * the schedule, with ``part`` the part of all steps that is done: (1 + cos(pi part)) / 2 (Loshchilov and Hutter
      2017, arXiv:1608.03983, without restarts) or (1 - part)^0.9 (Chen et al. 2018, arXiv:1606.00915).
    """
    rate = params["base_lr"]
    if params["lr_scaling"] == "linear" and params["workers"] > 1:
        rising = max(1, params["lr_warmup_epochs"] * params["steps_per_epoch"])
        rate = rate * (1.0 + (params["workers"] - 1) * tf.minimum(_step() / rising, 1.0))
    if params["lr_warmup_steps"]:
        rising = max(1, min(params["lr_warmup_steps"], _all_steps(params) // 10))
        rate = rate * tf.minimum((_step() + 1.0) / rising, 1.0)
    if params["lr_schedule"] != "constant":
        part = tf.minimum(_step() / _all_steps(params), 1.0)
        cosine = params["lr_schedule"] == "cosine"
        rate = rate * (0.5 + 0.5 * tf.cos(math.pi * part) if cosine else tf.pow(1.0 - part, POLYNOMIAL_POWER))
    return rate


def _all_steps(params):
    return params["train_epochs"] * params["steps_per_epoch"]


def _step():
    """Optimizer steps done so far: float32 scalar."""
    return tf.cast(tf.train.get_global_step(), tf.float32)


class DecoupledWeightDecay(tf.train.Optimizer):
    """An optimizer that also takes a part of each kernel away, of its value before the step.

    Apart from the gradients, which the optimizer would rescale (Loshchilov and Hutter 2019, arXiv:1711.05101,
    algorithm 2). Biases and the scales, offsets and slopes that follow a convolution are left alone.

    Args:
        optimizer: the ``tf.train.Optimizer`` that applies the gradients.
        part: what a step takes away, a number or a scalar tensor: learning rate times weight decay.
    """

    def __init__(self, optimizer, part):
        super().__init__(use_locking=False, name="DecoupledWeightDecay")
        self._optimizer = optimizer
        self._part = part

    def compute_gradients(self, *arguments, **options):
        """As of the optimizer."""
        return self._optimizer.compute_gradients(*arguments, **options)

    def apply_gradients(self, grads_and_vars, global_step=None, name=None):
        """One operation: the decay, then the optimizer's own."""
        pairs = list(grads_and_vars)
        kernels = [variable for _, variable in pairs if variable.op.name.split("/")[-1] == "kernel"]
        # Once all gradients are there, nothing reads the weights of before any more.
        with tf.control_dependencies([gradient for gradient, _ in pairs]):
            decayed = [tf.assign_sub(kernel, self._part * kernel) for kernel in kernels]
        with tf.control_dependencies(decayed):
            return self._optimizer.apply_gradients(pairs, global_step, name)


def average_weights(decay):
    """An operation that takes the average of each trained variable a step towards the variable's value.

    The exponential moving average loses the part 1 - min(``decay``, (1 + step) / (10 + step)) of what it was in each
    step: at first it forgets quickly, the initial weights above all. The averages are variables, which checkpoints
    hold, and which the scopes of ``utils/var_storage.py`` hand out to prediction.

    The moving statistics of batch normalisation are averaged alike: statistics of the last weights would not fit
    weights that are the mean of many steps.
    """
    statistics = tf.get_collection(MOVING_STATISTICS)
    averages = tf.train.ExponentialMovingAverage(decay, tf.train.get_global_step())
    operation = averages.apply(tf.trainable_variables() + statistics)
    for variable in statistics:
        tf.add_to_collection(MOVING_STATISTICS, averages.average(variable))
    return operation
