"""Which scans there are: `dataset.json` of a Medical Segmentation Decathlon task, or a list of files."""

import collections
import os
from typing import NamedTuple, Optional, Tuple

from utils.errors import UserError
from utils.files import read_json
from utils.printable import is_printable

EXTENSIONS = (".nii.gz", ".nii")
NAMED_AT_ONCE = 3
# Labels are bytes.
MOST_NAMES = 256

Case = NamedTuple("Case", [("name", str), ("image", str), ("label", Optional[str])])
Case.__doc__ = "One scan: its name (file name without extension), the path of its image, of its label or None."

Task = NamedTuple(
    "Task",
    [
        ("name", str),
        ("directory", str),
        ("labels", Tuple[str, ...]),
        ("modalities", Tuple[str, ...]),
        ("training", Tuple[Case, ...]),
        ("test", Tuple[Case, ...]),
    ],
)
Task.__doc__ = "A task: structure names by label value (the first is background), channel names, cases by name."


def case_name(path):
    """Return the file name of `path` without its folder and without .nii or .nii.gz; refuse any other extension."""
    name = os.path.basename(path)
    for extension in EXTENSIONS:
        if name.endswith(extension) and len(name) > len(extension):
            return name[: -len(extension)]
    raise UserError("%s: not a NIfTI file name: it must end with .nii or .nii.gz" % _shown(path))


def cases_of_images(paths):
    """Return the unlabelled cases of image files, in the order given.

    Raises UserError for an empty list, missing files and two files with the same case name.
    """
    if not paths:
        raise UserError("--images: no file given: name at least one .nii or .nii.gz file")
    for path in paths:
        if not is_printable(path):
            raise UserError("--images: %s: has characters that cannot be shown: rename it" % ascii(path))
    try:
        cases = tuple(Case(case_name(path), path, None) for path in paths)
    except UserError as error:
        raise UserError("--images: %s" % error) from error
    _refuse_missing([case.image for case in cases], "--images")
    _refuse_duplicates(cases, "--images")
    return cases


def read_task(data_dir, refuse_cases=True):
    """Read `<data_dir>/dataset.json` and check that it describes files that are there.

    Without `refuse_cases` missing files and cases of one name are let pass, for those who want to tell of each.

    Entries whose file name starts with `._` (left by macOS archives) are ignored. Raises UserError when
    the folder or the file is missing, the file has not the MSD form, a path leads out of the folder,
    image or label files are missing, or two cases have the same name.
    """
    path = _dataset_file(data_dir)
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError("%s: must hold a JSON object as in the Medical Segmentation Decathlon" % path)
    training = _entries(content, "training", path)
    test = _entries(content, "test", path) if content.get("test") is not None else []
    task = Task(
        name=_task_name(content, data_dir, path),
        directory=data_dir,
        labels=_numbered_names(content, "labels", 2, path),
        modalities=_numbered_names(content, "modality", 1, path),
        training=_sorted_cases(_training_case(entry, data_dir, path) for entry in training),
        test=_sorted_cases(_test_case(entry, data_dir, path) for entry in test),
    )
    cases = task.training + task.test
    if not cases:
        raise UserError("%s: lists neither training nor test images: nothing can be done with it" % path)
    if not refuse_cases:
        return task
    _refuse_duplicates(cases, path)
    _refuse_missing([name for case in cases for name in (case.image, case.label) if name], path)
    return task


def _dataset_file(data_dir):
    if not os.path.isdir(data_dir):
        raise UserError("--data_dir %s: no such folder: download_dataset.py fetches a task" % _shown(data_dir))
    path = os.path.join(data_dir, "dataset.json")
    if not os.path.isfile(path):
        raise UserError(
            "--data_dir %s: has no dataset.json: give the folder of one task, as download_dataset.py makes it"
            % _shown(data_dir)
        )
    return path


def _task_name(content, data_dir, path):
    name = content.get("name", os.path.basename(os.path.abspath(data_dir)))
    if not isinstance(name, str) or not name.strip() or not is_printable(name):
        raise UserError('%s: "name" must be a text of one line' % path)
    return name


def _numbered_names(content, key, least, path):
    """Return the names of {"0": name, "1": name, ...} in the order of their numbers."""
    if key not in content:
        raise UserError('%s: has no "%s": add it as in the Medical Segmentation Decathlon' % (path, key))
    names = content[key]
    if not isinstance(names, dict) or not all(isinstance(name, str) and name.strip() for name in names.values()):
        raise UserError('%s: "%s" must be an object of numbers and names, such as {"0": "..."}' % (path, key))
    if not all(map(is_printable, names.values())):
        raise UserError('%s: "%s" has a name of several lines, or with characters that cannot be shown' % (path, key))
    try:
        by_number = {int(number): name for number, name in names.items()}
    except ValueError as error:
        raise UserError('%s: "%s" must have whole numbers as keys (%s)' % (path, key, _shown(error))) from error
    if len(names) > MOST_NAMES:
        raise UserError('%s: "%s" has %d names: %d are possible' % (path, key, len(names), MOST_NAMES))
    if len(names) < least or sorted(by_number) != list(range(len(names))):
        raise UserError(
            '%s: "%s" must number at least %d name%s 0, 1, 2, ... without a gap, not %s'
            % (path, key, least, "" if least == 1 else "s", ", ".join(_shown(number) for number in names) or "none")
        )
    if len(set(names.values())) < len(names):
        raise UserError('%s: "%s" gives two numbers the same name' % (path, key))
    return tuple(by_number[number] for number in range(len(names)))


def _entries(content, key, path):
    entries = content.get(key)
    if not isinstance(entries, list):
        raise UserError('%s: "%s" must be a list' % (path, key))
    return [entry for entry in entries if not _is_macos_leftover(entry)]


def _is_macos_leftover(entry):
    image = entry.get("image") if isinstance(entry, dict) else entry
    return isinstance(image, str) and os.path.basename(image).startswith("._")


def _training_case(entry, data_dir, path):
    if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in ("image", "label")):
        raise UserError('%s: "training" must list objects {"image": file, "label": file}' % path)
    label = _inside(entry["label"], data_dir, path)
    case_name(label)
    image = _inside(entry["image"], data_dir, path)
    return Case(case_name(image), image, label)


def _test_case(entry, data_dir, path):
    if not isinstance(entry, str):
        raise UserError('%s: "test" must list file names' % path)
    image = _inside(entry, data_dir, path)
    return Case(case_name(image), image, None)


def _inside(name, data_dir, path):
    """Return the path of a file that dataset.json names, which must lie within the task's folder."""
    if not name or not is_printable(name):
        raise UserError("%s: %s is not a file name" % (path, ascii(name)))
    # As it is used: where a link is on the way, "link/../scan" and "scan" are two files.
    used = os.path.join(data_dir, os.path.normpath(name))
    folder, resolved = os.path.realpath(data_dir), os.path.realpath(used)
    if os.path.isabs(name) or os.path.commonpath([folder, resolved]) != folder:
        raise UserError("%s: %s leads out of the task's folder: name files within it" % (path, _shown(name)))
    return used


def _sorted_cases(cases):
    return tuple(sorted(cases, key=lambda case: case.name))


def _refuse_missing(paths, source):
    missing = [path for path in paths if not os.path.isfile(path)]
    if missing:
        raise UserError(
            "%s: %d of %d files missing: %s" % (source, len(missing), len(paths), _first_few(map(_shown, missing)))
        )


def _refuse_duplicates(cases, source):
    counts = collections.Counter(case.name for case in cases)
    twice = sorted(name for name, count in counts.items() if count > 1)
    if twice:
        raise UserError("%s: two images with the same name: %s: rename one" % (source, _first_few(map(_shown, twice))))


def _first_few(names):
    names = list(names)
    return ", ".join(names[:NAMED_AT_ONCE]) + (", ..." if len(names) > NAMED_AT_ONCE else "")


def _shown(value):
    text = str(value)
    return text if is_printable(text) else ascii(text)
