"""The runner: a validated params dict becomes an Estimator that trains, evaluates and predicts.

Data flows one way: task -> cases -> kept volumes -> batches -> probabilities -> masks -> scores -> report.
"""

import functools
import os

import dllogger
from model.model_fn import model_fn, probabilities_of
from utils import data_loader, report, run_log, split, tasks
from utils import params as params_file
from utils.errors import UserError
from utils.hooks.evaluation_hook import EvaluationHook
from utils.hooks.training_hook import TrainingHook
from utils.kept_copy import keep
from utils.masks import MaskWriter
from utils.progress import Progress
from utils.session_config import session_config
from utils.tf_runtime import gpus, scale_loss, tf

LAST_CHECKPOINTS_KEPT = 3


def run(params):
    """Carry out ``params["exec_mode"]``: each of its parts in turn."""
    runner = Runner(params)
    for part in params["exec_mode"].split("_and_"):
        getattr(runner, part)()
    runner.finish()


class Runner:
    """Runs one execution mode.

    Args:
        params: the validated params dict of ``utils.params``.

    Raises:
        UserError: from any method, where the task or the model's folder does not allow what is asked.
    """

    def __init__(self, params):
        self.params = dict(params)
        self.model_dir = params["model_dir"]
        self.task = tasks.read_task(params["data_dir"]) if params["data_dir"] else None
        self._describe_task()
        run_log.start(self.params)
        run_log.describe_dice(self.structures)
        self.config, notice = session_config(self.params)
        if notice:
            print(notice, flush=True)

    def _describe_task(self):
        """Take structures and modalities from the model where there is one, else from the task."""
        stored = params_file.load(self.model_dir)
        if stored is None:
            described = {
                "task": self.task.name,
                "labels": list(self.task.labels),
                "modalities": list(self.task.modalities),
            }
        else:
            described = {name: stored[name] for name in params_file.TASK_SETTINGS}
            self._check_task(described)
        self.params.update(described)
        self.structures = described["labels"][1:]

    def _check_task(self, described):
        if self.task is None:
            return
        for name in ("labels", "modalities"):
            if list(getattr(self.task, name)) != described[name]:
                raise UserError(
                    "--data_dir {}: its {} are {}, the model in {} was trained for {}: use another --model_dir".format(
                        self.params["data_dir"],
                        name,
                        ", ".join(getattr(self.task, name)),
                        self.model_dir,
                        ", ".join(described[name]),
                    )
                )

    # --- training ---------------------------------------------------------------------------------------

    def train(self):
        """Train up to ``train_epochs`` epochs in all, going on from the last checkpoint in ``model_dir``."""
        training, held_out = self._split()
        volumes = self._volumes(training, "preparing training cases")
        plan = data_loader.TrainingPlan(
            len(volumes), self.params["batch_size"], self.params["seed"], self.params["augment"]
        )
        last_step = self.params["train_epochs"] * plan.steps_per_epoch
        first_step = self.last_step()
        if first_step >= last_step:
            print("{}: holds {} epochs already".format(self.model_dir, first_step // plan.steps_per_epoch), flush=True)
            return
        images = sum(len(plan.batch(step)[0]) for step in range(first_step % plan.steps_per_epoch))
        images += first_step // plan.steps_per_epoch * len(volumes)
        total = self.params["train_epochs"] * len(volumes)
        with Progress(total, "training", "images", initial=images) as progress:
            hooks = [TrainingHook(plan, progress, self.params["log_every"], self.model_dir)]
            if held_out and self.params["evaluate_every"]:
                hooks.insert(0, self._evaluation_hook(held_out, plan))
            estimator = self._estimator(save_every=self.params["checkpoint_every"] * plan.steps_per_epoch)
            estimator.train(
                lambda: data_loader.training_dataset(volumes, plan, first_step, last_step),
                hooks=hooks,
                max_steps=last_step,
            )

    def last_step(self):
        """Optimizer steps of the last checkpoint in ``model_dir``; 0 where there is none."""
        checkpoint = tf.train.latest_checkpoint(self.model_dir)
        return int(tf.train.load_variable(checkpoint, tf.GraphKeys.GLOBAL_STEP)) if checkpoint else 0

    def _split(self):
        names = [case.name for case in self.task.training]
        training, held_out = split.split_cases(names, self.params["train_split"], self.params["split_seed"])
        split.check_stored_split(self.model_dir, training, held_out)
        params_file.save(
            params_file.settings_of(
                self.params, self.params["task"], self.params["labels"], self.params["modalities"]
            ),
            self.model_dir,
        )
        split.write_split(
            self.model_dir, self.params["train_split"], self.params["split_seed"], training, held_out
        )
        by_name = {case.name: case for case in self.task.training}
        return [by_name[name] for name in training], [by_name[name] for name in held_out]

    def _evaluation_hook(self, held_out, plan):
        return EvaluationHook(
            volumes=self._volumes(held_out, "preparing held-out cases"),
            network=functools.partial(probabilities_of, params=self.params),
            structures=self.structures,
            batch_size=self.params["batch_size"],
            every_steps=self.params["evaluate_every"] * plan.steps_per_epoch,
            steps_per_epoch=plan.steps_per_epoch,
            model_dir=self.model_dir,
        )

    # --- evaluation and prediction ----------------------------------------------------------------------

    def evaluate(self):
        """Score the held-out cases: soft Dice on the network's grid, hard Dice of the masks written."""
        held_out = self._held_out_cases()
        volumes = self._volumes(held_out, "preparing held-out cases")
        writer = MaskWriter(self.params, self.structures)
        scores = []
        with Progress(len(held_out), "evaluating", "cases") as progress:
            for index, probabilities in enumerate(self._predicted(volumes)):
                scores.append(writer.evaluate(held_out[index], probabilities, volumes.label(index)))
                progress.update()
        summary = report.summarise(scores, self.structures, {"checkpoint": self._checkpoint_entry()})
        report.write(summary, self.model_dir)
        dllogger.log((), self._means(summary))
        print(report.format_table(summary), flush=True)
        writer.tell()

    @staticmethod
    def _means(summary):
        return {
            run_log.dice_name(measure, structure): value
            for measure in report.MEASURES
            for structure, value in summary["mean"][measure].items()
        }

    def _held_out_cases(self):
        stored = split.read_split(self.model_dir)
        if stored is None:
            raise UserError("{}: has no split.json, so that what was held out is not known".format(self.model_dir))
        names = set(stored["held_out"])
        cases = [case for case in self.task.training if case.name in names]
        if not cases:
            raise UserError(
                "--data_dir {}: has none of the cases held out in {}".format(
                    self.params["data_dir"], os.path.join(self.model_dir, "split.json")
                )
            )
        return cases

    def predict(self):
        """Write a mask for each of ``--images``, or of the task's test images."""
        if self.params["images"]:
            cases = tasks.cases_of_images(self.params["images"])
        else:
            cases = self.task.test
        if not cases:
            print("{}: lists no test images; nothing to predict".format(self.params["data_dir"]), flush=True)
            return
        volumes = self._volumes(cases, "preparing images")
        writer = MaskWriter(self.params, self.structures)
        with Progress(len(cases), "predicting", "cases") as progress:
            for case, probabilities in zip(cases, self._predicted(volumes)):
                writer.write(case, probabilities)
                progress.update()
        writer.tell()

    def _predicted(self, volumes):
        """Class probabilities float32 [X, Y, Z, K] of each case in turn."""
        checkpoint = tf.train.latest_checkpoint(params_file.checkpoint_folder(self.params))
        predictions = self._estimator().predict(
            lambda: data_loader.ordered_dataset(volumes, self.params["batch_size"]), checkpoint_path=checkpoint
        )
        return (prediction["probabilities"] for prediction in predictions)

    def _checkpoint_entry(self):
        checkpoint = tf.train.latest_checkpoint(params_file.checkpoint_folder(self.params))
        step = int(tf.train.load_variable(checkpoint, tf.GraphKeys.GLOBAL_STEP))
        return {"which": self.params["checkpoint"], "step": step}

    def finish(self):
        """Draw the training curves where pictures are asked for, and say where everything is."""
        log = run_log.log_path(self.params)
        print("log: {}".format(log), flush=True)
        if self.params["pictures"]:
            from utils.pictures import training_curves

            curves = os.path.join(self.model_dir, "training_curves.png")
            training_curves(curves, log)
            print("training curves: {}".format(curves), flush=True)
        dllogger.flush()

    # --- what all modes share ---------------------------------------------------------------------------

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

    def _estimator(self, save_every=None):
        run_config = tf.estimator.RunConfig(
            model_dir=self.model_dir,
            tf_random_seed=self.params["seed"],
            session_config=self.config,
            save_checkpoints_steps=save_every,
            save_checkpoints_secs=None,
            keep_checkpoint_max=LAST_CHECKPOINTS_KEPT,
            save_summary_steps=self.params["log_every"],
            log_step_count_steps=None,
        )
        params = dict(self.params, wrap_optimizer=self._wrap_optimizer)
        return tf.estimator.Estimator(model_fn, config=run_config, params=params)

    def _wrap_optimizer(self, optimizer):
        return scale_loss(optimizer) if self.params["amp"] and gpus() else optimizer
