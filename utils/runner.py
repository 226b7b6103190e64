"""The runner: a validated params dict and a job become an Estimator that trains, evaluates and predicts.

From the task to the report: task -> cases -> kept volumes -> batches -> probabilities -> masks -> scores -> report.
"""

import functools
import os

import numpy as np

import dllogger
from model.model_fn import model_fn
from utils.config.modes import TRAINING_MODES
from utils.evaluation import predictions, tables
from utils.evaluation.case_table import gathered, measures_of
from utils.hooks.evaluation_hook import best_step
from utils.html_report import build as page
from utils.imaging import image_facts, label_values, split
from utils.inference.masks import FOLDER as MASK_FOLDER
from utils.inference.masks import MaskWriter
from utils.inference.predictor import Pipeline
from utils.inspection import scan_warnings
from utils.model_dir import checkpoints
from utils.model_dir import log as run_log
from utils.model_dir import paths as model_folder
from utils.model_dir import settings as model_settings
from utils.model_dir.provenance import about_run
from utils.model_dir.record import RunRecord
from utils.preprocessing.cache import view
from utils.running.preparation import Preparation
from utils.running.session_config import cpu_session_config, session_config
from utils.running.training import Training
from utils.running.workers import Workers
from utils.system.errors import UserError, together, unusable
from utils.system.progress import Progress, Silence, say
from utils.system.temporary_files import remove_leftovers
from utils.system.tf_errors import told
from utils.tf_runtime import gpus, scale_loss, tf, version


def run(params, job, model_fn=model_fn):
    """Carry out each part of ``params["exec_mode"]`` in turn, or measure it where ``benchmark`` is set.

    ``model_fn`` is the Estimator's model function, where neither that nor ``folds`` is set.
    """
    try:
        runner = _runner(params, job, model_fn)
        for part in params["exec_mode"].split("_and_"):
            getattr(runner, part)()
        runner.finish()
    except (tf.errors.OpError, OSError) as error:
        raise told(error, params["model_dir"]) from error


def _runner(params, job, model_fn):
    if params["benchmark"]:
        from utils.running.benchmark_runner import BenchmarkRunner

        return BenchmarkRunner(params, job)
    if params["folds"]:
        from utils.running.cross_validation import CrossValidation

        return CrossValidation(params, job)
    return Runner(params, job, model_fn=model_fn)


class Runner(Training):
    """Runs the parts of an execution mode, on this worker's share of the cases; the first worker tells and writes.

    Args:
        params: the validated params dict of ``utils.params``.
        job: the ``utils.job.Job`` planned from it.
        workers: the ``utils.running.workers.Workers``, where they are at work already.
        model_fn: the Estimator's model function.

    Raises:
        UserError: from any method, where a file or folder does not allow what is asked.
    """

    def __init__(self, params, job, workers=None, model_fn=model_fn):
        self.workers = workers or Workers(cpu_session_config(params))
        self.params = dict(params, workers=self.workers.size, **job.description)
        self.job = job
        self._model_fn = model_fn
        self.model_dir = params["model_dir"]
        self.structures = job.description["labels"][1:]
        self._preparation = Preparation(self.params, self.workers, self._progress)
        # The checkpoints that the last evaluation or prediction of this run was made with.
        self._weights = None
        # Of the intensities, for each of the models that predict together.
        self._changes = None
        # Numbers of each case that was read, by name: the share of its structures that is cropped away, and its facts.
        self._known = {}
        # The names of cases whose labels are known to be rounded.
        self._rounded = set()
        self._problems = []
        self.record = RunRecord(
            functools.partial(about_run, version(), self.workers.size), self.model_dir, self.workers
        )
        if self.workers.is_first:
            remove_leftovers(*self._folders_written())
        self.config, notice = session_config(self.params, self.workers)
        self._start_log()
        if notice:
            self._say(notice)

    def _folders_written(self):
        own = [os.path.join(self.model_dir, name) for name in ("", MASK_FOLDER, page.FOLDER, model_folder.BEST_FOLDER)]
        return own + [self.params["log_dir"], self.params["cache_dir"]]

    def _start_log(self):
        if self.workers.is_first:
            measures = measures_of(tables.kind_of(self.job.training + self.job.held_out))
            run_log.start(self.params, self.structures, version(), measures)
        else:
            run_log.keep_silent()

    def _say(self, text):
        if self.workers.is_first:
            say(text)

    def _tell(self, lines):
        """Say what a function returns, which the first worker alone calls."""
        for line in lines() if self.workers.is_first else ():
            say(line)

    def _note(self, kept):
        """Take down what is known of a case that was read, a ``Kept``."""
        self.record.note(kept)
        self._known[kept.case.name] = np.append(kept.cropped, image_facts.row_of(kept.facts, len(self.structures) + 1))

    def _tell_of(self, cases, learned=()):
        """Tell what is to be known of cases that were read, whichever worker has read them; all come here together.

        ``learned`` are those that the model is trained on, of which structures that none has are told.
        """
        modalities = self.params["modalities"]
        columns = 2 + image_facts.columns(len(modalities), len(self.structures) + 1)
        rows = [
            np.append(number, self._known[case.name]) for number, case in enumerate(cases) if case.name in self._known
        ]
        everyones = self.workers.gather(np.reshape(rows, [-1, columns]))
        # The models of several folds have read the same cases.
        known = {int(row[0]): row[1:] for row in everyones}
        told = [(cases[number], known[number]) for number in sorted(known)]
        facts = [(case, image_facts.from_row(row[1:], len(modalities))) for case, row in told]
        shares = [(case, row[0]) for case, row in told]
        settings = self._preparation.settings
        self._tell(
            lambda: scan_warnings.of_voxels(facts, modalities, settings["intensities"])
            + scan_warnings.of_absent(facts, learned, self.structures)
            + scan_warnings.of_structures(shares, settings, len(cases))
        )

    def _tell_rounded(self, cases):
        """Tell of those cases, whichever worker has read them, whose labels were rounded; all come here together."""
        rounded = label_values.take_rounded(case.label for case in cases)
        rows = [[number] for number, case in enumerate(cases) if case.label in rounded]
        found = [cases[int(number)] for number in self.workers.gather(np.reshape(rows, [-1, 1])).ravel()]
        told = [case for case in found if case.name not in self._rounded]
        self._rounded.update(case.name for case in told)
        self._tell(lambda: scan_warnings.of_rounded(told, len(cases)))

    def _progress(self, *arguments, **options):
        return (Progress if self.workers.is_first else Silence)(*arguments, **options)

    def evaluate(self):
        """Score the held-out cases: the probabilities on the network's grid, and the masks written."""
        self._tell(lambda: scan_warnings.of_scans(self.job.held_out, self.params["axes"]))
        writer = self._mask_writer()
        scores, errors = self.scored(writer)
        self._tell_of(self.job.held_out)
        self._tell_rounded(self.job.held_out)
        self._leave_out(errors, self.job.held_out)
        scores = self._everyones(scores, tables.kind_of(self.job.held_out), self.job.held_out)
        contents = self.record.read("held_out", self.job.held_out)
        if self.workers.is_first and scores:
            folders = model_folder.model_folders(self.model_dir, self.params["folds"])
            former = self.record.former
            changed = next(filter(None, (split.changed_contents(folder, contents, former) for folder in folders)), None)
            if changed:
                say("held-out cases have changed since training ({})".format(changed))
            self._report(scores)
            writer.tell()
            self._leave_page(self.job.held_out)
        self._attempt(self.record.write)

    def scored(self, writer):
        """The scores of this worker's share of the held-out cases, and UserErrors of those that are bad.

        Their masks are written by ``writer``.
        """
        cases = self.workers.share(self.job.held_out)

        def score(predicted):
            kept, probabilities = predicted
            return writer.evaluate(kept.case, probabilities, view(kept.label))

        return self._use_each(cases, score, "evaluating")

    def _mask_writer(self):
        return MaskWriter(self.params, self._preparation.settings, self.structures)

    def _leave_out(self, errors, cases):
        """Let the run go on without some of the cases, and tell of them at its end."""
        if errors:
            # Before what they may have led to.
            self._problems.insert(0, unusable(errors, len(cases)))

    def take_over(self, other):
        """Record what another ``Runner`` did as of this run, and tell at its end what went wrong there."""
        self.record.take_over(other.record)
        self._known.update(other._known)
        self._problems += other._problems

    def _attempt(self, write, *arguments):
        """Write something; what the disk refuses is told at the run's end, so that all else is still written."""
        try:
            write(*arguments)
        except (UserError, OSError) as error:
            self._problems.append(error if isinstance(error, UserError) else told(error, self.model_dir))

    def _everyones(self, figures, kind, cases):
        """The figures of all workers' cases, in the order of the cases."""
        return gathered(self.workers, figures, kind, [case.name for case in cases], len(self.structures))

    def _report(self, scores):
        summary = tables.summarise(scores, self.structures, self._used())
        # First of all, as a terminal takes it that a disk has no room for.
        say(tables.format_table(summary))
        self._attempt(tables.write_json, summary, self.model_dir)
        self._attempt(tables.write_csv, summary, self.model_dir)
        self._attempt(run_log.log_evaluation, summary)
        say("scores: {}".format(os.path.join(self.model_dir, tables.JSON_NAME)))

    def _used(self):
        """What the masks were made with, for the files of their scores."""
        # Found already, but where the runners of the folds have made the masks.
        weights = self._weights or self._checkpoints(tell=lambda text: None)
        steps = [checkpoints.step_of(checkpoint) for checkpoint in weights]
        used = {"which": self.params["checkpoint"], "step": steps if self.params["folds"] else steps[0]}
        return {"checkpoint": used, "made_with": model_settings.mask_settings(self.params)}

    def predict(self):
        """Write a mask for each of ``--images``, or of the task's test images."""
        if not self.job.predicted:
            self._say("--data_dir {}: lists no test images, nothing to predict".format(self.params["data_dir"]))
            return
        settings = self._preparation.settings
        self._tell(lambda: scan_warnings.of_scans(self.job.predicted, self.params["axes"], settings))
        cases = self.workers.share(self.job.predicted)
        writer = self._mask_writer()

        def write(predicted):
            kept, probabilities = predicted
            return writer.write(kept.case, probabilities)

        made, errors = self._use_each(cases, write, "predicting")
        self._tell_of(self.job.predicted)
        self._leave_out(errors, self.job.predicted)
        made = self._everyones(made, predictions.kind_of(self.job.predicted), self.job.predicted)
        self.record.read("predicted", self.job.predicted)
        if self.workers.is_first:
            extra = self._used()
            self._attempt(lambda: extra.update(predictions.page_names(self.job.predicted, made)))
            table = predictions.tabulate(made, self.structures, extra)
            self._attempt(predictions.write_json, table, self.model_dir)
            self._attempt(predictions.write_csv, table, self.model_dir)
            predictions.tell(table, self.model_dir)
            writer.tell()
            self._leave_page(self.job.predicted, predicted=True)
        self._attempt(self.record.write)

    def _leave_page(self, cases, predicted=False):
        dllogger.flush()
        try:
            page.write(self.model_dir, cases, self.structures, predicted, self._training_logs())
        except UserError as error:
            # Masks and scores are there, which matter more.
            say("no report: {}".format(error))

    def _training_logs(self):
        """Paths of the logs that hold the epochs: this run's, or those of the folds."""
        folders = model_folder.model_folders(self.params["log_dir"], self.params["folds"])
        return [os.path.join(folder, run_log.FILE_NAME) for folder in folders]

    def _use_each(self, cases, use, description):
        """What ``use`` makes of the (Kept, probabilities) of each case, in order, and UserErrors of the others."""
        weights = self._weights = self._checkpoints(self._say)
        estimator = self._estimator(self.model_dir, weights=weights)
        pipeline = Pipeline(self.params, self._preparation, estimator, weights[0], self._note)
        with self._progress(len(cases), description, "cases") as progress:
            results, errors, trouble = pipeline.use_each(cases, use, progress)
        if trouble and not results and self.workers.launched == 1:
            # Of several workers the others have something to write first: a launcher ends all when one ends.
            raise together(([unusable(errors, len(cases))] if errors else []) + [trouble])
        self._problems += [trouble] if trouble else []
        return results, errors

    def _checkpoints(self, tell):
        """The path of the checkpoint of each model; ``tell`` gets a line where it is not the one to expect."""
        best = self.params["checkpoint"] == "best"
        folders = model_folder.checkpoint_folders(self.params)
        return [checkpoints.last_good(folder, best_step(folder) if best else None, tell) for folder in folders]

    def finish(self):
        """Draw the training curves where pictures are asked for, and say where the log is.

        Raises UserError where some cases could not be predicted.
        """
        if self.workers.is_first:
            self._conclude()
        # A launcher ends all workers when one fails.
        self.workers.wait_for_all()
        if self._problems:
            raise together(self._problems)

    def _conclude(self):
        dllogger.flush()
        log = run_log.log_path(self.params)
        trained = self.params["exec_mode"] in TRAINING_MODES and not self.params["benchmark"]
        if self.params["pictures"] and trained:
            from utils.visualization.pictures import training_curves

            curves = os.path.join(self.model_dir, "training_curves.png")
            try:
                training_curves(curves, self._training_logs())
                say("training curves: {}".format(curves))
            except UserError as error:
                # A finished model whose log was moved away is still a good one.
                say("no training curves: {}".format(error))
        say("log: {}".format(log))

    def _estimator(self, folder, plan=None, weights=None):
        run_config = tf.estimator.RunConfig(
            model_dir=folder,
            tf_random_seed=self.params["seed"],
            session_config=self.config,
            save_checkpoints_steps=None,
            save_checkpoints_secs=None,
            save_summary_steps=None,
            log_step_count_steps=None,
        )
        params = dict(self.params, weights=weights, changes=self._changes)
        if plan is not None:
            # A function, since the Estimator copies its params deeply, a method's object with it.
            params.update(wrap_optimizer=lambda optimizer: self._wrap_optimizer(optimizer))
            params.update(steps_per_epoch=plan.steps_per_epoch)
        return tf.estimator.Estimator(self._model_fn, config=run_config, params=params)

    def _wrap_optimizer(self, optimizer):
        averaged = self.workers.average_gradients(optimizer)
        return scale_loss(averaged) if self.params["amp"] and gpus() else averaged
