import fcntl
import io
import os
import re
import struct
import sys
import termios

import pytest

from utils.system.progress import Progress, say


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def run_plain(updates, total, seconds_each, **arguments):
    """Returns the lines, without their time of day, of a run whose updates take so long each."""
    stream, clock = io.StringIO(), Clock()
    with Progress(total, "training", "images", stream=stream, clock=clock, **arguments) as progress:
        for count, values in updates:
            clock.now += seconds_each
            progress.update(count, **values)
    lines = stream.getvalue().splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d training: ", line) for line in lines)
    return [line[9:] for line in lines]


def run_on_terminal(updates, total, **arguments):
    stream = Terminal()
    with Progress(total, "training", "images", stream=stream, **arguments) as progress:
        for count, values in updates:
            progress.update(count, **values)
    return stream.getvalue()


class TestLines:
    def test_at_most_one_in_ten_seconds_and_one_at_the_end(self):
        lines = run_plain([(2, {"loss": 0.5 / step}) for step in range(1, 31)], total=60, seconds_each=1.0)
        assert lines == [
            "training: 20/60 images (33%), 2.00 images/s, loss 0.05, 00:20 left",
            "training: 40/60 images (67%), 2.00 images/s, loss 0.025, 00:10 left",
            "training: 60/60 images (100%), 2.00 images/s, loss 0.01667, 00:30 taken",
        ]

    def test_long_updates_have_a_line_each(self):
        lines = run_plain([(1, {})] * 3, total=3, seconds_each=4000.0)
        assert [line.split(",")[0] for line in lines] == [
            "training: {}/3 images ({}%)".format(done, percent) for done, percent in [(1, 33), (2, 67), (3, 100)]
        ]
        assert lines[0].endswith(", 2:13:20 left")

    def test_short_work_has_the_last_line_alone(self):
        assert run_plain([(1, {})] * 5, total=5, seconds_each=0.1) == [
            "training: 5/5 images (100%), 10.00 images/s, 00:00 taken"
        ]

    def test_rate_leaves_out_what_an_earlier_run_did(self):
        lines = run_plain([(5, {}), (5, {})], total=100, seconds_each=10.0, initial=90)
        assert lines == [
            "training: 95/100 images (95%), 0.50 images/s, 00:10 left",
            "training: 100/100 images (100%), 0.50 images/s, 00:20 taken",
        ]

    def test_time_left_follows_the_present_rate(self):
        stream, clock = io.StringIO(), Clock()
        with Progress(100, "training", "images", stream=stream, clock=clock) as progress:
            for seconds in (90.0, 10.0):
                clock.now += seconds
                progress.update(10)
        first, second, _ = stream.getvalue().splitlines()
        assert first.endswith("13:30 left") and second.endswith("01:20 left")

    def test_nothing_to_do(self):
        assert run_plain([], total=0, seconds_each=1.0) == ["training: 0/0 images, 0.00 images/s, 00:00 taken"]

    def test_an_update_of_nothing_leaves_no_guess_of_the_rest(self):
        lines = run_plain([(0, {})], total=5, seconds_each=20.0)
        assert lines[0] == "training: 0/5 images (0%), 0.00 images/s"

    def test_what_broke_off_says_how_far_it_came(self):
        stream = io.StringIO()
        with pytest.raises(KeyError, match="broken"), Progress(10, "training", "images", stream=stream) as progress:
            progress.update(3)
            raise KeyError("broken")
        assert "training: 3/10 images (30%)" in stream.getvalue()

    def test_standard_error_by_default(self, capsys):
        with Progress(1, "prediction", "cases") as progress:
            progress.update()
        captured = capsys.readouterr()
        assert captured.out == "" and "prediction: 1/1 cases (100%)" in captured.err


class TestBar:
    def test_ends_with_the_whole_state(self):
        text = run_on_terminal([(2, {"loss": 0.123456})] * 10, total=20)
        last = text.rstrip("\n").split("\r")[-1]
        assert last.startswith("training: 100% |")
        assert re.search(r"\| 20/20 images, +[\d.]+ images/s, loss 0.1235, 00:00 left", last)
        assert text.endswith("\n")

    def test_is_drawn_before_the_first_update(self):
        assert "  0% |" in run_on_terminal([], total=20)

    def test_goes_on_where_an_earlier_run_ended(self):
        text = run_on_terminal([(5, {})], total=100, initial=90)
        assert " 90% |" in text and " 95% |" in text

    def test_values_stay_when_an_update_has_none(self):
        assert "loss 0.5" in run_on_terminal([(1, {"loss": 0.5}), (1, {})], total=2).split("\r")[-1]

    def test_nothing_to_do(self):
        assert run_on_terminal([(0, {})], total=0) == ""

    def test_more_than_there_was_to_do(self):
        assert "5/5 images" in run_on_terminal([(5, {})], total=3).split("\r")[-1]

    def test_the_same_content_as_the_lines(self):
        updates = [(1, {"loss": 0.25})] * 4
        bar, line = run_on_terminal(updates, total=4), run_plain(updates, total=4, seconds_each=1.0)[-1]
        for part in ("training:", "100%", "4/4 images", "images/s", "loss 0.25"):
            assert part in bar and part in line


class TestPseudoTerminal:
    @staticmethod
    def read_until_line_end(reader):
        received = b""
        with open(reader, "rb", buffering=0) as screen:
            while b"\n" not in received:
                received += screen.read(10000)
        return received.decode("utf-8")

    @pytest.mark.parametrize("rows, columns, width", [(24, 100, 100), (0, 0, 80), (0, 120, 80)])
    def test_bar_fits_whatever_the_size(self, rows, columns, width, monkeypatch):
        monkeypatch.delenv("COLUMNS", raising=False)
        monkeypatch.delenv("LINES", raising=False)
        reader, writer = os.openpty()
        fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        with open(writer, "w", encoding="utf-8") as stream:
            with Progress(2, "training", "images", stream=stream) as progress:
                progress.update(2, loss=0.5)
            last = self.read_until_line_end(reader).rstrip("\r\n").split("\r")[-1]
        assert last.startswith("training: 100% |") and last.endswith("images/s, loss 0.5, 00:00 left")
        assert width - 2 <= len(last) <= width


class TestSay:
    def test_a_line_on_standard_output(self, capsys):
        say("epoch 1: Dice 0.8")
        assert capsys.readouterr() == ("epoch 1: Dice 0.8\n", "")

    def test_clears_the_bar_before_and_draws_it_again(self, monkeypatch):
        terminal = Terminal()
        monkeypatch.setattr(sys, "stdout", terminal)
        monkeypatch.setattr(sys, "stderr", terminal)
        with Progress(2, "training", "images") as progress:
            progress.update()
            say("epoch 1: Dice 0.8")
            said = len(terminal.getvalue())
            progress.update()
        assert re.search(r"\r +\repoch 1: Dice 0.8\n", terminal.getvalue()[:said])
        assert terminal.getvalue().rstrip("\n").split("\r")[-1].startswith("training: 100% |")

    def test_between_lines(self, capsys):
        with Progress(1, "training", "images") as progress:
            say("epoch 1: Dice 0.8")
            progress.update()
        assert capsys.readouterr().out == "epoch 1: Dice 0.8\n"


def test_a_terminal_or_file_that_takes_no_more_is_named(monkeypatch):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(OSError, match="No space left on device: 'standard output'"):
            say("masks: eval")
        monkeypatch.undo()
        # What it could not write it would try again when it is closed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())
