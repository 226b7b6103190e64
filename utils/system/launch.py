"""How many workers were started, and whether this is the first, as their launcher tells each of them.

Known before TensorFlow is loaded.
"""

import os
import re

from utils.system.errors import UserError

# mpirun of Open MPI; horovodrun; MPICH and Intel MPI.
_SIZE = ("OMPI_COMM_WORLD_SIZE", "HOROVOD_SIZE", "PMI_SIZE")
_RANK = ("OMPI_COMM_WORLD_RANK", "HOROVOD_RANK", "PMI_RANK", "PMIX_RANK")
_LOCAL_SIZE = ("OMPI_COMM_WORLD_LOCAL_SIZE", "HOROVOD_LOCAL_SIZE", "MPI_LOCALNRANKS")
# srun --mpi=pmix: SLURM's own variables are those of any step, also of one that starts no MPI.
_SRUN = "PMIX_RANK"
_SRUN_SIZE = ("SLURM_STEP_NUM_TASKS",)
_SRUN_LOCAL_SIZE = ("SLURM_STEP_TASKS_PER_NODE",)


# What a launcher that sets the number of workers tells each of them too.
_RANKS = dict(zip(_SIZE, _RANK))
# Open MPI keeps what its workers share in this folder, which it removes at its end.
_SERVER_FOLDER = "PMIX_SERVER_TMPDIR"


def refuse_leftovers():
    """Raise UserError where variables of a launcher are set, but no launcher is at work: left over in the shell."""
    for name, rank in _RANKS.items():
        if _read((name,), ()) == 1:
            continue
        folder = os.environ.get(_SERVER_FOLDER)
        if rank not in os.environ:
            reason = "{} is not set".format(rank)
        elif name == _SIZE[0] and folder and not os.path.isdir(folder):
            reason = "the folder that {} names, {}, is gone".format(_SERVER_FOLDER, folder)
        else:
            continue
        raise UserError(
            "{}={} tells of several workers, but {}: no launcher started this one: unset the variable, or start the "
            "workers with mpirun or the scripts in examples/".format(name, os.environ[name], reason)
        )


def size():
    """Workers of this run; 1 where no launcher started it."""
    return _read(_SIZE, _SRUN_SIZE)


def local_size():
    """Workers on this machine."""
    return _read(_LOCAL_SIZE, _SRUN_LOCAL_SIZE)


def is_first():
    """Whether this is the worker that writes for all; none is where a launcher does not tell them apart."""
    return size() == 1 or next((os.environ[name] for name in _RANK if name in os.environ), None) == "0"


def _read(names, srun_names):
    names += srun_names if _SRUN in os.environ else ()
    # SLURM writes four tasks on each of two machines as 4(x2).
    numbers = (re.match(r"[1-9]\d*", os.environ.get(name, "")) for name in names)
    return next((int(number.group()) for number in numbers if number), 1)
