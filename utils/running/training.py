"""The part of the runner that trains: checkpoints that a run goes on from, whatever ended the one before."""

import contextlib
import functools
import signal
import tempfile

import numpy as np

from model.model_fn import probabilities_of
from utils import data_loader
from utils.config.modes import uses_held_out
from utils.hooks.checkpoint_hook import CheckpointHook
from utils.hooks.evaluation_hook import EvaluationHook
from utils.hooks.stopping_hook import StoppingHook
from utils.hooks.training_hook import TrainingHook
from utils.imaging import case_files, split
from utils.inference.predictor import batch_size_of
from utils.inspection import scan_warnings
from utils.model_dir import checkpoints, epoch_state
from utils.model_dir import paths as model_folder
from utils.model_dir import settings as model_settings
from utils.preprocessing import ct_intensities
from utils.preprocessing.normalization import clipped_channels
from utils.sampling import augmentation
from utils.system import interruption
from utils.system.errors import UserError

LAST_CHECKPOINTS_KEPT = 3
NAMES_IN_A_MESSAGE = 8


class Training:
    """What a ``utils.runner.Runner``, whose attributes and methods it uses, does in training."""

    def train(self):
        """Train up to ``train_epochs`` epochs in all, going on from the last checkpoint in ``model_dir``.

        Raises:
            Interrupted: a signal ended it, after a checkpoint was saved.
            UserError: the loss is no number any more, or cases cannot be used, or have changed since the training
                began, or a file cannot be written.
        """
        self._learn_intensities()
        if self.workers.is_first:
            self._learn_axes(self.job.training)
            self._write_settings()
            self._write_split()
        volumes, held_out = self._preparation.training_volumes(self.job)
        case_files.forget()
        items = self._preparation.items(volumes)
        plan = self._training_plan(len(items), items.order)
        first_step, state = self._last_step()
        # Nobody makes up for an evaluation that is not wanted any more.
        was_due = state.is_due = state.is_due and self._evaluates()
        last_step = self.params["train_epochs"] * plan.steps_per_epoch
        if first_step >= last_step and not state.is_due:
            self._say(
                "{}: has been trained for {} epochs already".format(self.model_dir, first_step // plan.steps_per_epoch)
            )
            return
        kept = volumes.kept + held_out.kept
        self.record.training(self.job, kept, goes_on=first_step > 0)
        for one in kept:
            self._note(one)
        used = self.job.training + (self.job.held_out if uses_held_out(self.params) else ())
        self._tell_of(used, learned=self.job.training)
        self._tell_rounded(used)
        diverged = functools.partial(self._diverged, plan, items)
        done = {"initial": plan.items_before(first_step)}
        with self._progress(plan.items_before(last_step), "training", "images", **done) as progress:
            stopping = StoppingHook(self.workers, interruption.asked)
            hooks = self._training_hooks(plan, progress, held_out, stopping, state, diverged)
            # Where an evaluation is all that is left to do, the batches are at their end at once.
            steps = {"max_steps": last_step} if first_step < last_step else {}
            self._fit(lambda: data_loader.training_dataset(items, plan, first_step, last_step), plan, hooks, **steps)
        if was_due and not state.is_due and first_step >= last_step and self.workers.is_first:
            checkpoints.forget_note(checkpoints.path_of(self.model_dir, first_step))
        if stopping.has_stopped or state.is_due or interruption.asked():
            self._stop()

    def _learn_intensities(self):
        known = self.params["intensities"]
        self.params["intensities"] = self._preparation.learn_intensities(self.job)
        if self.params["intensities"] != known:
            for line in ct_intensities.in_words(self.params["intensities"], self.params["modalities"]):
                self._say(line)
        elif known is None and any(clipped_channels("auto", self.params["modalities"])):
            self._say("CT is normalised scan by scan: a model with --data_normalization auto would go by its numbers")

    def _learn_axes(self, cases):
        if self.params["axes"] is None:
            self.params["axes"] = scan_warnings.axes_of(cases)

    def _training_hooks(self, plan, progress, held_out, stopping, state, diverged):
        """All hooks, in the order in which they are to act; the first worker keeps checkpoints, the others nothing."""
        every = self.params["log_every"]
        hooks = self.workers.hooks()
        hooks.append(TrainingHook(self.workers, plan, progress, every, self.model_dir, state, diverged))
        hooks.append(stopping)
        # After the hook that times the steps, so that training's images per second leave evaluation out.
        if self._evaluates():
            hooks.append(self._evaluation_hook(plan, held_out, state))
        if self.workers.is_first:
            # The last one: an epoch that has its checkpoint has also been measured and logged.
            steps = self.params["checkpoint_every"] * plan.steps_per_epoch
            hooks.append(CheckpointHook(self.model_dir, steps, LAST_CHECKPOINTS_KEPT, state, diverged))
        return hooks

    def _evaluates(self):
        return bool(self.job.held_out and self.params["evaluate_every"])

    def _fit(self, batches, plan, hooks, **steps):
        with contextlib.ExitStack() as stack:
            own = self.workers.is_first
            folder = self.model_dir if own else stack.enter_context(tempfile.TemporaryDirectory())
            stack.callback(interruption.put_off, False)
            self._estimator(folder, plan).train(batches, hooks=hooks, **steps)
            # The first worker has its checkpoint then: a launcher ends all workers when one ends.
            self.workers.wait_for_all()

    def _stop(self):
        # A launcher that ends this worker too, now that another has ended, is not to cut the line short.
        interruption.put_off(True)
        checkpoint = checkpoints.last_listed(self.model_dir)
        told = "a checkpoint was saved, {}; the same command goes on from there".format(checkpoint)
        raise interruption.Interrupted(interruption.asked() or signal.SIGTERM, told)

    def _diverged(self, plan, items, step, told):
        """The UserError for a step, counted from 0, whose loss or weights are no numbers."""
        cases = list(dict.fromkeys(items.case_name(number) for number in plan.batch(step)[0]))
        more = ", ..." if len(cases) > NAMES_IN_A_MESSAGE else ""
        last = checkpoints.last_listed(self.model_dir)
        return UserError(
            "--base_lr {}: training has diverged: {} step {} ({}{}): use a smaller one with another --model_dir, or "
            "look at {}; last good checkpoint: {}".format(
                self.params["base_lr"],
                told,
                step + 1,
                ", ".join(cases[:NAMES_IN_A_MESSAGE]),
                more,
                "these cases" if len(cases) > 1 else "this case",
                last or "none",
            )
        )

    def _write_settings(self):
        model_settings.save(model_settings.settings_of(self.params), self.model_dir)
        self.record.write()

    def _write_split(self):
        names = [[case.name for case in cases] for cases in (self.job.training, self.job.held_out)]
        split.write_split(self.model_dir, self.params["train_split"], self.params["split_seed"], *names)

    def _training_plan(self, count, order=None):
        shares = self.workers.gather([[count]]).ravel().astype(int).tolist()
        settings = [self.params["batch_size"], self.params["seed"], augmentation.strengths(self.params)]
        return data_loader.TrainingPlan(shares, *settings, rank=self.workers.rank, order=order)

    def _last_step(self):
        """Optimizer steps in the last checkpoint that the first worker can read, 0 where there is none; and its state.

        The state is an ``Unfinished``, whose losses the first worker alone has. TensorFlow goes on from the checkpoint
        that the folder's list names: that is this one from now on.
        """
        step, state = 0, epoch_state.Unfinished()
        if self.workers.is_first and model_folder.has_checkpoint(self.model_dir):
            checkpoint = checkpoints.go_on_from_last_good(self.model_dir)
            step = checkpoints.step_of(checkpoint)
            state = epoch_state.from_note(checkpoints.note_of(checkpoint), checkpoint)
        step, is_due = np.sum(self.workers.gather([[step, state.is_due]]), axis=0)
        state.is_due = bool(is_due)
        return int(step), state

    def _evaluation_hook(self, plan, held_out, state):
        volumes, feeding = self._preparation.measured(held_out)
        return EvaluationHook(
            workers=self.workers,
            volumes=volumes,
            feeding=feeding,
            channels=len(self.params["modalities"]),
            network=functools.partial(probabilities_of, params=self.params),
            structures=self.structures,
            batch_size=batch_size_of(self.params),
            every_epochs=self.params["evaluate_every"],
            steps_per_epoch=plan.steps_per_epoch,
            model_dir=self.model_dir,
            unfinished=state,
            asked=interruption.asked,
        )
