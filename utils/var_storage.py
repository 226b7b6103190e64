"""Variable scopes whose trainable variables are stored in float32, whatever the graph computes in."""

from utils.tf_runtime import tf


def float32_variables(getter, name, shape=None, dtype=tf.float32, trainable=True, **arguments):
    """A custom getter for ``tf.variable_scope``: master weights in float32, handed out in ``dtype``.

    See Micikevicius et al. 2017, "Mixed precision training", section 3.1. The cast's gradient is a cast
    back, so that the optimizer sees float32 throughout.
    """
    variable = getter(name, shape=shape, dtype=tf.float32, trainable=trainable, **arguments)
    return variable if dtype == tf.float32 else tf.cast(variable, dtype, name=name + "_cast")


def master_weights_scope(name, **arguments):
    """A ``tf.variable_scope`` with ``float32_variables`` as its getter."""
    return tf.variable_scope(name, custom_getter=float32_variables, **arguments)
