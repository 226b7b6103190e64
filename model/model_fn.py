"""The Estimator's model function: features, labels, mode and params become an ``EstimatorSpec``.

Dimensions: N cases in a batch; X, Y, Z voxels along the image's axes; C input channels; K classes.
"""

import functools
import re

from model.averaging import mean_probabilities
from model.losses import training_loss
from model.networks import logits_of, supervised_logits
from model.optimizers import average_weights, make_optimizer
from utils.tf_runtime import tf
from utils.var_storage import averaged_weights_scope, frozen_weights_scope, master_weights_scope

CLIP_NORM = 1.0
# The variables of TensorFlow's dynamic loss scale, which only float16 has.
LOSS_SCALE = ("current_loss_scale", "good_steps")


def probabilities_of(images, params, scope=averaged_weights_scope):
    """Class probabilities float32 [N, X, Y, Z, K] of images [N, X, Y, Z, C], with moving statistics.

    Of the averaged weights, where the graph has averages.
    """
    logits = logits_of(images, params, training=False, scope=scope)
    # Of a flat list of voxels: TensorFlow 1.15 for CPUs takes twenty times as long for five dimensions.
    probabilities = tf.nn.softmax(tf.reshape(logits, [-1, logits.shape[-1].value]))
    return tf.reshape(probabilities, [-1] + logits.shape.as_list()[1:])


def _changed_probabilities(change, images, params, scope):
    if change is not None:
        low, high, factor, added = change
        images = tf.minimum(tf.maximum(images, low), high) * factor + added
    return probabilities_of(images, params, scope)


def model_fn(features, labels, mode, params, config):
    """Build the graph of one mode.

    Args:
        features: {"image": float32 [N, X, Y, Z, C]}, and in training "weight": float32 [], what this worker's
            loss counts in the mean over the workers, and for the loss "weighted_ce" "voxel_weights": float32
            [N, X, Y, Z].
        labels: uint8 labels [N, X, Y, Z] in training, else None.
        mode: ``tf.estimator.ModeKeys.TRAIN`` or ``PREDICT``.
        params: the validated params dict, with ``labels`` (structure names by value) and
            ``wrap_optimizer``, a function from optimizer to optimizer that adds what the machine needs
            (averaging over workers, loss scaling); ``workers`` and ``steps_per_epoch`` for the learning rate.
            In prediction with ``weights``, the paths of the checkpoints whose weights become constants and
            whose probabilities are averaged, and with ``test_time_flips`` over the flips along ``flip_axes`` too;
            with ``changes``, those of the intensities for each of them, of
            ``utils.preprocessing.ct_intensities.changes``.
        config: the ``tf.estimator.RunConfig``, which says how many checkpoints are kept.

    Returns:
        An ``EstimatorSpec``: predictions {"probabilities": float32 [N, X, Y, Z, K]}, or loss and train_op.

    Raises:
        ValueError: on any other mode; scores are taken of the written masks, not in the graph.
    """
    if mode == tf.estimator.ModeKeys.PREDICT:
        scopes = [frozen_weights_scope(checkpoint) for checkpoint in params["weights"]]
        changes = params.get("changes") or [None] * len(scopes)
        networks = [
            functools.partial(_changed_probabilities, change, params=params, scope=scope)
            for change, scope in zip(changes, scopes)
        ]
        flip_axes = params["flip_axes"] if params["test_time_flips"] else ()
        probabilities = mean_probabilities(features["image"], networks, flip_axes)
        return tf.estimator.EstimatorSpec(mode, predictions={"probabilities": probabilities})
    if mode != tf.estimator.ModeKeys.TRAIN:
        raise ValueError("the model function trains and predicts; evaluation reads what it predicts")
    logits = supervised_logits(features["image"], params, master_weights_scope)
    loss = tf.identity(training_loss(params, logits, labels, features.get("voxel_weights")), name="loss")
    optimizer = params["wrap_optimizer"](make_optimizer(params))
    train_op = training_step(optimizer, loss * features["weight"], params["weight_averaging"])
    return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train_op, scaffold=scaffold(config.keep_checkpoint_max))


def scaffold(checkpoints_kept):
    """A ``tf.train.Scaffold`` whose checkpoints hold the same in all precisions, so that a run may change its own.

    The loss scale is left out: a run that goes on finds it anew within some steps.
    """
    variables = tf.global_variables()
    scale = [variable for variable in variables if variable.op.name in LOSS_SCALE]
    saved = {_saved_name(variable): variable for variable in variables if variable not in scale}
    saver = tf.train.Saver(saved, sharded=True, max_to_keep=checkpoints_kept, save_relative_paths=True)
    # ``CheckpointHook`` takes its saver from this collection.
    tf.add_to_collection(tf.GraphKeys.SAVERS, saver)
    # The local operation also runs where all else comes from a checkpoint.
    local = [tf.train.Scaffold.default_local_init_op(), tf.variables_initializer(scale)]
    # The identity, since TensorFlow complains of a report that is never run, as where a checkpoint cannot be read.
    ready = tf.identity(tf.report_uninitialized_variables(list(saved.values())))
    return tf.train.Scaffold(saver=saver, local_init_op=tf.group(*local), ready_for_local_init_op=ready)


def _saved_name(variable):
    # Under loss scaling, Adam makes variables of its own where it is decided whether a step is left out.
    return re.sub(r"^cond(_\d+)?/", "", variable.op.name)


def training_step(optimizer, loss, weight_averaging=0.0):
    """One operation that applies the gradients clipped to a global norm of 1.0 and updates the statistics.

    With several workers ``compute_gradients`` averages first, so that what is clipped, and by how much,
    does not depend on their number. ``weight_averaging`` is the decay of the averages of the weights; 0 makes none.
    """
    pairs = optimizer.compute_gradients(loss)
    gradients, variables = zip(*pairs)
    clipped, _ = tf.clip_by_global_norm(gradients, CLIP_NORM)
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        done = optimizer.apply_gradients(zip(clipped, variables))
    if weight_averaging:
        with tf.control_dependencies([done] + tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            done = average_weights(weight_averaging)
    # Counted here, so that a step whose update loss scaling leaves out is a step all the same.
    with tf.control_dependencies([done]):
        return tf.assign_add(tf.train.get_global_step(), 1).op
