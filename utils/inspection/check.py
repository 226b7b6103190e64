"""``--exec_mode check``: reads a whole task as training would, and tells of every case what it is and what is wrong."""

from utils.config import memory_rules
from utils.imaging import tasks
from utils.inspection import case_facts
from utils.inspection.check_summary import summary_lines
from utils.inspection.check_table import table_lines
from utils.job import Job, refuse_stacks
from utils.preprocessing import auto_shape, fitting
from utils.preprocessing.pipeline import check_memory, settings_of
from utils.sampling.tiling import feeding_of
from utils.system.errors import UserError
from utils.system.files import write_json_atomically
from utils.system.progress import say_lines

CROPPED = "structures reach beyond the network's input"


def run(params):
    """Check the task in ``params["data_dir"]`` against the params' settings; print a table and a summary.

    Raises:
        UserError: the task or some of its cases cannot be used; where several, in a line each.
    """
    task = tasks.read_task(params["data_dir"], refuse_cases=False)
    found = case_facts.read(task, params, "checking")
    settings, problem = _settings(params, task, found)
    found = case_facts.compared([_fitted(finding, settings) for finding in found])
    say_lines(table_lines(found, task.labels[1:]) + summary_lines(found, task, settings))
    if params["output"]:
        write_json_atomically(params["output"], as_json(found, task))
        say_lines(["findings: {}".format(params["output"])])
    case_facts.refuse(found, problem)


def _settings(params, task, found):
    """The settings of preprocessing for this task, and what is wrong with them: a UserError or None."""
    readable = [finding.case for finding in found if finding.size is not None]
    settings = {name: params[name] for name in ("sampling", "fit", "input_shape", "crop_shape", "spacing")}
    if not readable:
        return None, None
    try:
        refuse_stacks(params, task.training + task.test)
        training = [case for case in readable if case.label is not None]
        settings.update(auto_shape.choose(params, training or readable))
        chosen = dict(params, labels=task.labels, modalities=task.modalities, **settings)
        settings["prepared"] = settings_of(chosen, feeding_of(chosen))
        memory_rules.check(chosen, Job({}, training=task.training, predicted=task.test))
    except UserError as error:
        return None, error
    return settings, None


def _fitted(finding, settings):
    """The finding with what is wrong with its case at these settings."""
    if settings is None or finding.size is None:
        return finding
    problems = list(finding.problems)
    scan = finding.case.image, finding.size, finding.spacing
    case_facts.tried(lambda: check_memory(*scan + (settings["prepared"],)), problems)
    warnings = finding.warnings + (CROPPED,) * _is_cropped(finding, settings["prepared"])
    return finding._replace(problems=tuple(problems), warnings=warnings)


def _is_cropped(finding, prepared):
    """Whether some of a case's structures lie outside the network's input."""
    seen = fitting.seen(finding.size, finding.spacing, prepared)
    reached = zip(finding.reach or (), seen)
    return any(reach and (reach.start < part.start or reach.stop > part.stop) for reach, part in reached)


def as_json(found, task):
    """The findings as a dict that JSON can hold."""
    structures = task.labels[1:]
    entries = []
    for finding in found:
        measured = finding.voxels is not None
        entries.append(
            {
                "case": finding.case.name,
                "part": finding.part,
                "size": finding.size and list(finding.size),
                "spacing_mm": list(finding.spacing) if finding.spacing and not finding.is_stack else None,
                "axes": finding.axes,
                "intensities": finding.intensities and [list(range_) for range_ in finding.intensities],
                "voxels": dict(zip(structures, finding.voxels)) if measured else None,
                "volume_ml": dict(zip(structures, finding.volumes_ml())) if measured and not finding.is_stack else None,
                "problems": list(finding.problems),
                "warnings": list(finding.warnings),
            }
        )
    return {"task": task.name, "labels": list(task.labels), "modalities": list(task.modalities), "cases": entries}
