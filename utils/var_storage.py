"""How the weights of a graph are stored: as float32 variables where it computes in less, averaged, or as constants."""

import functools

from utils.system.errors import UserError
from utils.tf_runtime import tf

HALF_PRECISION = (tf.float16, tf.bfloat16)
# What ``tf.train.ExponentialMovingAverage`` adds to a variable's name.
AVERAGE = "/ExponentialMovingAverage"


def float32_variables(getter, name, dtype=tf.float32, **arguments):
    """A custom getter for ``tf.variable_scope``: float16 and bfloat16 are stored in float32 and handed out as a cast.

    See Micikevicius et al. 2017, "Mixed precision training", section 3.1. The cast's gradient is a cast
    back, so that the optimizer sees float32 throughout.
    """
    if tf.as_dtype(dtype) not in HALF_PRECISION:
        return getter(name, dtype=dtype, **arguments)
    return tf.cast(getter(name, dtype=tf.float32, **arguments), dtype)


def master_weights_scope(name, **arguments):
    """A ``tf.variable_scope`` with ``float32_variables`` as its getter."""
    return tf.variable_scope(name, custom_getter=float32_variables, **arguments)


def averaged_weights_scope(scope, **arguments):
    """A function like ``master_weights_scope`` that hands out the average of each variable that the graph averages."""
    averages = {variable.op.name: variable for variable in tf.global_variables() if variable.op.name.endswith(AVERAGE)}

    def average_or_variable(getter, name, **options):
        variable = getter(name, **options)
        return averages.get(name + AVERAGE, variable)

    def handed_out(getter, name, **options):
        return float32_variables(functools.partial(average_or_variable, getter), name, **options)

    return tf.variable_scope(scope, custom_getter=handed_out, **arguments)


def frozen_weights_scope(checkpoint):
    """A function like ``master_weights_scope`` whose variables are constants: their values in a checkpoint (its path).

    A checkpoint that has averages gives those instead.

    What follows from weights alone is then computed once, when the session starts, rather than in each step.

    Raises:
        UserError: when a variable is made, where the checkpoint has none of that name and shape.
        tf.errors.OpError: the checkpoint cannot be read.
    """
    reader = tf.train.load_checkpoint(checkpoint)
    shapes = reader.get_variable_to_shape_map()

    def constant(getter, name, shape=None, dtype=tf.float32, **arguments):
        if shapes.get(name) != list(shape):
            raise UserError(
                "{}: has no {} of shape {}: it belongs to another network".format(checkpoint, name, list(shape))
            )
        average = name + AVERAGE
        return tf.constant(reader.get_tensor(average if average in shapes else name), dtype, name=name.split("/")[-1])

    return functools.partial(tf.variable_scope, custom_getter=constant)
