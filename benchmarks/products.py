"""What the machine can do at most: matrix products in TensorFlow, GFLOP per second."""

from benchmarks.contender import Built
from benchmarks.network import Network
from benchmarks.ours import params_of
from utils.system import environment


def build(given, contender):
    """Returns the `Built` of the cells."""
    environment.configure(params_of(Network(), amp=False))
    from utils.tf_runtime import cpu_mixed_precision, gpus, tf, version

    half = bool(gpus()) or cpu_mixed_precision(tf.ConfigProto())
    steps, left_out = {}, {}
    for name in given.cells:
        precision = name.split(":")[1]
        if precision == "float32" or half:
            steps[name] = _product(precision, given.product_side), 2e-9 * given.product_side**3
        else:
            left_out[name] = "this TensorFlow has no {} kernels for this machine".format(precision)
    return Built(version(), None, steps, left_out)


def _product(precision, side):
    """A function that multiplies two square matrices of that side."""
    from utils.tf_runtime import tf

    with tf.Graph().as_default():
        # Variables, since a product of constants would be computed once and for all.
        factors = [
            tf.get_variable(name, initializer=tf.cast(tf.random_normal([side, side], seed=seed), precision))
            for seed, name in enumerate(("left", "right"))
        ]
        # Without its result, which would have to be copied.
        product = tf.matmul(*factors).op
        session = tf.Session()
        session.run(tf.global_variables_initializer())

    def step():
        session.run(product)
        return 0.0

    return step
