"""Cross-validation: a model for each fold of the cases, scored together on the cases that none of them has seen.

Each fold is a run of its own, by one worker, in a folder of its own in ``model_dir``; the workers share the folds.
"""

from utils.model_dir import paths as model_folder
from utils.model_dir import settings as model_settings
from utils.preprocessing import ct_intensities
from utils.runner import Runner
from utils.system.interruption import Interrupted, put_off
from utils.system.progress import headed


class CrossValidation(Runner):
    """A ``Runner`` of all folds: trains each, scores all held-out cases in one table, predicts with the mean of all.

    The workers need one ``model_dir`` in common, since each reads the models of all.
    """

    def train(self):
        """Train this worker's folds one after another, going on where an earlier run was stopped."""
        if self.workers.is_first:
            # All cases are trained on, each in all folds but its own.
            self._learn_axes(self.job.held_out)
            self._write_settings()
        try:
            for fold, runner in self._own_folds():
                with headed("fold {}: ".format(fold)):
                    runner.train()
                self.take_over(runner)
        except Interrupted:
            # The others have got the signal as well, and a launcher ends them when one ends: theirs may take longer.
            put_off(True)
            self.workers.wait_for_all()
            raise
        self._start_log()
        self.record.read("training", self.job.held_out)
        self._attempt(self.record.write)

    def scored(self, writer):
        """As ``Runner.scored``, of what this worker's folds hold out: each case by the model that has not seen it."""
        scores, errors = [], []
        for fold, runner in self._own_folds():
            with headed("fold {}: ".format(fold)):
                own_scores, own_errors = runner.scored(writer)
            self.take_over(runner)
            scores += own_scores
            errors += own_errors
        self._start_log()
        return scores, errors

    def predict(self):
        """As ``Runner.predict``, with the mean of all models."""
        folders = model_folder.model_folders(self.model_dir, self.params["folds"])
        own = [(model_settings.load(folder) or self.params)["intensities"] for folder in folders]
        # An image is read once, for all models: each then gets it as it was trained.
        given = ct_intensities.common(own)
        self._preparation.use_intensities(given)
        self._changes = [ct_intensities.changes(given, one) for one in own]
        super().predict()

    def _own_folds(self):
        """The number and the ``Runner`` of each of this worker's folds, made when it is due."""
        folders = model_folder.model_folders(self.model_dir, self.params["folds"])
        logs = model_folder.model_folders(self.params["log_dir"], self.params["folds"])
        for fold, job in self.workers.share(list(enumerate(self.job.folds))):
            part = len(job.training) / (len(job.training) + len(job.held_out))
            own = dict(self.params, model_dir=folders[fold], log_dir=logs[fold], folds=0, train_split=part)
            stored = model_folder.trained_settings(folders[fold]) or {}
            own.update((name, stored.get(name)) for name in model_settings.LEARNED_SETTINGS)
            # What will be predicted is looked at before the first of them is trained.
            yield fold, Runner(own, job._replace(predicted=self.job.predicted), self.workers.alone())
