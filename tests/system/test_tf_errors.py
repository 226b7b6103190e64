import errno
import os

import pytest

from utils.system.tf_errors import told
from utils.tf_runtime import tf

FULL = os.strerror(errno.ENOSPC)


def of_tensorflow(kind, message):
    return str(told(kind(None, None, message), "model"))


class TestDisk:
    @pytest.mark.parametrize(
        "kind, code",
        [
            (tf.errors.ResourceExhaustedError, errno.ENOSPC),
            (tf.errors.ResourceExhaustedError, errno.EDQUOT),
            (tf.errors.OutOfRangeError, errno.EFBIG),
            (tf.errors.PermissionDeniedError, errno.EROFS),
            (tf.errors.UnknownError, errno.EIO),
        ],
    )
    def test_one_that_takes_nothing_more(self, kind, code):
        message = "model/model.ckpt-4_temp/part-00000-of-00001.data-00000-of-00001.tempstate1; {}\n\t [[node save/x]]"
        expected = "--model_dir model: cannot be written: {}: make room and start the same command again"
        assert of_tensorflow(kind, message.format(os.strerror(code))) == expected.format(os.strerror(code))

    def test_memory_that_is_full_is_another_trouble(self):
        told_of = of_tensorflow(tf.errors.ResourceExhaustedError, "OOM when allocating tensor with shape[9,9]")
        assert told_of == "--model_dir model: out of memory: use a smaller --batch_size or --input_shape"

    def test_a_file_that_went_away_while_it_was_read(self):
        message = (
            "FileNotFoundError: [Errno 2] No such file or directory: '/data/a copy.npy'\nTraceback (most recent call "
            'last):\n\n  File "x.py", line 1, in f\n\n\n\t [[{{node PyFunc}}]]\n\t [[IteratorGetNext]]'
        )
        expected = "--model_dir model: cannot go on: /data/a copy.npy: No such file or directory"
        assert of_tensorflow(tf.errors.NotFoundError, message) == expected

    @pytest.mark.parametrize("file, where", [("log.json", "log.json"), (None, "--model_dir model")])
    def test_the_systems_own_errors(self, file, where):
        error = OSError(errno.ENOSPC, FULL, file)
        advice = "make room and start the same command again"
        assert str(told(error, "model")) == "{}: cannot go on: {}: {}".format(where, FULL, advice)
        assert str(told(OSError("no more"), "model")) == "--model_dir model: cannot go on: no more"


class TestCheckpoint:
    @pytest.mark.parametrize(
        "kind, message, difference",
        [
            (
                tf.errors.NotFoundError,
                "Restoring from checkpoint failed. This is most likely due to a Variable name or other graph key that "
                "is missing\n\nKey vnet/down_2/kernel not found in checkpoint\n\t [[node save/RestoreV2]]",
                "vnet/down_2/kernel is not in it",
            ),
            (
                tf.errors.InvalidArgumentError,
                "Assign requires shapes of both tensors to match. lhs shape= [3,2] rhs shape= [3,3]\n [[node save/A]]",
                "Assign requires shapes of both tensors to match. lhs shape= [3,2] rhs shape= [3,3]",
            ),
        ],
    )
    def test_of_another_network(self, kind, message, difference):
        line = of_tensorflow(kind, message)
        assert line.startswith("--model_dir model: the checkpoint is of another network than params.json describes (")
        assert difference in line and "\n" not in line

    def test_whatever_else_is_one_line(self):
        message = "Graph execution error:\n\nDetected at node x\nHorovod has been shut down.\n\t [[node y]]"
        expected = "--model_dir model: TensorFlow cannot go on: Horovod has been shut down."
        assert of_tensorflow(tf.errors.UnknownError, message) == expected
        assert of_tensorflow(tf.errors.AbortedError, "") == "--model_dir model: TensorFlow cannot go on: AbortedError"
