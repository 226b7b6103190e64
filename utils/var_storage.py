"""Variable scopes whose variables are stored in float32 where the graph computes in less."""

from utils.tf_runtime import tf

HALF_PRECISION = (tf.float16, tf.bfloat16)


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
