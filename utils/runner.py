"""The runner: a validated params dict and a job become an Estimator that trains, evaluates and predicts.

Data flows one way: task -> cases -> kept volumes -> batches -> probabilities -> masks -> scores -> report.
"""

import functools
import os
import tempfile

import dllogger
from model.model_fn import model_fn, probabilities_of
from utils import benchmark, data_loader, hardware, report, run_log, split
from utils import params as params_file
from utils.errors import UserError
from utils.hooks.evaluation_hook import EvaluationHook
from utils.hooks.profiling_hook import ProfilingHook
from utils.hooks.training_hook import TrainingHook
from utils.kept_copy import keep
from utils.masks import MaskWriter
from utils.progress import Progress, say
from utils.session_config import session_config
from utils.tf_runtime import gpus, scale_loss, tf, version

LAST_CHECKPOINTS_KEPT = 3


def run(params, job):
    """Carry out each part of ``params["exec_mode"]`` in turn, or measure it where ``benchmark`` is set."""
    runner = Runner(params, job)
    for part in params["exec_mode"].split("_and_"):
        getattr(runner, "benchmark_" + part if params["benchmark"] else part)()
    runner.finish()


class Runner:
    """Runs the parts of an execution mode.

    Args:
        params: the validated params dict of ``utils.params``.
        job: the ``utils.job.Job`` planned from it.

    Raises:
        UserError: from any method, where a file or folder does not allow what is asked.
    """

    def __init__(self, params, job):
        self.params = dict(params, **job.description)
        self.job = job
        self.model_dir = params["model_dir"]
        self.structures = job.description["labels"][1:]
        self.config, notice = session_config(self.params)
        run_log.start(self.params, self.structures, version())
        if notice:
            say(notice)

    def train(self):
        """Train up to ``train_epochs`` epochs in all, going on from the last checkpoint in ``model_dir``."""
        self._write_settings()
        volumes = self._volumes(self.job.training, "preparing training cases")
        plan = self._training_plan(volumes)
        first_step, last_step = self._last_step(), self.params["train_epochs"] * plan.steps_per_epoch
        if first_step >= last_step:
            say("{}: has been trained for {} epochs already".format(self.model_dir, first_step // plan.steps_per_epoch))
            return
        with Progress(
            plan.cases_before(last_step), "training", "images", initial=plan.cases_before(first_step)
        ) as progress:
            hooks = [TrainingHook(plan, progress, self.params["log_every"], self.model_dir)]
            if self.job.held_out and self.params["evaluate_every"]:
                hooks.insert(0, self._evaluation_hook(plan))
            self._estimator(self.model_dir, self.params["checkpoint_every"] * plan.steps_per_epoch).train(
                lambda: data_loader.training_dataset(volumes, plan, first_step, last_step),
                hooks=hooks,
                max_steps=last_step,
            )

    def _write_settings(self):
        settings = params_file.settings_of(self.params, **self.job.description)
        params_file.save(settings, self.model_dir)
        names = [[case.name for case in cases] for cases in (self.job.training, self.job.held_out)]
        split.write_split(self.model_dir, self.params["train_split"], self.params["split_seed"], *names)

    def _training_plan(self, volumes):
        return data_loader.TrainingPlan(
            len(volumes), self.params["batch_size"], self.params["seed"], self.params["augment"]
        )

    def _last_step(self):
        if not params_file.has_checkpoint(self.model_dir):
            return 0
        return _step_of(_latest_checkpoint(self.model_dir))

    def _evaluation_hook(self, plan):
        return EvaluationHook(
            volumes=self._volumes(self.job.held_out, "preparing held-out cases"),
            network=functools.partial(probabilities_of, params=self.params),
            structures=self.structures,
            batch_size=self.params["batch_size"],
            every_epochs=self.params["evaluate_every"],
            steps_per_epoch=plan.steps_per_epoch,
            model_dir=self.model_dir,
        )

    def evaluate(self):
        """Score the held-out cases: soft Dice on the network's grid, hard Dice of the masks written."""
        cases = self.job.held_out
        volumes = self._volumes(cases, "preparing held-out cases")
        writer = MaskWriter(self.params, self.structures)
        checkpoint = self._checkpoint()
        scores = []
        with Progress(len(cases), "evaluating", "cases") as progress:
            for index, probabilities in enumerate(self._predicted(volumes, checkpoint)):
                scores.append(writer.evaluate(cases[index], probabilities, volumes.label(index)))
                progress.update()
        used = {"which": self.params["checkpoint"], "step": _step_of(checkpoint)}
        summary = report.summarise(scores, self.structures, {"checkpoint": used})
        report.write(summary, self.model_dir)
        run_log.log_evaluation(summary)
        say(report.format_table(summary))
        say("scores: {}".format(os.path.join(self.model_dir, report.JSON_NAME)))
        say("masks: {}".format(writer.folder))

    def predict(self):
        """Write a mask for each of ``--images``, or of the task's test images."""
        cases = self.job.predicted
        if not cases:
            say("--data_dir {}: lists no test images, nothing to predict".format(self.params["data_dir"]))
            return
        volumes = self._volumes(cases, "preparing images")
        writer = MaskWriter(self.params, self.structures)
        with Progress(len(cases), "predicting", "cases") as progress:
            for case, probabilities in zip(cases, self._predicted(volumes, self._checkpoint())):
                writer.write(case, probabilities)
                progress.update()
        say("masks: {}".format(writer.folder))

    def _checkpoint(self):
        return _latest_checkpoint(params_file.checkpoint_folder(self.params))

    def _predicted(self, volumes, checkpoint):
        """Class probabilities float32 [X, Y, Z, K] of each case in turn."""
        predictions = self._estimator(self.model_dir).predict(
            lambda: data_loader.ordered_dataset(volumes, self.params["batch_size"]), checkpoint_path=checkpoint
        )
        return (prediction["probabilities"] for prediction in predictions)

    def benchmark_train(self):
        """Measure training steps; what they train is thrown away."""
        hook = self._profiling_hook("train")
        batches = self._benchmark_training_batches(hook.last_step)
        with tempfile.TemporaryDirectory() as folder:
            self._estimator(folder).train(batches, hooks=[hook], max_steps=hook.last_step)
        self._report_benchmark(hook)

    def _benchmark_training_batches(self, steps):
        if self.params["synthetic"]:
            return lambda: benchmark.synthetic_dataset(self.params, steps, labelled=True)
        kept = self._volumes(self.job.training, "preparing training cases")
        volumes = benchmark.whole_batches(kept, self.params["batch_size"])
        plan = self._training_plan(volumes)
        return lambda: data_loader.training_dataset(volumes, plan, 0, steps)

    def benchmark_predict(self):
        """Measure prediction steps with fresh weights: their values do not matter to the speed."""
        hook = self._profiling_hook("predict")
        batches = self._benchmark_prediction_batches(hook.last_step)
        with tempfile.TemporaryDirectory() as folder:
            predictions = self._estimator(folder).predict(batches, hooks=[hook], yield_single_examples=False)
            for _ in predictions:
                pass
        self._report_benchmark(hook)

    def _benchmark_prediction_batches(self, steps):
        if self.params["synthetic"]:
            return lambda: benchmark.synthetic_dataset(self.params, steps, labelled=False)
        volumes = self._volumes(self.job.predicted, "preparing images")
        return lambda: data_loader.repeated_dataset(volumes, self.params["batch_size"], steps)

    def _profiling_hook(self, mode):
        steps = self.params["warmup_steps"], self.params["benchmark_steps"]
        return ProfilingHook(mode, self.params["batch_size"], *steps)

    def _report_benchmark(self, hook):
        result = benchmark.result(self.params, hook.mode, hook.figures)
        say("measured on {}".format(hardware.in_words(result["hardware"])))
        if self.params["output"]:
            benchmark.write(self.params["output"], result)
            say("figures: {}".format(self.params["output"]))

    def finish(self):
        """Draw the training curves where pictures are asked for, and say where the log is."""
        dllogger.flush()
        log = run_log.log_path(self.params)
        if self.params["pictures"] and "train" in self.params["exec_mode"] and not self.params["benchmark"]:
            from utils.pictures import training_curves

            curves = os.path.join(self.model_dir, "training_curves.png")
            try:
                training_curves(curves, log)
                say("training curves: {}".format(curves))
            except UserError as error:
                # A finished model whose log was moved away is still a good one.
                say("no training curves: {}".format(error))
        say("log: {}".format(log))

    def _volumes(self, cases, description):
        settings = {
            "input_shape": self.params["input_shape"],
            "resize_interpolator": self.params["resize_interpolator"],
            "data_normalization": self.params["data_normalization"],
            "classes": len(self.params["labels"]),
            "channels": len(self.params["modalities"]),
        }
        with Progress(len(cases), description, "cases") as progress:
            kept = keep(cases, settings, self.params["cache_dir"], lambda done, total: progress.update())
        return data_loader.Volumes(kept)

    def _estimator(self, folder, checkpoint_steps=None):
        run_config = tf.estimator.RunConfig(
            model_dir=folder,
            tf_random_seed=self.params["seed"],
            session_config=self.config,
            save_checkpoints_steps=checkpoint_steps,
            save_checkpoints_secs=None,
            keep_checkpoint_max=LAST_CHECKPOINTS_KEPT,
            save_summary_steps=None,
            log_step_count_steps=None,
        )
        params = dict(self.params, wrap_optimizer=self._wrap_optimizer)
        return tf.estimator.Estimator(model_fn, config=run_config, params=params)

    def _wrap_optimizer(self, optimizer):
        return scale_loss(optimizer) if self.params["amp"] and gpus() else optimizer


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
