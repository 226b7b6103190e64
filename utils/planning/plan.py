"""``--exec_mode plan``: reads a whole task, and proposes settings for it, with what they will take on this machine."""

import shlex
import time

from utils import job
from utils import params as params_file
from utils.config.flag import shown
from utils.config.modes import PLAN
from utils.config.parser import build_parser
from utils.imaging import split, tasks
from utils.inspection import case_facts
from utils.planning import estimates, text, trial
from utils.planning.facts import gather
from utils.planning.proposal import propose, training_cases
from utils.system import hardware, launch, memory
from utils.system.errors import UserError
from utils.system.files import write_json_atomically
from utils.system.progress import say_lines

# Those that say what the plan does, or where: the command that it proposes has its own.
OWN = ("exec_mode", "output", "no_trial", "data_dir", "model_dir")


def run(params, argv):
    """Plan for the task in ``params["data_dir"]``; print a page, and write ``params["output"]`` where it is asked for.

    ``argv`` is the command line that the params come from: what is given there stands.

    Raises:
        UserError: the task or some of its cases cannot be used (where several, in a line each), it has no labelled
            images, or what is given cannot be.
    """
    if launch.size() > 1:
        raise UserError("--exec_mode plan: is for one process: start it without a launcher")
    task = tasks.read_task(params["data_dir"], refuse_cases=False)
    begun = time.monotonic()
    found = case_facts.compared(case_facts.read(task, params, "reading"))
    reading = (time.monotonic() - begun) / len(found)
    case_facts.refuse(found)
    facts = gather(task, found)
    say_lines(text.found(facts))
    if not facts.training:
        raise UserError("--data_dir {}: lists no labelled images to train on".format(params["data_dir"]))
    given = vars(build_parser().parse_args(argv))
    _refuse_split([case.name for case in task.training], given)
    proposal = propose(
        facts, {name: given[name] for name in given if name not in OWN}, memory.limit(), bool(hardware.gpu_names())
    )
    flags = arguments(proposal)
    where = ["--data_dir", params["data_dir"], "--model_dir", params["model_dir"]]
    commands = _commands(proposal, flags, where)
    settings = params_file.from_command_line(["--exec_mode", PLAN] + flags + where)
    settings.update(job.plan(dict(settings, benchmark=True, exec_mode="train")).description)
    say_lines(text.proposed(proposal.choices, commands))
    measured = None if params["no_trial"] else trial.attempt(settings, trial.middling(facts))
    estimate = estimates.estimate(facts, settings, measured, reading)
    say_lines(text.estimated(estimate))
    if params["output"]:
        write_json_atomically(params["output"], text.as_json(facts, proposal, commands, estimate))
        say_lines(["plan: {}".format(params["output"])])


def arguments(proposal):
    """The flags of a ``Proposal`` as those of a command line, those that were given last."""
    chosen = [(choice.flag, choice.value) for choice in proposal.choices] + sorted(proposal.given.items())
    values = [(flag, value if isinstance(value, (list, tuple)) else [value]) for flag, value in chosen]
    return [word for flag, several in values for word in ["--" + flag] + [shown(one) for one in several]]


def _refuse_split(names, given):
    """Raise UserError where the labelled cases cannot be split as it is given."""
    if given.get("folds"):
        split.fold_cases(names, given["folds"], given.get("split_seed", 0))
    elif "train_split" in given:
        split.split_cases(names, given["train_split"], given.get("split_seed", 0))


def _commands(proposal, flags, where):
    """What to type: to train, and measure where cases are held out, and to predict where there is something to."""
    facts = proposal.facts
    measures = training_cases(proposal.settings, facts) < facts.training
    first = ["python", "main.py", "--exec_mode", "train_and_evaluate" if measures else "train"]
    second = ["python", "main.py", "--exec_mode", "predict"]
    commands = [first + flags + where] + ([second + where] if facts.test else [])
    return [" ".join(map(shlex.quote, command)) for command in commands]
