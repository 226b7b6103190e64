"""Sessions as the Estimator runs them, with hooks, and the TensorBoard events they leave."""

import os

from utils.tf_runtime import tf


def training_session(model_dir, hook):
    """A session that goes on from the last checkpoint in a folder and leaves one there when it ends."""
    return tf.train.MonitoredTrainingSession(
        checkpoint_dir=model_dir,
        hooks=[hook],
        save_checkpoint_steps=1000,
        save_summaries_steps=None,
        save_summaries_secs=None,
        log_step_count_steps=None,
    )


def summaries_in(model_dir):
    """What TensorBoard reads: {(tag, step): value}, the value of a picture being its PNG."""
    # The session's own events go to the same writer, which may have written half of one.
    tf.summary.FileWriterCache.get(model_dir).flush()
    found = {}
    for name in sorted(os.listdir(model_dir)):
        if name.startswith("events.out.tfevents."):
            for event in tf.train.summary_iterator(os.path.join(model_dir, name)):
                found.update({(value.tag, event.step): _content(value) for value in event.summary.value})
    return found


def _content(value):
    return value.image.encoded_image_string if value.HasField("image") else value.simple_value
