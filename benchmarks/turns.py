"""Contenders take turns: all are started once, and all but the one whose turn it is are stopped."""

import time

from benchmarks import network
from benchmarks.child import Child, ContenderFailed
from benchmarks.registry import BY_NAME, groups


class Turns:
    """A context that starts the contenders of some cells and ends them.

    Args:
        cells: the `registry.Cell`s to measure, in the order of a round.
        command: function (contender, its cells) -> command line; raises ContenderFailed where there is none.
        shape: the `network.Network`, which the contenders' parameters are counted against.
        say: function that tells a line of what goes on.

    Attributes:
        rates: dict from each cell to its rate in each round so far, None where it was not measured; products have one
            for each of `registry.groups` in each round.
        failures: dict from the name of a contender or a cell to why it was not measured.
        versions: what the contenders run on, each once.
        memory: dict from a contender's name to its peak resident memory in megabytes, all workers together.
    """

    def __init__(self, cells, command, shape, say):
        self.rates = {cell: [] for cell in cells}
        self.failures = {}
        self.versions = []
        self.memory = {}
        self._command = command
        self._shape = shape
        self._say = say
        self._children = {}

    def __enter__(self):
        try:
            for name in [name for name in BY_NAME if any(cell.contender == name for cell in self.rates)]:
                self._attempt(name, self._start, name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception):
        for child in self._children.values():
            child.close()
        self._children.clear()

    def _attempt(self, name, part, *arguments):
        """Returns what one part gives for a contender; where that fails, None: it is out, and the others go on."""
        try:
            return part(*arguments)
        except ContenderFailed as error:
            self.failures[name] = str(error)
            self._say("{}: not measured: {}".format(name, error))
            if name in self._children:
                self._children.pop(name).close()
            return None

    def _start(self, name):
        start = time.monotonic()
        cells = [cell for cell in self.rates if cell.contender == name]
        child = self._children[name] = Child(self._command(BY_NAME[name], cells))
        child.pause()
        self._check(BY_NAME[name], child.description["parameters"])
        for cell in cells:
            reason = child.description["left_out"].get(":".join(cell[1:]))
            if reason:
                self.failures[cell.name] = reason
                self._say("{}: not measured: {}".format(cell.name, reason))
                del self.rates[cell]
        if child.description["version"] not in self.versions:
            self.versions.append(child.description["version"])
        self._say("{}: started in {:.0f} s".format(name, time.monotonic() - start))

    def _check(self, contender, parameters):
        if contender.biases is None:
            return
        expected = network.parameters(self._shape, contender.biases)
        if parameters != expected:
            raise ContenderFailed("is another network: {} parameters, not {}".format(parameters, expected))

    def round(self, seconds):
        """Lets each cell run for about so many seconds, products half as long; what fails from now on has no rate."""
        for cell in [cell for group in groups(self.rates) for cell in group]:
            answer = None
            if cell.contender in self._children:
                length = seconds / 2 if cell.kind == "product" else seconds
                answer = self._attempt(cell.contender, self._turn, cell, length)
            self.rates[cell].append(answer["rate"] if answer else None)
            if answer:
                self.memory[cell.contender] = answer["peak_megabytes"]
                unit = "GFLOP/s" if cell.kind == "product" else "images/s"
                self._say("{}: {:.1f} {} ({} steps)".format(cell.name, answer["rate"], unit, answer["steps"]))

    def _turn(self, cell, seconds):
        child = self._children[cell.contender]
        child.resume()
        answer = child.run(":".join(cell[1:]), seconds)
        child.pause()
        return answer
