"""Whether the network can fit in memory at the shape and batch size that are asked for: a bound from below."""

from utils.config.flag import shown
from utils.config.modes import uses_held_out
from utils.config.network_flags import UNET
from utils.config.network_rules import filters, seen_shape
from utils.system import hardware, memory

# In training, what a layer gives and its gradient are there at the same time.
COPIES_IN_TRAINING = 2


def check(params, job):
    """Raise UserError where training, or else prediction and evaluation, cannot fit in this machine's memory.

    ``params`` with what ``job.description`` adds. The memory of GPUs is not known before TensorFlow is loaded: where
    there are any, nothing is refused.
    """
    if hardware.gpu_names():
        return
    training = max([len(job.training)] + [len(fold.training) for fold in job.folds]) * params["patches_per_case"]
    if training:
        flag = "input_shape" if params["crop_shape"] is None else "crop_shape"
        # How many slices the cases have is not known yet.
        batch_size = params["batch_size"] if params["model"] == UNET else min(params["batch_size"], training)
        _refuse(params, flag, "training", batch_size, COPIES_IN_TRAINING)
    seen = max(len(job.held_out) if uses_held_out(params) else 0, len(job.predicted))
    if seen:
        _refuse(params, "input_shape", "prediction", min(params["prediction_batch_size"] or 1, seen), 1)


def _refuse(params, flag, part, batch_size, copies):
    number = memory.HALF_FLOAT if params["amp"] else memory.FLOAT
    per_voxel = memory.FLOAT * len(params["modalities"]) + number * filters(params) * copies
    memory.refuse_beyond(
        batch_size * memory.voxels(seen_shape(params, params[flag])) * per_voxel,
        "--{} {}: {} {} image{} at a time takes".format(
            flag, shown(params[flag]), part, batch_size, "" if batch_size == 1 else "s"
        ),
        "use a smaller one" + (" or a smaller --batch_size" if batch_size > 1 else ""),
    )
