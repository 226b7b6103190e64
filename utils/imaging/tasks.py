"""Which scans there are: `dataset.json` of a Medical Segmentation Decathlon task, or a list of files.

Instead of scans there may be stacks of 2-D images (`utils.imaging.stacks`): each page that has a mask is a case of its
own, so that pages are dealt out, and scored, one by one; a stack to be predicted is one case with all its pages.
"""

import os
from typing import NamedTuple, Optional, Tuple

from utils.imaging import stacks
from utils.imaging.task_paths import inside, is_same_file, refuse_leading_out, shown, with_neighbour
from utils.system.errors import UserError
from utils.system.files import read_json
from utils.system.printable import is_printable

EXTENSIONS = (".nii.gz", ".nii")
ENTRY = '{"image": file, "label": file}'
NAMED_AT_ONCE = 3
LONGEST_SHOWN = 80
# Labels are bytes.
MOST_NAMES = 256


class Pages(NamedTuple):
    """Where a case lies in stacks: its page and that of its mask; without them it is a whole stack without masks.

    ``problem`` is what is wrong with the stacks, where that is known before they are read.
    """

    image: Optional[stacks.Page] = None
    mask: Optional[stacks.Page] = None
    problem: Optional[str] = None


class Case(NamedTuple):
    """One scan: its name (file name without extension), the path of its image, of its label or None.

    ``pages`` is None for a scan; a case with ``Pages`` is a page of a stack, or a whole one.
    """

    name: str
    image: str
    label: Optional[str]
    pages: Optional[Pages] = None


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
    """Return the file name of a scan without its folder and without .nii or .nii.gz; refuse any other extension."""
    name = os.path.basename(path)
    for extension in EXTENSIONS:
        if name.endswith(extension) and len(name) > len(extension):
            return name[: -len(extension)]
    raise UserError(
        "{}: not a NIfTI file name: it must end with .nii or .nii.gz (images end with .tif or .png)".format(shown(path))
    )


def cases_of_images(paths):
    """Return the unlabelled cases of image files, in the order given.

    Raises UserError for an empty list, missing files, two files with the same case name, and scans beside stacks.
    """
    if not paths:
        raise UserError("--images: no file given: name at least one .nii or .nii.gz file, or a stack of images")
    for path in paths:
        if not is_printable(path):
            raise UserError("--images: {}: has characters that cannot be shown: rename it".format(ascii(path)))
    try:
        cases = tuple(_unlabelled_case(path) for path in paths)
    except UserError as error:
        raise UserError("--images: {}".format(error)) from error
    _refuse_missing(cases, "--images")
    _refuse_duplicates(cases, "--images")
    _refuse_mixture(cases, "--images")
    return cases


def read_task(data_dir, refuse_cases=True):
    """Read `<data_dir>/dataset.json` and check that it describes files that are there.

    Where there is no such file, the folder may have the form of the ISBI 2012 challenge: train-volume, train-labels and
    test-volume, stacks of images.

    Without `refuse_cases` missing files and cases of one name are let pass, for those who want to tell of each.

    Entries whose file name starts with `._` (left by macOS archives) are ignored. Raises UserError when
    the folder or the file is missing, the file has not the MSD form, a path leads out of the folder,
    image or label files are missing, or two cases have the same name.
    """
    path, content = _description(data_dir)
    if not isinstance(content, dict):
        raise UserError("{}: must hold a JSON object as in the Medical Segmentation Decathlon".format(path))
    _refuse_other_forms(content, path)
    training = _entries(content, "training", path)
    test = _entries(content, "test", path) if content.get("test") is not None else []
    task = Task(
        name=_task_name(content, data_dir, path),
        directory=data_dir,
        labels=_numbered_names(content, "labels", 2, path),
        modalities=_numbered_names(content, "modality", 1, path),
        training=_sorted_cases(
            case for place, entry in training for case in _training_cases(entry, data_dir, place, refuse_cases)
        ),
        test=_sorted_cases(_test_case(entry, data_dir, place) for place, entry in test),
    )
    cases = task.training + task.test
    if not cases:
        raise UserError("{}: lists neither training nor test images: list some".format(path))
    _refuse_mixture(cases, path)
    if not refuse_cases:
        return task
    _refuse_duplicates(cases, path)
    _refuse_missing(cases, path)
    return task


def _description(data_dir):
    """The file or folder that describes a task, and what it says."""
    if not os.path.isdir(data_dir):
        raise UserError("--data_dir {}: no such folder: download_dataset.py fetches a task".format(shown(data_dir)))
    path = os.path.join(data_dir, "dataset.json")
    if os.path.isfile(path):
        return path, read_json(path)
    for name in filter(None, stacks.parts_of(data_dir)):
        # Before anything is read.
        _pages_inside(inside(name, data_dir, data_dir), data_dir, data_dir)
    content = stacks.describe(data_dir)
    if content is None:
        raise UserError(
            "--data_dir {}: has no dataset.json: give the folder of one task, as download_dataset.py makes it".format(
                shown(data_dir)
            )
        )
    return data_dir, content


def _task_name(content, data_dir, path):
    name = content.get("name", os.path.basename(os.path.abspath(data_dir)))
    if not isinstance(name, str) or not name.strip() or not is_printable(name):
        raise UserError('{}: "name" must be a text of one line: write another, or leave it out'.format(path))
    return name


def _numbered_names(content, key, least, path):
    """Return the names of {"0": name, "1": name, ...} in the order of their numbers."""
    if key not in content:
        example = '{"0": "MRI"}' if key == "modality" else '{"0": "background", "1": "..."}'
        raise UserError(
            '{}: has no "{}": add it as in the Medical Segmentation Decathlon, such as "{}": {}'.format(
                path, key, key, example
            )
        )
    names = content[key]
    if not isinstance(names, dict) or not all(isinstance(name, str) and name.strip() for name in names.values()):
        # As nnU-Net has its labels.
        turned = isinstance(names, dict) and names and all(type(number) is int for number in names.values())
        told = ", not of names and numbers: turn them round" if turned else ""
        raise UserError(
            '{}: "{}" must be an object of numbers and names, such as {{"0": "..."}}{}'.format(path, key, told)
        )
    if not all(map(is_printable, names.values())):
        raise UserError(
            '{}: "{}" has a name of several lines, or with characters that cannot be shown: write another'.format(
                path, key
            )
        )
    try:
        by_number = {int(number): name for number, name in names.items()}
    except ValueError as error:
        raise UserError(
            '{}: "{}" must have whole numbers as keys, such as {{"0": "..."}} ({})'.format(path, key, shown(error))
        ) from error
    if len(names) > MOST_NAMES:
        raise UserError(
            '{}: "{}" has {} names: {} are possible: leave some out'.format(path, key, len(names), MOST_NAMES)
        )
    if len(names) < least or sorted(by_number) != list(range(len(names))):
        raise UserError(
            '{}: "{}" must number at least {} name{} 0, 1, 2, ... without a gap, not {}: {}'.format(
                path,
                key,
                least,
                "" if least == 1 else "s",
                ", ".join(shown(number) for number in names) or "none",
                "number all values up to the largest, the background 0" if key == "labels" else "number all channels",
            )
        )
    if len(set(names.values())) < len(names):
        raise UserError('{}: "{}" gives two numbers the same name: rename one'.format(path, key))
    return tuple(by_number[number] for number in range(len(names)))


def _refuse_other_forms(content, path):
    """Raises UserError for what nnU-Net writes, whose cases are the files of folders."""
    if isinstance(content.get("training"), list) or not {"channel_names", "file_ending"} & set(content):
        return
    raise UserError(
        "{}: has the form of nnU-Net, which lists no cases: write one as in the Medical Segmentation Decathlon, with "
        '"modality" {{"0": "..."}}, "labels" {{"0": "background", "1": "..."}} and "training" [{}, ...]'.format(
            path, ENTRY
        )
    )


def _entries(content, key, path):
    """The entries of a list, each behind the words that tell where it is."""
    entries = content.get(key)
    if not isinstance(entries, list):
        form = ENTRY if key == "training" else "file"
        raise UserError('{}: "{}" must be a list: write "{}": [{}, ...]'.format(path, key, key, form))
    places = ('{}: entry {} of "{}"'.format(path, number, key) for number in range(1, len(entries) + 1))
    return [(place, entry) for place, entry in zip(places, entries) if not _is_macos_leftover(entry)]


def _is_macos_leftover(entry):
    image = entry.get("image") if isinstance(entry, dict) else entry
    return isinstance(image, str) and os.path.basename(image).startswith("._")


def _refuse_entry(entry, place):
    """Raises UserError for an entry of "training" that is not an image and its label."""
    if not isinstance(entry, dict) or not {"image", "label"} & set(entry):
        raise UserError('{}: "training" must list objects {}, not {}'.format(place, ENTRY, _short(entry)))
    for key, other in (("image", "label"), ("label", "image")):
        if key not in entry:
            also = ', or list the image in "test"' if key == "label" else ""
            raise UserError('{} ({}): has no "{}": add it{}'.format(place, _short(entry[other]), key, also))
        if isinstance(entry[key], list):
            also = ", all channels as a fourth axis" if key == "image" else ""
            raise UserError('{}: its "{}" are several files: name one{}'.format(place, key, also))
        if not isinstance(entry[key], str):
            raise UserError('{}: its "{}" must be a file name, not {}'.format(place, key, _short(entry[key])))


def _short(value):
    text = ascii(value)
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "..."


def _training_cases(entry, data_dir, place, refuse):
    """The case of an entry, or those of all pages of a stack."""
    _refuse_entry(entry, place)
    label = inside(entry["label"], data_dir, place)
    image = inside(entry["image"], data_dir, place)
    if is_same_file(image, label):
        raise UserError("{}: {} is both image and label: correct one of them".format(place, shown(entry["image"])))
    if not _is_stack(image):
        case_name(label)
        return [Case(case_name(image), image, label)]
    if not _is_stack(label):
        raise UserError(
            "{}: {} has images, and {} is no stack of masks: name a TIFF file or a folder of images".format(
                place, entry["image"], entry["label"]
            )
        )
    for stack in (image, label):
        _pages_inside(stack, data_dir, place)
    try:
        pages = stacks.pages_of(image)
        masks = stacks.mask_pages(pages, label)
    except UserError as error:
        if refuse:
            raise
        return [Case(_stack_name(image), image, label, Pages(problem=str(error)))]
    return [Case(page.name, page.path, mask.path, Pages(page, mask)) for page, mask in zip(pages, masks)]


def _test_case(entry, data_dir, place):
    if not isinstance(entry, str):
        raise UserError('{}: "test" must list file names, not {}'.format(place, _short(entry)))
    image = inside(entry, data_dir, place)
    case = _unlabelled_case(image)
    if case.pages is not None:
        _pages_inside(image, data_dir, place)
    return case


def _unlabelled_case(path):
    return Case(_stack_name(path), path, None, Pages()) if _is_stack(path) else Case(case_name(path), path, None)


def _is_stack(path):
    """Whether a path is that of a stack; a folder that is called as scans are is no stack."""
    return not path.endswith(EXTENSIONS) and stacks.is_stack(path)


def _stack_name(path):
    """The name of a stack: that of its folder, or of its file without the extension."""
    name = os.path.basename(os.path.abspath(path))
    if not os.path.isdir(path):
        name = os.path.splitext(name)[0]
    if not name or name.startswith("."):
        raise UserError("{}: has no name to call its mask by: rename it".format(shown(path)))
    return name


def _pages_inside(path, data_dir, source):
    """Refuse a stack, a folder, with files that links lead to from outside of the task's folder."""
    try:
        names = os.listdir(path)
    except OSError:
        # A file; or reading tells what is wrong.
        return
    for used in (os.path.join(path, name) for name in names):
        refuse_leading_out(used, data_dir, source, shown(used))


def _sorted_cases(cases):
    return tuple(sorted(cases, key=lambda case: case.name))


def _refuse_missing(cases, source):
    paths = [path for case in cases for path in (case.image, case.label) if path]
    stacked = {case.image for case in cases if case.pages is not None}
    missing = [path for path in paths if not os.path.isfile(path) and not (path in stacked and os.path.isdir(path))]
    if missing:
        raise UserError(
            "{}: {} of {} files missing: {}: put them there, or correct what names them".format(
                source, len(missing), len(paths), _first_few(map(with_neighbour, missing))
            )
        )


def name_taken(case, earlier):
    """What is wrong with a case that has the name of an earlier one, and what to do: it is the same, or another."""
    if is_same_file(case.image, earlier.image):
        return "{} is named twice: delete the repeated entry".format(shown(case.image))
    return "two images with the same name: {} and {}: rename one".format(shown(earlier.image), shown(case.image))


def _refuse_duplicates(cases, source):
    first, taken = {}, []
    for case in cases:
        if first.setdefault(case.name, case) is not case:
            taken.append(name_taken(case, first[case.name]))
    if taken:
        more = " ({} more like this)".format(len(taken) - 1) if len(taken) > 1 else ""
        raise UserError("{}: {}{}".format(source, taken[0], more))


def _refuse_mixture(cases, source):
    kinds = {case.pages is None: case for case in reversed(cases)}
    if len(kinds) > 1:
        raise UserError(
            "{}: {} is a scan and {} a stack of images: use them one after the other, not together".format(
                source, shown(kinds[True].image), shown(kinds[False].image)
            )
        )


def _first_few(names):
    names = list(names)
    return ", ".join(names[:NAMED_AT_ONCE]) + (", ..." if len(names) > NAMED_AT_ONCE else "")
