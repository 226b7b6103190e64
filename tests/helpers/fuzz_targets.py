"""What is fuzzed: scans, stacks, dataset.json, archives, flags, a model's folder, and the files of its report.

    python tests/helpers/fuzz_targets.py FOLDER '{"scans": 1000, "archives": 500}' [SEED] [MEGABYTES]

tries so many inputs of each kind in a folder that must not be there, with at most so many megabytes of memory more than
at the start, and prints what came of it as JSON.
"""

import json
import os
import sys
import tarfile
import types
import zlib

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [PROJECT, os.path.join(PROJECT, "tests", "helpers")]

import numpy as np  # noqa: E402
import SimpleITK as sitk  # noqa: E402
from archive_server import file_member, odd_member, tar_of  # noqa: E402
from fuzz_inputs import (  # noqa: E402
    changed_json,
    changed_lines,
    changed_nifti,
    changed_png,
    changed_tar,
    changed_tiff,
    gzipped,
)
from fuzzing import Broken, Kind, fuzz, limit_memory, peak_memory  # noqa: E402
from pages import STRUCTURES, case_in, evaluation_of, log_in, predictions_of  # noqa: E402
from stack_tasks import content_of_image, grey, tiled, truth  # noqa: E402
from synthetic import affine, raw_nifti, scan  # noqa: E402

import download_dataset  # noqa: E402
import main  # noqa: E402
from examples import launching  # noqa: E402
from utils import params  # noqa: E402
from utils.config import recipes  # noqa: E402
from utils.config.flags import FLAGS  # noqa: E402
from utils.config.modes import CHECK, MODES, PLAN  # noqa: E402
from utils.config.parser import build_parser  # noqa: E402
from utils.fetching import archives  # noqa: E402
from utils.html_report import build  # noqa: E402
from utils.imaging import case_files as scans  # noqa: E402
from utils.imaging import nifti, stacks, tasks  # noqa: E402
from utils.preprocessing import auto_shape, cache  # noqa: E402
from utils.system.errors import UserError  # noqa: E402

ARCHIVED = "Task99_Tiny"
PREPARATION = {"resize_interpolator": "linear", "intensities": None, "classes": 3, "channels": 1}
PREPARATIONS = (
    dict(PREPARATION, input_shape=[8, 8, 8], fit="resize", spacing=None),
    dict(PREPARATION, input_shape=[8, 16, 8], fit="pad", spacing=[1.0, 1.5, 2.0]),
    dict(PREPARATION, input_shape=[8, 8, 8], fit="resize", spacing=None, channels=2),
)
SMALL = 1 << 20


def put(content, *path):
    """Write bytes to a file, whose folder is made where missing; return its path."""
    path = os.path.join(*path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)
    return path


def numbered(content, most):
    """A number from 0 to below ``most`` that only the input decides."""
    return zlib.crc32(content) % most


# Scans: everything that reads a NIfTI file, and the mask on its grid.


def scan_seeds():
    label = np.round(2 * scan()).astype(np.float32)
    plain = [
        raw_nifti(sform=(1,) + affine("oblique")),
        raw_nifti(">", qform=(1, 0.1, 0.2, 0.3, 1, 2, 3), array=label),
        raw_nifti(array=scan(shape=(5, 4, 3, 2))),
        raw_nifti(sform=(2,) + affine("left_handed"), array=label),
    ]
    return plain + [gzipped(content) for content in plain[:3]]


def read_scan(content, folder):
    compressed = content[:2] == b"\x1f\x8b"
    name = "scan.nii.gz" if compressed != (numbered(content, 16) == 0) else "scan.nii"
    path = put(content, folder, "data", name)
    outcomes = [
        attempted(
            auto_shape.choose,
            dict(network, input_shape="auto", crop_shape=None, spacing=None, fit=fit, sampling=sampling),
            [tasks.Case("scan", path, None)],
        )
        for network, sampling, fit in (
            ({"model": "vnet", "downscale_blocks": [1]}, "resize", "pad"),
            ({"model": "vnet", "downscale_blocks": [1]}, "resize", "resize"),
            ({"model": "vnet", "downscale_blocks": [1]}, "patch", "pad"),
            ({"model": "unet", "slice_axis": "z", "levels": 2}, "resize", "pad"),
        )
    ]
    preparation = PREPARATIONS[numbered(content, len(PREPARATIONS))]
    for label in (path, None):
        cases = [tasks.Case("scan", path, label)]
        outcomes.append(attempted(cache.keep, cases, preparation, os.path.join(folder, "cache")))
    channels = attempted(nifti.read_channels, path)
    if isinstance(channels, UserError):
        raise channels
    if np.prod(channels[0].GetSize(), dtype=float) < SMALL:
        write_mask(channels[0], os.path.join(folder, "mask.nii.gz"))


def write_mask(image, path):
    mask = np.ones(image.GetSize(), np.uint8)
    nifti.write_mask(mask, image, path)
    back = nifti.to_array(nifti.read_label(path, image, 2))
    if not np.array_equal(back, mask):
        raise Broken("a mask that is read back is another one")


def attempted(function, *arguments):
    """What a function returns, or the UserError that it raises."""
    try:
        return function(*arguments)
    except UserError as error:
        return error


# Stacks: everything that reads an image of them or a mask, and the mask of as many pages.


def stack_seeds():
    pages, masks = [grey(0), grey(1), grey(2)], [truth(number) * np.uint8(255) for number in range(2)]
    colour = grey(shape=(7, 5, 3))
    options = ({}, {"compression": "tiff_lzw"}, {"compression": "packbits"})
    tiff = [content_of_image("TIFF", *pages, **one) for one in options]
    tiff += [content_of_image("TIFF", *masks), content_of_image("TIFF", colour)]
    tiff += [content_of_image("TIFF", grey().astype(np.float32)), tiled(content_of_image("TIFF", grey(shape=(16, 16))))]
    return tiff + [content_of_image("PNG", page) for page in (pages[0], masks[0], colour, grey().astype(np.uint16))]


def read_stack(content, folder):
    # Of the same size, it may be written in the same moment as the one before.
    scans.forget()
    name = "stack.png" if content[:4] == b"\x89PNG" else "stack.tif"
    path, mask = put(content, folder, "task", name), "mask_of_" + name
    put(content, folder, "task", mask)
    description = dict(DESCRIPTION, training=[{"image": name, "label": mask}], test=[])
    put(json.dumps(description).encode(), folder, "task", "dataset.json")
    preparation = dict(PREPARATIONS[0], classes=2 + numbered(content, 2), channels=1 + 2 * (numbered(content, 3) == 0))
    (whole,) = tasks.cases_of_images([path])
    for case in tasks.read_task(os.path.dirname(path), refuse_cases=False).training[:2] + (whole,):
        attempted(cache.keep, [case], preparation, os.path.join(folder, "cache"))
    channels, found = attempted(scans.read_channels, whole), attempted(scans.read_grid, whole)
    if isinstance(channels, UserError):
        raise channels
    if found.GetSize() != channels[0].GetSize() or len(channels) != scans.channels_of(whole):
        raise Broken("the header tells of another size than the pixels have")
    mask = np.ones(found.size, np.uint8)
    if mask.size < SMALL:
        written = os.path.join(folder, "mask.tif")
        scans.write_mask(whole, mask, found, 2, written)
        if not np.array_equal(nifti.to_array(scans.read_mask(whole, written, found, 2)), mask):
            raise Broken("a mask that is read back is another one")


# dataset.json, in a task whose folder has links out of it.

CASES = "abcdef"
DESCRIPTION = {
    "name": "Tiny",
    "modality": {"0": "MRI"},
    "labels": {"0": "background", "1": "Upper", "2": "Lower"},
    "training": [
        {"image": "./imagesTr/{}.nii.gz".format(name), "label": "./labelsTr/{}.nii.gz".format(name)} for name in CASES
    ],
    "test": ["./imagesTs/t.nii.gz"],
}
STACKS = dict(
    DESCRIPTION,
    training=[{"image": "stack.tif", "label": "masks.tif"}, {"image": "pages", "label": "./page_masks"}],
    test=["stack.tif", "./pages/a.png", "pages"],
)
WHOLE = gzipped(raw_nifti(array=np.zeros((2, 2, 2), np.float32)))
STACK, PAGE = content_of_image("TIFF", truth(), truth(1)), content_of_image("PNG", truth())


def make_task(folder, description):
    """A task whose images are whole, with links that lead out of its folder."""
    task = os.path.join(folder, "task")
    for part, names in (("imagesTr", CASES), ("labelsTr", CASES), ("imagesTs", "t")):
        for name in names:
            put(WHOLE, task, part, name + ".nii.gz")
    for name in (
        "stack.tif",
        "masks.tif",
        "pages/a.png",
        "pages/b.png",
        "page_masks/a.png",
        "page_masks/b.png",
        "links/a.png",
    ):
        put(STACK if name.endswith(".tif") else PAGE, task, *name.split("/"))
    os.symlink(put(PAGE, folder, "elsewhere", "c.png"), os.path.join(task, "links", "c.png"))
    outside = put(WHOLE, folder, "elsewhere", "b.nii.gz")
    os.symlink(outside, os.path.join(task, "imagesTr", "out.nii.gz"))
    os.symlink(os.path.dirname(outside), os.path.join(task, "imagesTr", "away"))
    put(description, task, "dataset.json")
    return task


def read_description(content, folder):
    task = make_task(folder, content)
    mode = ("train", "train_and_predict", CHECK)[numbered(content, 5) % 3]
    more = (["--fit", "pad", "--input_shape", "auto"], [], ["--folds", "2"])[numbered(content, 3)]
    # Stacks are none of the other network's.
    more = more + ["--model", "unet"] * (b"stack" in content)
    model_dir = os.path.join(folder, "model")
    return planned(["--data_dir", task, "--model_dir", model_dir, "--exec_mode", mode] + more, task)


def planned(arguments, task=None):
    """The exit status of main.py up to the point where TensorFlow would load; no case may lie outside the task."""

    def check(settings, job):
        inside = os.path.realpath(task or os.curdir) + os.sep
        for case in job.training + job.held_out + job.predicted:
            paths = [path for path in (case.image, case.label) if path]
            if case.pages == tasks.Pages():
                paths += [page.path for page in stacks.pages_of(case.image)]
            for path in paths:
                if task and not os.path.realpath(path).startswith(inside):
                    raise Broken("uses a file outside of the task: " + ascii(path))

    if PLAN in arguments or "--exec_mode=" + PLAN in arguments:
        # A trial trains.
        arguments = ["--no_trial"] + arguments
    before = sys.modules.get("utils.runner")
    sys.modules["utils.runner"] = types.SimpleNamespace(run=check)
    try:
        return main.main(arguments)
    finally:
        sys.modules.pop("utils.runner")
        if before is not None:
            sys.modules["utils.runner"] = before


# Archives


def archive_seeds():
    members = [
        odd_member(ARCHIVED, tarfile.DIRTYPE),
        file_member(ARCHIVED + "/dataset.json", b"{}"),
        file_member(ARCHIVED + "/imagesTr/a.nii.gz", bytes(700)),
        file_member(ARCHIVED + "/imagesTr/" + "b" * 90 + ".nii.gz", b"b"),
        file_member(ARCHIVED + "/imagesTr/\u00e9.nii.gz", b"e"),
    ]
    forms = (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT)
    plain = [tar_of(*members, format=form) for form in forms]
    return plain + [gzipped(plain[0]), b"PK\x03\x04" + bytes(40)]


def unpack(content, folder):
    archive = put(content, folder, "archive.tar")
    data = os.path.join(folder, "data")
    os.mkdir(data)
    try:
        archives.unpack(archive, ARCHIVED, data)
    except UserError:
        if os.listdir(data):
            raise Broken("a refused archive left something") from None
        raise
    unpacked = [os.path.join(parent, name) for parent, _, names in os.walk(data) for name in names]
    if os.listdir(data) != [ARCHIVED] or any(os.path.islink(path) for path in unpacked):
        raise Broken("unpacked something else than a folder of files")
    if sum(os.path.getsize(path) for path in unpacked) > len(content):
        raise Broken("unpacked more than the archive holds")


# Flags, one argument a line; of main.py, of an example script, or of download_dataset.py.


def flag_seeds():
    start = ["--data_dir", "task", "--model_dir", "model"]
    lines = [["main.py"] + start + ["--exec_mode", mode] for mode in MODES]
    lines += [["main.py"] + start + ["--benchmark", "--exec_mode", "train", "--output", "benchmark.json"]]
    lines += [["main.py", "--exec_mode", "predict", "--model_dir", "model", "--images", "task/imagesTs/t.nii.gz"]]
    for flag in FLAGS.values():
        value = recipes.defaults("tuned")[flag.name]
        words = [str(word) for word in (value if isinstance(value, list) else [value])]
        lines.append(["main.py"] + start + ["--" + flag.name] + (["1", "1", "1"] if value is None else words))
    lines.append(["vnet_train.py"] + start + ["--gpus", "1", "--batch_size", "2", "--epochs", "3", "--amp"])
    lines.append(["vnet_train.py"] + start + ["--hosts", "one:1,two:1", "--recipe", "tuned", "--train_split", "0.5"])
    lines.append(["download_dataset.py", "--data_dir", "data", "--dataset", "phantom", "--seed", "3"])
    lines.append(["download_dataset.py", "--data_dir", "data", "--source", "mirror", "--url", "http://127.0.0.1:9/a"])
    return ["\n".join(words).encode() for words in lines]


def within(folder, word):
    """A word of a command line whose path, if it is one, leads into the folder: a run may write what its flags name."""
    flag, equals, path = word.rpartition("=") if word.startswith("--") else ("", "", word)
    if os.path.isabs(path) or os.pardir in path.split(os.sep):
        path = folder + os.path.normpath(os.sep + path.lstrip(os.sep))
    return flag + equals + path


def use_flags(content, folder):
    program, *arguments = content.decode("utf-8", "surrogateescape").split("\n")
    arguments = [within(folder, word) for word in arguments]
    make_task(folder, json.dumps(DESCRIPTION).encode())
    os.chdir(folder)
    try:
        if program == "vnet_train.py":
            launching.example_command(program, "", "train", [("--train_split", "1.0"), ("--augment",)], arguments)
        elif program == "download_dataset.py":
            # As far as the network.
            download_dataset.check(download_dataset.build_parser().parse_args(arguments))
        else:
            return planned(arguments)
    finally:
        os.chdir(PROJECT)


# A model's folder: a file's name in the first line, and its content.


def folder_seeds():
    settings = vars(build_parser().parse_args([]))
    settings = dict(recipes.defaults("reference"), **settings)
    settings = {name: settings[name] for name in params.MODEL_SETTINGS + params.RUN_SETTINGS}
    settings.update(task="Tiny", labels=["background", "Upper", "Lower"], modalities=["MRI"], workers=1)
    tuned = dict(settings, fit="pad", spacing=[1.0, 1.0, 1.0], crop_shape=[8, 8, 8], folds=2)
    division = {"split_seed": 0, "train_split": 0.9, "training": list("abcde"), "held_out": ["f"]}
    contents = [(params.FILE_NAME, settings), (params.FILE_NAME, tuned), ("split.json", division)]
    return [name.encode() + b"\n" + json.dumps(content).encode() for name, content in contents]


def changed_in_folder(change):
    """The same change, of all but the first line."""

    def changed(random, content):
        name, _, rest = content.partition(b"\n")
        return name + b"\n" + change(random, rest)

    return changed


def use_model_folder(content, folder):
    task = make_task(folder, json.dumps(DESCRIPTION).encode())
    model_dir = os.path.join(folder, "model")
    files = dict(seed.split(b"\n", 1) for seed in reversed(folder_seeds()))
    name, _, changed = content.partition(b"\n")
    if name in files:
        files[name] = changed
    for name, text in files.items():
        put(text, model_dir, name.decode())
    for part in ("", "fold_0", "fold_1"):
        put(files[b"split.json"], model_dir, part, "split.json")
        put(b"", model_dir, part, "model.ckpt-9.index")
    mode = MODES[numbered(content, len(MODES))]
    return planned(["--data_dir", task, "--model_dir", model_dir, "--exec_mode", mode], task)


# The report, from files of a model's folder: a file's name in the first line, and its content.


def report_seeds():
    structures = list(STRUCTURES)
    settings = {"task": "Tiny", "labels": ["background"] + structures, "modalities": ["MRI"], "input_shape": [32, 8, 8]}
    scans = {"evaluated": [["one", "scans/one.nii.gz", "scans/one_truth.nii.gz"]], "predicted": []}
    contents = [
        ("evaluation.json", evaluation_of(["one", "two", "three"])),
        ("predictions.json", predictions_of(["one", "four"])),
        ("params.json", settings),
        ("report/scans.json", scans),
    ]
    seeds = [name.encode() + b"\n" + json.dumps(content).encode() for name, content in contents]
    log = b'DLLL {"type": "LOG", "step": [1], "data": {"loss": 0.5, "soft_dice_Front": 0.25}}\n'
    return seeds + [b"dllogger.json\n" + log + log.replace(b"[1]", b"[2]")]


def write_report(content, folder):
    model_dir = os.path.join(folder, "model")
    case = case_in(os.path.join(folder, "scans"), model_dir, "one", shape=(6, 5, 4))
    name, _, changed = content.partition(b"\n")
    if name in {seed.partition(b"\n")[0] for seed in report_seeds()}:
        put(changed, model_dir, name.decode())
    log = os.path.join(model_dir, "dllogger.json")
    if not os.path.exists(log):
        log_in(model_dir, epochs=2)
    build.write(model_dir, [case], STRUCTURES, predicted=numbered(content, 2) == 0, logs=[log])
    with open(os.path.join(model_dir, "report", "index.html"), encoding="utf-8") as file:
        page = file.read().lower()
    # Our own: the page's style sheet and script have neither.
    if any(text in page for text in ("<img", "<svg onload", "<script>alert", "javascript:")):
        raise Broken("what a file holds has become a part of the page")


KINDS = (
    Kind("scans", scan_seeds(), [changed_nifti], read_scan),
    Kind("stacks", stack_seeds(), [changed_tiff, changed_png], read_stack),
    Kind(
        "descriptions",
        [json.dumps(description).encode() for description in (DESCRIPTION, STACKS)],
        [changed_json],
        read_description,
    ),
    Kind("archives", archive_seeds(), [changed_tar], unpack),
    Kind("flags", flag_seeds(), [changed_lines], use_flags),
    Kind("model folders", folder_seeds(), [changed_in_folder(changed_json)], use_model_folder),
    Kind("reports", report_seeds(), [changed_in_folder(changed_json)], write_report),
)


def run(root, counts, seed=0, megabytes=None):
    """Fuzz kinds, ``counts`` by name; returns what came of each, and the memory that it took."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    if megabytes is not None:
        limit_memory(megabytes << 20)
    before = peak_memory()
    results = [fuzz(kind, counts[kind.name], seed, root) for kind in KINDS if counts.get(kind.name)]
    return {"kinds": results, "megabytes": (peak_memory() - before) >> 20}


if __name__ == "__main__":
    import faulthandler

    faulthandler.enable()
    folder, counts, *numbers = sys.argv[1:]
    print(json.dumps(run(folder, json.loads(counts), *map(int, numbers)), indent=1))
