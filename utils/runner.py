"""The runner: a validated params dict and a job become an Estimator that trains, evaluates and predicts.

From the task to the report: task -> cases -> kept volumes -> batches -> probabilities -> masks -> scores -> report.
"""

import collections
import functools
import os
import tempfile

import dllogger
from model.averaging import mirrorings
from model.model_fn import model_fn, probabilities_of
from utils import augmentation, data_loader, memory, model_folder, model_settings, predictions, report, run_log, split
from utils import params as params_file
from utils.case_table import gathered
from utils.environment import threads
from utils.errors import UnusableFile, UserError, unusable
from utils.hooks.evaluation_hook import EvaluationHook
from utils.hooks.training_hook import TrainingHook
from utils.kept_copy import keep_in_turn
from utils.masks import MaskWriter
from utils.overlap import overlapped
from utils.page import build as page
from utils.preparation import Preparation
from utils.progress import Progress, Silence, say
from utils.session_config import cpu_session_config, prediction_batch_size, session_config
from utils.tf_runtime import gpus, scale_loss, tf, version
from utils.workers import Workers

LAST_CHECKPOINTS_KEPT = 3


def run(params, job):
    """Carry out each part of ``params["exec_mode"]`` in turn, or measure it where ``benchmark`` is set."""
    if params["benchmark"]:
        from utils.benchmark_runner import BenchmarkRunner

        runner = BenchmarkRunner(params, job)
    elif params["folds"]:
        from utils.cross_validation import CrossValidation

        runner = CrossValidation(params, job)
    else:
        runner = Runner(params, job)
    try:
        for part in params["exec_mode"].split("_and_"):
            getattr(runner, part)()
    except tf.estimator.NanLossDuringTrainingError as error:
        raise UserError(
            "--base_lr {}: training has diverged, the loss is not a number: use a smaller one with another "
            "--model_dir".format(params["base_lr"])
        ) from error
    except tf.errors.OpError as error:
        raise UserError("--model_dir {}: {}".format(params["model_dir"], _reason(error))) from error
    except OSError as error:
        # A full disk, or one that went away.
        where = error.filename or "--model_dir {}".format(params["model_dir"])
        raise UserError("{}: cannot go on: {}".format(where, error.strerror or error)) from error
    runner.finish()


def _reason(error):
    """What stopped TensorFlow, in one line: a damaged checkpoint, a full disk, a worker that is gone."""
    if isinstance(error, tf.errors.ResourceExhaustedError):
        return "out of memory: use a smaller --batch_size or --input_shape"
    about_the_graph = ("Graph execution", "Detected at", "Original stack", "Hint", "File ", "node ", "[[", "defined at")
    lines = [line.strip() for line in error.message.splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(about_the_graph)]
    return "TensorFlow cannot go on: {}".format((told or [type(error).__name__])[0])


class Runner:
    """Runs the parts of an execution mode, on this worker's share of the cases; the first worker tells and writes.

    Args:
        params: the validated params dict of ``utils.params``.
        job: the ``utils.job.Job`` planned from it.
        workers: the ``utils.workers.Workers``, where they are at work already.

    Raises:
        UserError: from any method, where a file or folder does not allow what is asked.
    """

    def __init__(self, params, job, workers=None):
        self.workers = workers or Workers(cpu_session_config(params))
        self.params = dict(params, workers=self.workers.size, **job.description)
        self.job = job
        self.model_dir = params["model_dir"]
        self.structures = job.description["labels"][1:]
        self._preparation = Preparation(self.params, self.workers, self._progress)
        self._left_out = None
        self.config, notice = session_config(self.params, self.workers)
        self._start_log()
        if notice:
            self._say(notice)

    def _start_log(self):
        if self.workers.is_first:
            run_log.start(self.params, self.structures, version())
        else:
            run_log.keep_silent()

    def _say(self, text):
        if self.workers.is_first:
            say(text)

    def _progress(self, *arguments, **options):
        return (Progress if self.workers.is_first else Silence)(*arguments, **options)

    def train(self):
        """Train up to ``train_epochs`` epochs in all, going on from the last checkpoint in ``model_dir``."""
        if self.workers.is_first:
            self._write_settings()
            self._write_split()
        plan = self._training_plan(len(self.job.training))
        first_step, last_step = self._last_step(), self.params["train_epochs"] * plan.steps_per_epoch
        if first_step >= last_step:
            self._say(
                "{}: has been trained for {} epochs already".format(self.model_dir, first_step // plan.steps_per_epoch)
            )
            return
        volumes, held_out = self._preparation.training_volumes(self.job)
        done = {"initial": plan.cases_before(first_step)}
        with self._progress(plan.cases_before(last_step), "training", "images", **done) as progress:
            hooks = self._training_hooks(plan, progress, held_out)
            self._fit(
                lambda: data_loader.training_dataset(volumes, plan, first_step, last_step), plan, hooks, last_step
            )
        self.workers.wait_for_all()

    def _training_hooks(self, plan, progress, held_out):
        hooks = self.workers.hooks()
        hooks.append(TrainingHook(self.workers, plan, progress, self.params["log_every"], self.model_dir))
        # After the hook that times the steps, so that training's images per second leave evaluation out.
        if self.job.held_out and self.params["evaluate_every"]:
            hooks.append(self._evaluation_hook(plan, held_out))
        return hooks

    def _fit(self, batches, plan, hooks, last_step):
        """Train up to ``last_step``; the first worker keeps checkpoints, the others nothing."""
        with tempfile.TemporaryDirectory() as scratch:
            folder = self.model_dir if self.workers.is_first else scratch
            if self.workers.is_first:
                # The last hook: an epoch that has its checkpoint has also been measured and logged.
                steps = self.params["checkpoint_every"] * plan.steps_per_epoch
                hooks = hooks + [tf.train.CheckpointSaverHook(folder, save_steps=steps)]
            self._estimator(folder, plan).train(batches, hooks=hooks, max_steps=last_step)

    def _write_settings(self):
        model_settings.save(model_settings.settings_of(self.params), self.model_dir)

    def _write_split(self):
        names = [[case.name for case in cases] for cases in (self.job.training, self.job.held_out)]
        split.write_split(self.model_dir, self.params["train_split"], self.params["split_seed"], *names)

    def _training_plan(self, count):
        settings = [self.params["batch_size"], self.params["seed"], augmentation.strengths(self.params)]
        return data_loader.TrainingPlan(count, *settings, workers=self.workers.size, rank=self.workers.rank)

    def _last_step(self):
        """Optimizer steps that the first worker finds in its last checkpoint; 0 where there is none."""
        trained = self.workers.is_first and model_folder.has_checkpoint(self.model_dir)
        step = _step_of(_latest_checkpoint(self.model_dir)) if trained else 0
        return int(self.workers.gather([[step]])[0, 0])

    def _evaluation_hook(self, plan, held_out):
        return EvaluationHook(
            workers=self.workers,
            volumes=held_out,
            image_shape=self.params["input_shape"] + [len(self.params["modalities"])],
            network=functools.partial(probabilities_of, params=self.params),
            structures=self.structures,
            batch_size=self._prediction_batch_size(),
            every_epochs=self.params["evaluate_every"],
            steps_per_epoch=plan.steps_per_epoch,
            model_dir=self.model_dir,
        )

    def evaluate(self):
        """Score the held-out cases: the probabilities on the network's grid, and the masks written."""
        writer = MaskWriter(self.params, self.structures)
        scores, errors = self.scored(writer)
        self._leave_out(errors, self.job.held_out)
        scores = self._everyones(scores, report.CaseScores, self.job.held_out)
        if self.workers.is_first and scores:
            self._report(scores)
            writer.tell()
            self._leave_page(self.job.held_out)

    def scored(self, writer):
        """The ``CaseScores`` of this worker's share of the held-out cases, and UserErrors of those that are bad.

        Their masks are written by ``writer``.
        """
        cases = self.workers.share(self.job.held_out)

        def score(predicted):
            kept, probabilities = predicted
            return writer.evaluate(kept.case, probabilities, data_loader.view(kept.label))

        return self._use_each(cases, score, "evaluating")

    def _leave_out(self, errors, cases):
        """Let the run go on without some of the cases, and tell of them at its end."""
        if errors:
            self._left_out = unusable(errors, len(cases))

    def _everyones(self, figures, kind, cases):
        """The figures of all workers' cases, in the order of the cases."""
        return gathered(self.workers, figures, kind, [case.name for case in cases], len(self.structures))

    def _report(self, scores):
        summary = report.summarise(scores, self.structures, self._used())
        report.write(summary, self.model_dir)
        run_log.log_evaluation(summary)
        say(report.format_table(summary))
        say("scores: {}".format(os.path.join(self.model_dir, report.JSON_NAME)))

    def _used(self):
        steps = [_step_of(checkpoint) for checkpoint in self._checkpoints()]
        return {"checkpoint": {"which": self.params["checkpoint"], "step": steps if self.params["folds"] else steps[0]}}

    def predict(self):
        """Write a mask for each of ``--images``, or of the task's test images."""
        if not self.job.predicted:
            self._say("--data_dir {}: lists no test images, nothing to predict".format(self.params["data_dir"]))
            return
        cases = self.workers.share(self.job.predicted)
        writer = MaskWriter(self.params, self.structures)

        def write(predicted):
            kept, probabilities = predicted
            return writer.write(kept.case, probabilities)

        made, errors = self._use_each(cases, write, "predicting")
        self._leave_out(errors, self.job.predicted)
        made = self._everyones(made, predictions.CasePrediction, self.job.predicted)
        if self.workers.is_first:
            predictions.write(made, self.structures, self.model_dir, self._used())
            predictions.tell(made, self.model_dir)
            writer.tell()
            self._leave_page(self.job.predicted, predicted=True)

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
        """What ``use`` makes of the (Kept, probabilities) of each case, in order, and UserErrors of the others.

        Reading, the network and ``use`` work at the same time. A UserError of ``use`` that is not about one file, such
        as a full disk, is the last.
        """

        def attempt(predicted):
            try:
                with memory.running_out_over(predicted[0].case.image):
                    return use(predicted)
            except UnusableFile as error:
                return UserError(str(error))

        results, errors, checkpoints = [], [], self._checkpoints()
        with self._progress(len(cases), description, "cases") as progress:
            try:
                for result in overlapped(attempt, self._predicted(cases, checkpoints, errors), threads(self.params)):
                    (errors if isinstance(result, UserError) else results).append(result)
                    progress.update()
            except UserError as error:
                errors.append(error)
        return results, errors

    def _checkpoints(self):
        return [_latest_checkpoint(folder) for folder in model_folder.checkpoint_folders(self.params)]

    def _predicted(self, cases, checkpoints, errors):
        """Each case's Kept and class probabilities float32 [X, Y, Z, K] in turn; UserErrors of others to ``errors``."""
        read, failed = collections.deque(), []

        def images():
            # In a thread of TensorFlow's, which would make errors of its own of what is raised here.
            try:
                for kept in keep_in_turn(
                    cases, self._preparation.settings, self.params["cache_dir"], threads(self.params)
                ):
                    if isinstance(kept, UserError):
                        errors.append(kept)
                    else:
                        read.append(kept)
                        yield data_loader.view(kept.image)
            except Exception as error:
                failed.append(error)

        shape = self.params["input_shape"] + [len(self.params["modalities"])]
        flips = len(mirrorings(self.params["flip_axes"])) if self.params["test_time_flips"] else 1
        batch_size = self.params["prediction_batch_size"] or max(1, self._prediction_batch_size() // flips)
        predictions = self._estimator(self.model_dir, weights=checkpoints).predict(
            lambda: data_loader.streamed_dataset(images, shape, batch_size),
            checkpoint_path=checkpoints[0],
        )
        for prediction in predictions:
            yield read.popleft(), prediction["probabilities"]
        if failed:
            raise failed[0]

    def _prediction_batch_size(self):
        return self.params["prediction_batch_size"] or prediction_batch_size(self.params["input_shape"], bool(gpus()))

    def finish(self):
        """Draw the training curves where pictures are asked for, and say where the log is.

        Raises UserError where some cases could not be predicted.
        """
        if self.workers.is_first:
            self._conclude()
        # A launcher ends all workers when one fails.
        self.workers.wait_for_all()
        if self._left_out:
            raise self._left_out

    def _conclude(self):
        dllogger.flush()
        log = run_log.log_path(self.params)
        trained = self.params["exec_mode"] in params_file.TRAINING_MODES and not self.params["benchmark"]
        if self.params["pictures"] and trained:
            from utils.pictures import training_curves

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
            keep_checkpoint_max=LAST_CHECKPOINTS_KEPT,
            save_summary_steps=None,
            log_step_count_steps=None,
        )
        params = dict(self.params, weights=weights)
        if plan is not None:
            # A function, since the Estimator copies its params deeply, a method's object with it.
            params.update(wrap_optimizer=lambda optimizer: self._wrap_optimizer(optimizer))
            params.update(steps_per_epoch=plan.steps_per_epoch)
        return tf.estimator.Estimator(model_fn, config=run_config, params=params)

    def _wrap_optimizer(self, optimizer):
        averaged = self.workers.average_gradients(optimizer)
        return scale_loss(averaged) if self.params["amp"] and gpus() else averaged


def _latest_checkpoint(folder):
    checkpoint = tf.train.latest_checkpoint(folder)
    if checkpoint is None:
        # The Estimator would go on with fresh weights.
        raise UserError(
            '{}: has no file "checkpoint" that names a checkpoint there: put it back, or train in another '
            "--model_dir".format(folder)
        )
    return checkpoint


def _step_of(checkpoint):
    return int(tf.train.load_variable(checkpoint, tf.GraphKeys.GLOBAL_STEP))
