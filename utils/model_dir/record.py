"""The record of a run in the model's `params.json`: what it was made with, and the hash of the data that it read."""

import datetime
import hashlib

import numpy as np

from utils.imaging import split
from utils.model_dir import settings as model_settings
from utils.system.errors import UserError

# Hexadecimal digits of a case's hash, and of each of the whole numbers that workers exchange it as.
HASH_DIGITS, PART_DIGITS = 32, 8


class RunRecord:
    """What a run was made with, and which data it has read; all workers have one, the first one's is kept.

    Args:
        about: function () that returns what ``utils.model_dir.provenance.about_run`` does; it is called when it is
            needed.
        model_dir: the model's folder.
        workers: the ``utils.running.workers.Workers``.
    """

    def __init__(self, about, model_dir, workers):
        # UTC; two runs of one folder never begin within the same microsecond.
        self._run = {"started": datetime.datetime.now(datetime.timezone.utc).isoformat(), "data": {}}
        self._about = about
        self._model_dir = model_dir
        self._workers = workers
        # The content of each case by its name, and what earlier releases had for it.
        self._hashes = {}
        # The latter of all workers' cases that ``read`` has told of.
        self.former = {}

    def note(self, kept):
        """Take down the content of a case that was read, a ``utils.preprocessing.cache.Kept``."""
        self._hashes[kept.case.name] = kept.content, kept.former or kept.content

    def take_over(self, other):
        """Take down what is noted in another record."""
        self._hashes.update(other._hashes)

    def training(self, job, kept, goes_on):
        """Write down the data that a training reads, and their hashes in `split.json`; all workers come here together.

        Args:
            job: the ``utils.job.Job``.
            kept: the ``Kept``s of this worker's cases, of the held-out ones where they are used.
            goes_on: whether the training goes on where an earlier one stopped.

        Raises:
            UserError: the training goes on with other data than it began with; or a file cannot be written.
        """
        for one in kept:
            self.note(one)
        hashes = dict(self.read("training", job.training), **self.read("held_out", job.held_out))
        looks = goes_on and self._workers.is_first
        changed = split.changed_contents(self._model_dir, hashes, self.former) if looks else None
        if self._workers.gather([[changed is not None]]).any():
            raise UserError(
                "--model_dir {}: cases have changed since it was trained on them ({}): use another --model_dir, or the "
                "files as they were".format(self._model_dir, changed or "the first worker knows which")
            )
        self.write()
        if self._workers.is_first:
            split.write_contents(self._model_dir, hashes)

    def read(self, part, cases):
        """Sum up the data of a part of the run; all workers come here together.

        Args:
            part: "training", "held_out" or "predicted".
            cases: the cases of all workers; those that have been noted count.

        Returns the hash of each case by its name, as every worker read its own.
        """
        hashes = self._everyones([case.name for case in cases])
        if hashes:
            self._run["data"][part] = {"cases": len(hashes), "hash": combined(hashes)}
        return hashes

    def write(self):
        """Write into `params.json` what is known so far; raises CannotWrite. Only the first worker does."""
        if self._workers.is_first:
            if self._about is not None:
                data = self._run["data"]
                self._run, self._about = dict({"started": self._run["started"]}, **self._about()), None
                self._run["data"] = data
            model_settings.record_run(self._run, self._model_dir)

    def _everyones(self, names):
        numbers = {name: number for number, name in enumerate(names)}
        rows = [[numbers[name]] + _parts("".join(own)) for name, own in self._hashes.items() if name in numbers]
        everyones = self._workers.gather(np.reshape(rows, [-1, 1 + 2 * HASH_DIGITS // PART_DIGITS]))
        hashes = {names[int(row[0])]: _whole(row[1:]) for row in everyones}
        self.former.update((name, both[HASH_DIGITS:]) for name, both in hashes.items())
        return {name: both[:HASH_DIGITS] for name, both in sorted(hashes.items())}


def combined(hashes):
    """Returns one hash for the cases of a dict of name to hash, whatever their order: of lines of hash and name."""
    lines = ["{}  {}\n".format(found, name) for name, found in sorted(hashes.items())]
    digest = hashlib.blake2b("".join(lines).encode("utf-8", "surrogateescape"), digest_size=HASH_DIGITS // 2)
    return digest.hexdigest()


def in_words(records):
    """Returns what of the last run that trained others may see, a dict of name to text; empty where none is on record.

    Its command and its machine are left out, whose names may be nobody's business.
    """
    trained = [record for record in records if record.get("data", {}).get("training")]
    if not trained:
        return {}
    last = trained[-1]
    versions = ["{} {}".format(name, version) for name, version in last["versions"].items() if version]
    return {
        "trained": last["started"],
        "with": ", ".join(versions),
        "revision": last["revision"] or "unknown",
        "training data": "{cases} cases, hash {hash}".format(**last["data"]["training"]),
    }


def _parts(found):
    return [int(found[first : first + PART_DIGITS], 16) for first in range(0, len(found), PART_DIGITS)]


def _whole(parts):
    return "".join("{:0{}x}".format(int(part), PART_DIGITS) for part in parts)
