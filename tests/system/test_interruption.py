import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from utils.system import interruption
from utils.system.interruption import Interrupted

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SIGNALS = sorted(interruption.TOLD)


def send(number):
    """A signal to this process, which Python has handled when this returns, be it by what it raises."""
    os.kill(os.getpid(), number)
    time.sleep(0.01)


def raised(first, then=None, chained=True):
    """An exception, and what a library makes of it, as it is caught."""
    try:
        try:
            raise first
        except BaseException as error:
            if then is None:
                raise
            raise then from (error if chained else None)
    except BaseException as error:
        return error


class TestBehind:
    def test_itself(self):
        error = KeyboardInterrupt()
        assert interruption.behind(raised(error)) is error

    @pytest.mark.parametrize("chained", [True, False])
    def test_what_a_library_makes_of_it(self, chained):
        error = Interrupted(signal.SIGTERM)
        made = raised(error, SystemError("returned a result with an error set"), chained)
        assert interruption.behind(made) is error

    def test_other_errors(self):
        assert interruption.behind(raised(ValueError(), SystemError())) is None
        assert interruption.behind(raised(SystemExit(0))) is None


class TestFirst:
    @pytest.mark.parametrize("number", SIGNALS)
    def test_raises_and_is_known(self, number):
        with interruption.handled("program"):
            assert interruption.asked() is None
            with pytest.raises(Interrupted) as caught:
                send(number)
            assert caught.value.number == number == interruption.asked()
        assert interruption.asked() is None

    @pytest.mark.parametrize("number", SIGNALS)
    def test_is_only_known_while_it_is_put_off(self, number):
        with interruption.handled("program"):
            interruption.put_off(True)
            send(number)
            assert interruption.asked() == number
            interruption.put_off(False)

    def test_what_is_ignored_stays_ignored(self):
        # As by nohup.
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            with interruption.handled("program"):
                send(signal.SIGHUP)
                assert interruption.asked() is None
        finally:
            signal.signal(signal.SIGHUP, before)

    def test_afterwards_all_is_as_before(self):
        before = [signal.getsignal(number) for number in SIGNALS]
        threads = threading.active_count()
        with interruption.handled("program"):
            assert [signal.getsignal(number) for number in SIGNALS] != before
        assert [signal.getsignal(number) for number in SIGNALS] == before
        assert threading.active_count() == threads

    def test_without_it_nothing_is_asked_or_put_off(self):
        interruption.put_off(True)
        assert interruption.asked() is None

    def test_in_another_thread_nothing_changes(self):
        found = []

        def look():
            with interruption.handled("program"):
                found.append(signal.getsignal(signal.SIGTERM))

        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        assert found == [signal.getsignal(signal.SIGTERM)]


class TestReport:
    @pytest.mark.parametrize("number, told", [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")])
    def test_one_line_and_the_status(self, capsys, number, told):
        assert interruption.report("program", Interrupted(number)) == 128 + number
        assert interruption.report("program", Interrupted(number, "saved")) == 128 + number
        assert capsys.readouterr().err == "program: {0}\nprogram: {0}: saved\n".format(told)

    def test_ctrl_c_by_itself(self, capsys):
        assert interruption.report("program", KeyboardInterrupt()) == 130
        assert capsys.readouterr().err == "program: interrupted\n"

    @pytest.mark.parametrize("prefix", ["OMPI_COMM_WORLD", "HOROVOD"])
    def test_the_other_workers_say_nothing(self, capsys, monkeypatch, prefix):
        monkeypatch.setenv(prefix + "_SIZE", "2")
        monkeypatch.setenv(prefix + "_RANK", "1")
        assert interruption.report("program", Interrupted(signal.SIGTERM)) == 143
        assert capsys.readouterr().err == ""


# Does not end by itself: no handler of Python's runs while it is at its deed, or what is raised is lost.
DEAF = """
import hashlib, time
from utils.system import interruption
interruption.SECONDS_TO_END = {seconds}
with interruption.handled("program"):
    interruption.put_off({put_off})
    print("ready", flush=True)
    {deed}
"""
# Minutes in one call, without Python's lock, as a step of TensorFlow's.
IN_C = "hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"
SWALLOWING = """
    while True:
        try:
            time.sleep(1)
        except KeyboardInterrupt:
            pass
"""


def deaf(seconds, put_off, deed):
    """A process that is at its deed, in which signals come to nothing."""
    process = subprocess.Popen(
        [sys.executable, "-c", DEAF.format(seconds=seconds, put_off=put_off, deed=deed)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        cwd=PROJECT,
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.1)
    return process


class TestAtOnce:
    @pytest.mark.parametrize("number, put_off", [(signal.SIGINT, True), (signal.SIGTERM, False)])
    def test_a_second_signal_ends_what_hears_none(self, number, put_off):
        process = deaf(60, put_off, IN_C)
        process.send_signal(number)
        time.sleep(2 * interruption.SECONDS_OF_ONE_SIGNAL)
        assert process.poll() is None
        process.send_signal(number)
        assert process.communicate(timeout=60) == ("", "program: {}: ended at once\n".format(interruption.TOLD[number]))
        assert process.returncode == 128 + number

    @pytest.mark.parametrize("deed", [IN_C, SWALLOWING])
    def test_what_does_not_end_by_itself_is_ended(self, deed):
        process = deaf(0.3, False, deed)
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=60) == ("", "program: terminated: ended at once\n")
        assert process.returncode == 143

    def test_not_while_it_is_put_off(self):
        process = deaf(0.3, True, "time.sleep(0.8); interruption.put_off(False); " + IN_C)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert process.poll() is None
        process.communicate(timeout=60)
        assert process.returncode == 143

    def test_a_signal_that_comes_twice_at_once_is_one(self):
        process = deaf(60, True, "time.sleep(1)")
        for _ in range(3):
            process.send_signal(signal.SIGTERM)
            time.sleep(0.05)
        process.communicate(timeout=60)
        assert process.returncode == 0
