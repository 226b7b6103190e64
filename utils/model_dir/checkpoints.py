"""Checkpoints that appear whole or not at all, and the last good one of a folder.

A checkpoint of step 12 is ``model.ckpt-12.index`` with the ``.data-*`` beside it, and where there is more to know of it
``.meta``, its graph, and ``.json``. The text file ``checkpoint``, which TensorFlow reads too, names the last one and
those that are kept. All are made elsewhere and moved into place: first the data, then the index, then the list. So what
has an index is whole, and what the list names has an index, whenever the process is killed.
"""

import glob
import json
import os
import re
import shutil

from utils.system.errors import UserError
from utils.system.files import read_json, replace_on_success
from utils.system.progress import say
from utils.system.temporary_files import temporary_name
from utils.tf_runtime import tf

LIST = "checkpoint"
NAME = "model.ckpt"
_FILE = re.compile(r"model\.ckpt-(\d+)\.(index|meta|json|data-\d+-of-\d+)")
INDEX, NOTE = ".index", ".json"


def path_of(folder, step):
    """The path of the checkpoint of a step, as TensorFlow takes it: without the endings of its files."""
    return os.path.join(folder, "{}-{}".format(NAME, step))


def step_of(checkpoint):
    """The optimizer steps that a checkpoint has behind it, by its path."""
    return int(checkpoint.rsplit("-", 1)[1])


def steps_in(folder):
    """The steps whose checkpoints are in a folder, be it that they can be read or not, in order."""
    found = map(_FILE.fullmatch, os.listdir(folder) if os.path.isdir(folder) else ())
    return sorted({int(match.group(1)) for match in found if match and match.group(2) == INDEX[1:]})


def save(saver, session, folder, step, kept, write_graph=True, note=None, before_listed=None):
    """Save a session's variables as the checkpoint of a step, which from then on is the last one of the folder.

    Args:
        saver: the ``tf.train.Saver``.
        session: the ``tf.Session``.
        folder: where; it is made where missing.
        step: the optimizer steps done.
        kept: how many checkpoints stay there. The files of all others are removed.
        write_graph: whether the graph goes with it.
        note: a dict that goes with it as JSON, or None.
        before_listed: function () that is called when the checkpoint is there and before the list names it.
    """
    listed = [other for other in _listed(folder) if other != step]
    scratch = os.path.join(folder, temporary_name(".saving"))
    os.makedirs(scratch)
    try:
        saver.save(session, os.path.join(scratch, NAME), step, write_meta_graph=write_graph, write_state=False)
        if note is not None:
            with open(os.path.join(scratch, "{}-{}{}".format(NAME, step, NOTE)), "w", encoding="utf-8") as file:
                json.dump(note, file)
        # One of the same step may be there, which was found damaged.
        _remove(folder, [step])
        for name in sorted(os.listdir(scratch), key=lambda name: name.endswith(INDEX)):
            os.replace(os.path.join(scratch, name), os.path.join(folder, name))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if before_listed is not None:
        before_listed()
    steps = (listed + [step])[-kept:]
    write_list(folder, steps)
    _remove(folder, {other for other in _steps_with_files(folder) if other not in steps})


def note_of(checkpoint):
    """The note that was saved with a checkpoint, a dict, or None; raises UserError where it is damaged."""
    return read_json(checkpoint + NOTE) if os.path.exists(checkpoint + NOTE) else None


def forget_note(checkpoint):
    """Remove the note that was saved with a checkpoint, if there is one."""
    if os.path.exists(checkpoint + NOTE):
        os.remove(checkpoint + NOTE)


def write_list(folder, steps):
    """Write the list of the checkpoints of some steps, of which the last one is the one to go on from."""
    lines = ['model_checkpoint_path: "{}-{}"'.format(NAME, steps[-1])]
    lines += ['all_model_checkpoint_paths: "{}-{}"'.format(NAME, step) for step in steps]
    with replace_on_success(os.path.join(folder, LIST)) as temporary:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")


def last_good(folder, first=None, tell=say):
    """The path of the checkpoint of a folder to use: the one its list names, or else the last that can be read.

    Every value of it is read once and checked against its checksum.

    Args:
        folder: where the checkpoints are.
        first: the step whose checkpoint is wanted, before the one that is listed, or None.
        tell: function (text) for the line that says why it is another one than the one that is wanted.

    Raises UserError where there is none that can be read.
    """
    listed = _listed(folder)
    wanted = [step for step in (first, listed[-1] if listed else None) if step is not None]
    candidates = list(dict.fromkeys(wanted + steps_in(folder)[::-1]))
    problems = [] if wanted else ['no file "{}" says which is the last'.format(LIST)]
    for step in candidates:
        path = path_of(folder, step)
        problem = damage(path)
        if problem is None:
            if problems:
                tell("{}: {}: using {}".format(folder, "; ".join(problems), os.path.basename(path)))
            return path
        problems.append("{} {}".format(os.path.basename(path), problem))
    raise UserError(
        "{}: has no checkpoint that can be read ({}): put one back, or train in another --model_dir".format(
            folder, "; ".join(problems)
        )
    )


def go_on_from_last_good(folder, tell=say):
    """The same for training, which from now on goes on from it: TensorFlow restores what the list names."""
    path = last_good(folder, tell=tell)
    if path != last_listed(folder):
        write_list(folder, [step for step in steps_in(folder) if step <= step_of(path)])
    return path


def last_listed(folder):
    """The path of the checkpoint that the list of a folder names as the last, or None where it names none."""
    steps = _listed(folder)
    return path_of(folder, steps[-1]) if steps else None


def damage(path):
    """What is wrong with a checkpoint, in a few words, or None where each of its values can be read as it was saved."""
    if not os.path.exists(path + INDEX):
        return "has lost its index" if glob.glob(glob.escape(path) + ".*") else "is not there"
    try:
        reader = tf.train.load_checkpoint(path)
        names = reader.get_variable_to_shape_map()
        for name in names:
            reader.get_tensor(name)
    except Exception as error:
        # Of many kinds, down to IndexError: none of them is the program's own.
        return "is damaged ({})".format(_in_few_words(error))
    return None if tf.GraphKeys.GLOBAL_STEP in names else "is damaged (no step in it)"


def _in_few_words(error):
    text = getattr(error, "message", None) or str(error)
    return text.strip().splitlines()[0][:100] if text.strip() else type(error).__name__


def _listed(folder):
    """The steps that the list of a folder names, the last one last; [] where there is no list or it is damaged."""
    try:
        with open(os.path.join(folder, LIST), encoding="utf-8") as file:
            text = file.read()
    except (OSError, ValueError):
        return []
    # Lists of TensorFlow's own hold times as well, and may hold the folder's path as it was.
    last = re.findall(r'^model_checkpoint_path: "(?:.*/)?model\.ckpt-(\d+)"$', text, re.MULTILINE)
    others = re.findall(r'^all_model_checkpoint_paths: "(?:.*/)?model\.ckpt-(\d+)"$', text, re.MULTILINE)
    if len(last) != 1:
        return []
    return [int(step) for step in others if step != last[0]] + [int(last[0])]


def _steps_with_files(folder):
    return {int(match.group(1)) for match in map(_FILE.fullmatch, os.listdir(folder)) if match}


def _remove(folder, steps):
    """Remove all files of the checkpoints of some steps, each one's index first."""
    names = [name for name in os.listdir(folder) if _FILE.fullmatch(name)]
    for name in sorted(names, key=lambda name: not name.endswith(INDEX)):
        if int(_FILE.fullmatch(name).group(1)) in steps:
            os.remove(os.path.join(folder, name))
