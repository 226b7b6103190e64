"""Preprocessed cases, kept on disk under a name that says what they were made from."""

import concurrent.futures
import hashlib
import json
import os
import threading
from typing import NamedTuple, Optional

import numpy as np

from utils.imaging import image_facts
from utils.imaging.case_files import content_of, is_stack, read_grid
from utils.imaging.image_facts import Facts
from utils.imaging.large_scan_turns import in_turn
from utils.imaging.nifti_header import HeaderError, hash_of
from utils.imaging.tasks import Case
from utils.preprocessing import foreground
from utils.preprocessing.border_weights import border_weights
from utils.preprocessing.fitting import shape_before_padding
from utils.preprocessing.pipeline import SETTINGS, check_scan, cropped_share, prepare_case
from utils.system.environment import share_of_cores
from utils.system.errors import CannotWrite, UserError, attempted, unusable
from utils.system.files import replace_on_success
from utils.system.memory import voxels
from utils.system.thread_pool import overlapped

# To be raised whenever preprocessing gives other arrays for the same files and settings.
FORMAT_VERSION = 1
READ_AT_ONCE = 1 << 20

# NumPy lets Python's parser read the header of a .npy file. In Python 3.11 that one fails now and then where several
# threads use it at a time (CPython's issue 106905).
_parsing = threading.Lock()


class Kept(NamedTuple):
    """A case, the .npy files of its float32 [X, Y, Z, C] image and its uint8 [X, Y, Z] label (or None), and its hash.

    ``content`` is that of what is in the case's own files, however they are compressed, 32 hexadecimal digits;
    ``former`` is that of the files as they are, which was the content of earlier releases. Where the settings ask for
    them, ``borders`` is the .npy file of what borders add to the weights of its voxels, float32 [X, Y, Z], and
    ``positions`` that of some voxels of its structures, those of ``utils.preprocessing.foreground``. ``cropped`` is the
    share of its structures' voxels that the network does not see, as they lie outside its input. ``facts`` are what its
    files' voxels tell at a glance.
    """

    case: Case
    image: str
    label: Optional[str]
    content: Optional[str] = None
    borders: Optional[str] = None
    positions: Optional[str] = None
    cropped: float = 0.0
    facts: Optional[Facts] = None
    former: Optional[str] = None


def view(path):
    """Return the array in a .npy file, read-only and read where it is used.

    Raises ValueError for a file that holds something else, OSError for one that cannot be opened.
    """
    # Mapped anew each time: a map holds its file open, and a task has more files than a process may open.
    with _parsing:
        return np.lib.format.open_memmap(path, mode="r")


def keep(cases, settings, directory, progress=None, later=(), trained_on=None):
    """Preprocess cases on all cores, or find them preprocessed; return a list of Kept in the order of `cases`.

    A kept copy belongs to the content of the case's files and to the settings: when either changes,
    another one is made. Of cases that are due `later` the header of the image is looked at and nothing is
    kept. The weights of borders that the settings may ask for are there for the first `trained_on` cases, or
    all. `progress(done, total)` is called after each case. Raises one UserError that tells of every case
    that cannot be used; where they are several, in a line each.
    """
    _make_directory(directory)
    # Threads do, as SimpleITK, zlib and hashlib work outside Python's lock; and they are safe beside TensorFlow.
    with concurrent.futures.ThreadPoolExecutor(share_of_cores()) as executor:
        futures = [
            executor.submit(attempted, _keep_case, case, settings, directory, trained_on is None or number < trained_on)
            for number, case in enumerate(cases)
        ]
        futures += [executor.submit(attempted, check_scan, case, settings) for case in later]
        try:
            for done, future in enumerate(concurrent.futures.as_completed(futures), 1):
                result = future.result()
                # Where one copy cannot be written, as on a full disk, no other can.
                if isinstance(result, CannotWrite):
                    raise result
                if progress is not None:
                    progress(done, len(futures))
        finally:
            for future in futures:
                future.cancel()
    results = [future.result() for future in futures]
    errors = [result for result in results if isinstance(result, UserError)]
    if errors:
        raise unusable(errors, len(results))
    return results[: len(cases)]


def keep_in_turn(cases, settings, directory, threads):
    """The same while other work goes on: yields for each case its Kept, or the UserError that it cannot be used."""
    _make_directory(directory)
    return overlapped(lambda case: attempted(_keep_case, case, settings, directory), cases, threads)


def _make_directory(directory):
    try:
        os.makedirs(directory, exist_ok=True)
    except OSError as error:
        raise CannotWrite(
            "{}: cannot be made to keep preprocessed cases ({})".format(directory, error.strerror)
        ) from error


def _keep_case(case, settings, directory, trained_on=True):
    former, content, note = _hashes_of_files(case, settings, directory)
    kept = _kept(case, content, former, settings, directory)
    facts = kept.image.replace(".image.npy", ".facts.npy")
    columns = image_facts.columns(settings["channels"], settings["classes"])
    if not _is_there(kept, settings) or not _is_whole(facts, (columns,), np.float64, settings):
        with _turn_of(case, settings):
            image, label, found = prepare_case(case, settings)
        # Kept too, as the same must be told of a case that is not read again.
        _save(facts, image_facts.row_of(found, settings["classes"]), settings)
        _save(kept.image, image, settings)
        if label is not None:
            _save(kept.label, label, settings)
    if note is not None:
        _save(note, np.frombuffer(content, np.uint8), settings)
    found = image_facts.from_row(view(facts), settings["channels"])
    kept = kept._replace(facts=found)
    kept = _with_cropped(kept, settings) if settings["fit"] == "pad" and kept.label else kept
    # What of a held-out case is measured during the training lies about its structures.
    kept = _with_positions(kept, settings) if settings.get("positions") else kept
    return _with_borders(kept, settings) if trained_on and settings.get("borders") else kept


def _kept(case, content, former, settings, directory):
    """The ``Kept`` of a case whose files have these hashes, bytes, under a name that follows from what is in them."""
    stem = os.path.join(directory, "{}-{}".format(case.name, _key(content, settings)))
    content, former = (hashlib.blake2b(files, digest_size=16).hexdigest() for files in (content, former))
    label = None if case.label is None else stem + ".label.npy"
    return Kept(case, stem + ".image.npy", label, content, former=former)


def _turn_of(case, settings):
    """``large_scan_turns.in_turn`` for a case as it is in its file, or as it is going to be, whichever is larger."""
    try:
        grid = read_grid(case)
    except UserError:
        # Reading will tell what is wrong.
        return in_turn(())
    prepared = shape_before_padding(grid.size, grid.spacing, settings)
    return in_turn(max(grid.size, prepared, key=voxels) + (settings["channels"],))


def _is_there(kept, settings):
    shape = tuple(settings["input_shape"])
    if not _is_whole(kept.image, shape + (settings["channels"],), np.float32, settings):
        return False
    return kept.label is None or _is_whole(kept.label, shape, np.uint8, settings)


def _with_borders(kept, settings):
    """The same with the weights of the borders between structures: in slices, where each has its own number of them."""
    kept = kept._replace(borders=kept.label.replace(".label.npy", ".borders.npy"))
    if not _is_whole(kept.borders, tuple(settings["input_shape"]), np.float32, settings):
        label = np.array(view(kept.label))
        axis = _slice_axis(settings)
        if axis is None:
            weights = border_weights(label)
        else:
            weights = np.stack([border_weights(one) for one in np.moveaxis(label, axis, 0)])
            weights = np.moveaxis(weights, 0, axis)
        _save(kept.borders, weights, settings)
    return kept


def _with_cropped(kept, settings):
    """The same with what cropping takes away, which is kept too: a large label takes its time."""
    path = kept.label.replace(".label.npy", ".cropped.npy")
    if not _is_whole(path, (1,), np.float64, settings):
        with _turn_of(kept.case, settings):
            share = cropped_share(kept.case, settings)
        _save(path, np.array([share]), settings)
    return kept._replace(cropped=float(view(path)[0]))


def _slice_axis(settings):
    """The axis across which the network sees slices, or None: the only one along which a case keeps its own size."""
    own = [axis for axis, size in enumerate(settings["input_shape"]) if size is None]
    return own[0] if len(own) == 1 else None


def _with_positions(kept, settings):
    kept = kept._replace(positions=kept.label.replace(".label.npy", ".positions.npy"))
    if not _is_whole(kept.positions, (None, 4), np.int32, settings):
        label = view(kept.label)
        # A case has the same ones whatever the run, and others than every other case; as it ever had.
        seed = [int(kept.former[first : first + 8], 16) for first in range(0, len(kept.former), 8)]
        _save(kept.positions, foreground.positions(label, settings["classes"], seed), settings)
    return kept


def _key(files, settings):
    """Return a hash of all that decides what the preprocessed case looks like: its files' hashes and the settings."""
    chosen = {name: settings[name] for name in SETTINGS}
    chosen["input_shape"] = [None if size is None else int(size) for size in chosen["input_shape"]]
    chosen["format_version"] = FORMAT_VERSION
    key = hashlib.blake2b(digest_size=16)
    key.update(json.dumps(chosen, sort_keys=True).encode())
    key.update(files)
    return key.hexdigest()


def _hashes_of_files(case, settings, directory):
    """Hashes of a case's files, of what is in them, bytes, and where the latter is to be noted, or None.

    What is in a file follows from its bytes: large ones are not unpacked for it in every run.
    """
    if is_stack(case):
        content = content_of(case)
        return content, content, None
    paths = case.image, case.label
    former = [b"none" if path is None else _hash_of_file(path) for path in paths]
    name = "{}-{}.content.npy".format(case.name, hashlib.blake2b(b"".join(former), digest_size=16).hexdigest())
    note = os.path.join(directory, name)
    if _is_whole(note, (None,), np.uint8, settings):
        return b"".join(former), view(note).tobytes(), None
    content = [_hash_of_content(path, digest) for path, digest in zip(paths, former)]
    return b"".join(former), b"".join(content), None if content == former else note


def _hash_of_content(path, digest):
    """The hash of what is in a file of that hash; the same where it is not compressed, or damaged, as is told later."""
    try:
        return hash_of(path) if path is not None and path.endswith(".gz") else digest
    except (HeaderError, OSError):
        return digest


def _hash_of_file(path):
    content = hashlib.blake2b()
    try:
        with open(path, "rb") as file:
            for chunk in iter(lambda: file.read(READ_AT_ONCE), b""):
                content.update(chunk)
    except OSError as error:
        raise UserError("{}: cannot be read ({})".format(path, error.strerror)) from error
    return content.digest()


def _is_whole(path, shape, dtype, settings):
    """Whether a file holds an array of that shape, of which None may be any size, as ``_save`` writes it."""
    try:
        array = view(path)
    except (OSError, ValueError):
        return False
    fits = len(array.shape) == len(shape) and all(wanted in (None, size) for wanted, size in zip(shape, array.shape))
    in_order = array.flags.f_contiguous if _by_slices(settings) else array.flags.c_contiguous
    return fits and array.dtype == dtype and in_order


def _save(path, array, settings):
    array = np.asfortranarray(array) if _by_slices(settings) else np.ascontiguousarray(array)
    with replace_on_success(path, durable=False) as temporary, open(temporary, "wb") as file:
        # As numpy.save does, which would not say what the system says of a full disk.
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write((array if array.flags.c_contiguous else array.T).data)


def _by_slices(settings):
    """Whether the last axis is the slowest one in a file, so that a slice across z, read by itself, is one piece."""
    return _slice_axis(settings) == 2
