"""Folders of models as evaluation and prediction leave them, for the tests of their report."""

import json
import os

import numpy as np
from synthetic import DIRECTIONS, blob, image_of, write_image

from utils.imaging.tasks import Case
from utils.inference.masks import mask_path

STRUCTURES = ("Front", "Back")
SHAPE = (20, 31, 14)


def case_in(folder, model_dir, name, seed=0, direction="identity", shape=SHAPE, spacing=(1.0, 0.8, 2.5), labelled=True):
    """Write a scan with its label to ``folder`` and a mask to the model's folder; return its Case."""
    random = np.random.RandomState(seed)
    centre = np.array(shape) * random.uniform(0.4, 0.6, size=3)
    body = blob(shape, centre, np.array(shape) * 0.3) > 0.4
    truth = np.where(body, np.where(np.arange(shape[2]) >= centre[2], 1, 2), 0).astype(np.uint8)
    mask = np.roll(truth, 2, axis=0)
    scan = (200.0 * body + 60.0 * blob(shape, centre, np.array(shape)) + random.normal(0, 4, shape)).astype(np.float32)
    for part in (str(folder), os.path.join(str(model_dir), "eval")):
        os.makedirs(part, exist_ok=True)
    paths = [os.path.join(str(folder), name + ending) for ending in (".nii.gz", "_truth.nii.gz")]
    case = Case(name, paths[0], paths[1] if labelled else None)
    write_image(image_of(scan, direction, spacing), paths[0])
    write_image(image_of(truth, direction, spacing), paths[1])
    write_image(image_of(mask, direction, spacing), mask_path(str(model_dir), case))
    return case


def write_json(value, *path):
    """Write a value as JSON."""
    with open(os.path.join(*map(str, path)), "w") as file:
        json.dump(value, file)


def evaluation_of(names, structures=STRUCTURES, seed=0):
    """An evaluation.json of these cases, with scores of all kinds, some of them undefined."""
    random = np.random.RandomState(seed)
    measures = ("soft_dice", "hard_dice", "hausdorff_95_mm", "volume_ml", "volume_difference_ml", "uncertainty")

    def values(measure):
        return {name: random.uniform(-1 if measure.endswith("difference_ml") else 0, 1) for name in structures}

    cases = [dict({"case": name}, **{measure: values(measure) for measure in measures}) for name in names]
    if len(cases) > 2:
        cases[1]["hard_dice"][structures[0]] = None
    statistics = {name: {measure: values(measure) for measure in measures} for name in ("mean", "median")}
    statistics["mean_interval_95"] = {"hard_dice": {name: [0.25, 0.75] for name in structures}}
    return dict(
        {"structures": list(structures), "cases": cases, "checkpoint": {"which": "last", "step": 9}}, **statistics
    )


def predictions_of(names, structures=STRUCTURES, seed=1):
    """A predictions.json of these cases."""
    random = np.random.RandomState(seed)
    measures = ("volume_ml", "uncertainty")
    cases = [
        dict({"case": name}, **{measure: dict(zip(structures, random.rand(2).tolist())) for measure in measures})
        for name in names
    ]
    return {"structures": list(structures), "cases": cases}


def log_in(folder, epochs=6, structures=STRUCTURES):
    """Write a training's log; return its path."""
    path = os.path.join(str(folder), "dllogger.json")
    with open(path, "w") as file:
        for epoch in range(1, epochs + 1):
            dice = {"soft_dice_" + name: 1 - 0.5 / epoch - 0.1 * place for place, name in enumerate(structures)}
            for data in (dice, {"loss": 0.7 / epoch}):
                file.write("DLLL " + json.dumps({"type": "LOG", "step": [epoch], "data": data}) + "\n")
    return path


def evaluated_model(parent, names=("one", "two", "three"), structures=STRUCTURES):
    """(model_dir, cases, log) of an evaluation of scans that lie in all sorts of directions."""
    model_dir = os.path.join(str(parent), "model")
    directions = sorted(DIRECTIONS)
    cases = [
        case_in(os.path.join(str(parent), "scans"), model_dir, name, number, directions[number % len(directions)])
        for number, name in enumerate(names)
    ]
    write_json(evaluation_of(names, structures), model_dir, "evaluation.json")
    settings = {
        "task": "Test <task>",
        "labels": ["background"] + list(structures),
        "modalities": ["MRI"],
        "loss": "dice",
    }
    write_json(dict(settings, augment=True, input_shape=[32, 32, 32]), model_dir, "params.json")
    return model_dir, cases, log_in(model_dir, structures=structures)
