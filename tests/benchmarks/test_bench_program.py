"""How the benchmarks' programs end."""

import signal
import subprocess

import pytest
from test_bench import PROJECT, python

from benchmarks import program
from utils.system.errors import UserError

KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from benchmarks import program
sys.exit(program.status_of("a.py", lambda: os.kill(os.getpid(), int(sys.argv[2])) or signal.pause()))
"""


@pytest.fixture(autouse=True)
def own_handlers():
    """The tests' own program keeps its handlers."""
    handlers = {number: signal.getsignal(number) for number in program.LATER}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


class TestStatus:
    def test_done(self):
        assert program.status_of("a.py", lambda: "anything") == 0

    def test_what_a_user_can_put_right_is_told_in_a_line(self, capsys):
        def refused():
            raise UserError("--rounds: too many")

        assert program.status_of("a.py", refused) == 2
        assert capsys.readouterr().err == "a.py: error: --rounds: too many\n"

    def test_what_is_a_fault_is_not_hidden(self):
        with pytest.raises(ZeroDivisionError):
            program.status_of("a.py", lambda: 1 // 0)

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_a_signal_ends_it_without_a_traceback(self, number):
        finished = subprocess.run(python(KILLED, PROJECT, int(number)), stderr=subprocess.PIPE, timeout=60)
        assert finished.returncode == 130 and finished.stderr == b""
