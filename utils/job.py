"""What a run works on: the cases of each of its parts, known before TensorFlow is loaded."""

import os
from typing import Any, Dict, NamedTuple, Tuple

from utils.config import memory_rules
from utils.config.modes import EVALUATION_MODES, PREDICTION_MODES, TRAINING_MODES
from utils.config.network_flags import UNET
from utils.imaging import split, tasks
from utils.imaging.case_files import is_stack
from utils.imaging.tasks import Case
from utils.model_dir import paths as model_folder
from utils.model_dir import settings as model_settings
from utils.model_dir.settings import SCANS, STACKS
from utils.params import binding_settings
from utils.preprocessing import auto_shape
from utils.system import launch
from utils.system.errors import UserError
from utils.system.files import RESTORE


class Job(NamedTuple):
    """The cases a run trains on, evaluates and predicts; empty where it does not.

    ``description`` holds ``task`` (name), ``labels`` (structure names by value, background first), ``modalities``
    (names by channel), ``image_kind`` (scans or stacks), and what ``utils.preprocessing.auto_shape.choose`` returns.
    ``folds`` are the jobs of a cross-validation's folds; ``held_out`` then holds the cases of all of them, fold by
    fold.
    """

    description: Dict[str, Any]
    training: Tuple[Case, ...] = ()
    held_out: Tuple[Case, ...] = ()
    predicted: Tuple[Case, ...] = ()
    folds: Tuple["Job", ...] = ()


def plan(params):
    """The ``Job`` of a validated params dict.

    Raises:
        UserError: the task cannot be read, is not what the model was trained for, or has no cases for a part
            of the execution mode, or the network cannot fit in memory.
    """
    task = tasks.read_task(params["data_dir"]) if params["data_dir"] else None
    stored = binding_settings(params)
    if task is not None:
        cases = task.training + task.test
        if stored is not None:
            _refuse_other_kind(params, "data_dir", stored["image_kind"], cases)
        refuse_stacks(params, cases)
    job = _benchmark_job(task, params) if params["benchmark"] else _planned(task, params, stored)
    _refuse_other_kind(params, "images", job.description["image_kind"], job.predicted)
    refuse_stacks(params, job.predicted)
    memory_rules.check(dict(params, **job.description), job)
    return job


def refuse_stacks(params, cases):
    """Raises UserError for cases that are stacks of images where the params are those of a network of volumes."""
    stack = next((case for case in cases if is_stack(case)), None)
    if stack is None:
        return
    if params["model"] != UNET:
        raise UserError("--model vnet: {} is a stack of images, not a volume: use --model unet".format(stack.image))
    if params["slice_axis"] != "z":
        raise UserError(
            "--slice_axis {}: the pages of {} are the slices: use --slice_axis z".format(
                params["slice_axis"], stack.image
            )
        )


def _refuse_other_kind(params, flag, kind, cases):
    """Raises UserError for cases that are no images of the kind that the model is trained on, which ``flag`` names."""
    other = next((case for case in cases if _kind_of(case) != kind), None)
    if other is not None:
        raise UserError(
            "--{} {}: is a {}, but the model in {} is trained on {}: give it {}, or use another --model_dir".format(
                flag,
                other.image,
                "scan" if kind == STACKS else "stack of images",
                params["model_dir"],
                "stacks of images" if kind == STACKS else "scans",
                "stacks" if kind == STACKS else "scans",
            )
        )


def _kind_of(case):
    return STACKS if is_stack(case) else SCANS


def _planned(task, params, stored):
    mode = params["exec_mode"]
    job = Job(_describe(task, params) if stored is None else _described(stored, task, params))
    if mode in TRAINING_MODES or mode in EVALUATION_MODES:
        job = _with_labelled_cases(job, task, params, stored)
    if mode in PREDICTION_MODES:
        job = job._replace(predicted=tasks.cases_of_images(params["images"]) if params["images"] else task.test)
    return job


def _benchmark_job(task, params):
    """Throughput depends on no split and no trained model."""
    if params["exec_mode"] == "predict":
        return Job(_describe(task, params), predicted=task.test or task.training)
    if not task.training:
        raise UserError(
            "--data_dir {}: lists no labelled images to train on: give a task that has some".format(params["data_dir"])
        )
    return Job(_describe(task, params), training=task.training)


def _describe(task, params):
    cases = task.training or task.test
    description = {"task": task.name, "labels": list(task.labels), "modalities": list(task.modalities)}
    # A task has one kind of images.
    return dict(description, image_kind=_kind_of(cases[0]), **auto_shape.choose(params, cases))


def _described(stored, task, params):
    """What the model was trained for, which the task at hand must not contradict."""
    for name in ("labels", "modalities"):
        if task is not None and list(getattr(task, name)) != stored[name]:
            raise UserError(
                "--data_dir {}: its {} are {}, but the model in {} was trained for {}: use another --model_dir".format(
                    params["data_dir"],
                    name,
                    ", ".join(getattr(task, name)),
                    params["model_dir"],
                    ", ".join(stored[name]),
                )
            )
    named = task is not None and task.name != os.path.basename(os.path.abspath(params["data_dir"]))
    if named and task.name != stored["task"] and params["exec_mode"] != "predict":
        # A task without a name goes by that of its folder, which may change.
        raise UserError(
            "--data_dir {}: is the task {}, but the model in {} was trained on {}: use another --model_dir".format(
                params["data_dir"], task.name, params["model_dir"], stored["task"]
            )
        )
    return {name: stored[name] for name in model_settings.TASK_SETTINGS + model_settings.GRID_SETTINGS}


def _with_labelled_cases(job, task, params, stored):
    """The job with what each of its models is trained on, and what it holds out."""
    folders = model_folder.model_folders(params["model_dir"], params["folds"])
    if params["exec_mode"] in TRAINING_MODES:
        sides = _split(task, params, folders if stored is not None else ())
        jobs = [job._replace(training=_chosen(task, one), held_out=_chosen(task, other)) for one, other in sides]
    else:
        jobs = [job._replace(held_out=_stored_held_out(task, params, folder)) for folder in folders]
    if not params["folds"]:
        return jobs[0]
    return job._replace(held_out=tuple(case for fold in jobs for case in fold.held_out), folds=tuple(jobs))


def _split(task, params, stored_in):
    """For each model the names to train on and those held out; the splits in the folders ``stored_in`` must agree."""
    names = [case.name for case in task.training]
    if params["folds"]:
        sides = split.fold_cases(names, params["folds"], params["split_seed"])
    else:
        sides = [split.split_cases(names, params["train_split"], params["split_seed"])]
        training = sides[0][0]
        if len(training) < launch.size():
            raise UserError(
                "--data_dir {}: has {} cases to train on for {} workers: start fewer".format(
                    params["data_dir"], len(training), launch.size()
                )
            )
    for folder, (training, held_out) in zip(stored_in, sides):
        split.check_stored_split(folder, training, held_out)
    return sides


def _stored_held_out(task, params, folder):
    path = os.path.join(folder, split.FILE_NAME)
    stored = split.read_split(folder)
    if stored is None:
        raise UserError("{}: is missing, so that nothing tells which cases were held out: {}".format(path, RESTORE))
    cases = _chosen(task, stored["held_out"])
    missing = len(stored["held_out"]) - len(cases)
    if missing or not cases:
        raise UserError(
            "--data_dir {}: has {} of the {} cases held out in {}: give the task the model was trained on".format(
                params["data_dir"], len(cases), len(stored["held_out"]), path
            )
        )
    return cases


def _chosen(task, names):
    names = set(names)
    return tuple(case for case in task.training if case.name in names)
