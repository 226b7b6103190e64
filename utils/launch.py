"""How many workers were started, as their launcher tells each of them; known before TensorFlow is loaded."""

import os

# mpirun of Open MPI; horovodrun; MPICH and Intel MPI; srun.
_SIZE = ("OMPI_COMM_WORLD_SIZE", "HOROVOD_SIZE", "PMI_SIZE")
_RANK = ("OMPI_COMM_WORLD_RANK", "HOROVOD_RANK", "PMI_RANK")
_LOCAL_SIZE = ("OMPI_COMM_WORLD_LOCAL_SIZE", "HOROVOD_LOCAL_SIZE", "MPI_LOCALNRANKS")


def size():
    """Workers of this run; 1 where no launcher started it."""
    return _read(_SIZE, 1)


def rank():
    """This worker's number, counted from 0."""
    return _read(_RANK, 0)


def local_size():
    """Workers on this machine."""
    return _read(_LOCAL_SIZE, 1)


def _read(names, default):
    return next((int(os.environ[name]) for name in names if name in os.environ), default)
