"""A parser of command lines whose errors are those of everything else."""

import argparse

from utils.system.errors import UserError

OF_ARGUMENT = "argument "


class PlainParser(argparse.ArgumentParser):
    """Parser whose errors are UserErrors of one line."""

    def error(self, message):
        """Raises UserError(message)."""
        raise UserError(message[len(OF_ARGUMENT) :] if message.startswith(OF_ARGUMENT) else message)
