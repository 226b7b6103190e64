"""What a training that is stopped within an epoch hands on, with its checkpoint, to the one that goes on."""

from utils.system.errors import UserError


class Unfinished:
    """The state of an epoch that is in no variable.

    Attributes:
        loss: sum of the losses of the epoch's cases so far, of all workers.
        cases: how many cases that were.
        is_due: whether the epoch is over, but its held-out cases could not be scored any more.
    """

    def __init__(self, loss=0.0, cases=0.0, is_due=False):
        self.loss = float(loss)
        self.cases = float(cases)
        self.is_due = bool(is_due)

    def note(self):
        """The dict that goes with the checkpoint, or None where there is nothing to hand on."""
        return dict(vars(self)) if self.cases or self.is_due else None

    def take_losses(self):
        """(loss, cases), which are 0 from then on."""
        taken = self.loss, self.cases
        self.loss = self.cases = 0.0
        return taken


def from_note(note, checkpoint):
    """The ``Unfinished`` whose note (or None) a checkpoint has; raises UserError where that is damaged."""
    try:
        return Unfinished(**(note or {}))
    except (TypeError, ValueError) as error:
        raise UserError("{}.json: is damaged: delete it".format(checkpoint)) from error
