import json
import os
import pathlib
import subprocess
import sys
from datetime import datetime

import numpy as np
import pytest
from full_disk import no_file_above

import dllogger
from dllogger import Backend, JSONStreamBackend, Logger, StdOutBackend, Verbosity
from dllogger.values import plain

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@pytest.fixture
def log_path(tmp_path):
    return str(tmp_path / "dllogger.json")


@pytest.fixture(autouse=True)
def not_initialised(monkeypatch):
    monkeypatch.setattr(dllogger, "_logger", None)


def events_of(path):
    with open(path, encoding="utf-8") as file:
        lines = file.read().splitlines()
    assert all(line.startswith("DLLL ") for line in lines)
    return [json.loads(line[len("DLLL ") :], parse_constant=pytest.fail) for line in lines]


def log_to(path, *steps, **arguments):
    backend = JSONStreamBackend(Verbosity.DEFAULT, path, **arguments)
    for step in steps:
        Logger([backend]).log(step, {"loss": 0.5})
    backend.close()


class Recorder(Backend):
    def __init__(self, verbosity):
        super().__init__(verbosity)
        self.steps = []
        self.metrics = []

    def log(self, timestamp, elapsedtime, step, data):
        self.steps.append(step)

    def metadata(self, timestamp, elapsedtime, metric, metadata):
        self.metrics.append(metric)

    def flush(self):
        self.steps.append("flushed")


class TestJsonStream:
    def test_one_line_per_event_with_the_known_keys(self, log_path):
        before = datetime.now().timestamp()
        logger = Logger([JSONStreamBackend(Verbosity.VERBOSE, log_path)])
        logger.log("PARAMETER", {"batch_size": 2})
        logger.metadata("loss", {"unit": None})
        logger.log((1,), {"loss": 0.25})
        parameter, metadata, epoch = events_of(log_path)
        assert list(epoch) == ["timestamp", "datetime", "elapsedtime", "type", "step", "data"]
        assert (parameter["type"], parameter["step"], parameter["data"]) == ("LOG", "PARAMETER", {"batch_size": 2})
        assert (metadata["type"], metadata["metric"], metadata["metadata"]) == ("METADATA", "loss", {"unit": None})
        assert (epoch["step"], epoch["data"]) == ([1], {"loss": 0.25})
        assert before <= float(parameter["timestamp"]) <= float(epoch["timestamp"]) <= datetime.now().timestamp()
        assert 0 <= float(parameter["elapsedtime"]) <= float(epoch["elapsedtime"])
        assert str(datetime.fromtimestamp(float(epoch["timestamp"]))) == epoch["datetime"]

    @pytest.mark.parametrize(
        "step, written", [("PARAMETER", "PARAMETER"), (7, 7), ((), []), ((3, 40), [3, 40]), ([2], [2])]
    )
    def test_steps(self, log_path, step, written):
        log_to(log_path, step)
        assert events_of(log_path)[0]["step"] == written

    def test_numpy_values_and_steps(self, log_path):
        logger = Logger([JSONStreamBackend(Verbosity.DEFAULT, log_path)])
        data = {"loss": np.float32(0.5), "cases": np.int64(3), "dice": np.array([0.5, np.nan]), "amp": np.bool_(True)}
        logger.log((np.int32(1), np.int64(2)), data)
        event = events_of(log_path)[0]
        assert event["step"] == [1, 2]
        assert event["data"] == {"loss": 0.5, "cases": 3, "dice": [0.5, None], "amp": True}

    def test_a_line_is_there_before_the_file_is_closed(self, log_path):
        backend = JSONStreamBackend(Verbosity.DEFAULT, log_path)
        for count in range(1, 4):
            Logger([backend]).log(count, {"text": "x" * 20000})
            assert len(events_of(log_path)) == count

    def test_makes_the_folder(self, tmp_path):
        path = str(tmp_path / "logs" / "deep" / "dllogger.json")
        log_to(path, 1)
        assert len(events_of(path)) == 1

    def test_line_breaks_in_values_do_not_break_lines(self, log_path):
        Logger([JSONStreamBackend(Verbosity.DEFAULT, log_path)]).log(1, {"text": "one\ntwo\u2028three"})
        assert events_of(log_path)[0]["data"]["text"] == "one\ntwo\u2028three"


class TestAppending:
    def test_without_append_the_file_starts_anew(self, log_path):
        log_to(log_path, 1, 2)
        log_to(log_path, 3)
        assert [event["step"] for event in events_of(log_path)] == [3]

    def test_append_goes_on(self, log_path):
        log_to(log_path, 1, append=True)
        log_to(log_path, 2, append=True)
        assert [event["step"] for event in events_of(log_path)] == [1, 2]

    def test_whatever_a_kill_left_of_the_last_line_the_file_stays_readable(self, log_path):
        log_to(log_path, 1, 2)
        whole = pathlib.Path(log_path).read_bytes()
        second = whole.index(b"\n") + 1
        for end in range(second, len(whole) + 1):
            pathlib.Path(log_path).write_bytes(whole[:end])
            log_to(log_path, 3, append=True)
            steps = [event["step"] for event in events_of(log_path)]
            assert steps == ([1, 2, 3] if end >= len(whole) - 1 else [1, 3])

    def test_a_foreign_last_line_is_kept(self, log_path):
        pathlib.Path(log_path).write_bytes(b"a note of mine")
        log_to(log_path, 1, append=True)
        assert pathlib.Path(log_path).read_bytes().startswith(b"a note of mine\nDLLL {")

    def test_a_process_killed_while_logging_leaves_whole_lines(self, log_path):
        program = (
            "import dllogger as d, os, signal\n"
            "d.init([d.JSONStreamBackend(d.Verbosity.DEFAULT, {!r})])\n"
            "for step in range(5): d.log(step, {{'loss': 0.1}})\n"
            "os.kill(os.getpid(), signal.SIGKILL)\n"
        ).format(log_path)
        assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == -9
        assert [event["step"] for event in events_of(log_path)] == list(range(5))

    def test_what_a_full_disk_refuses_spoils_nothing_that_comes_later(self, log_path):
        log_to(log_path, 1)
        backend = JSONStreamBackend(Verbosity.DEFAULT, log_path, append=True)
        logger = Logger([backend])
        with no_file_above(os.path.getsize(log_path) + 20):
            for step in 2, 3:
                with pytest.raises(OSError, match="File too large: .*" + os.path.basename(log_path)):
                    logger.log(step, {"loss": 0.1})
        logger.log(4, {"loss": 0.1})
        backend.close()
        lines = pathlib.Path(log_path).read_text().splitlines()
        assert [json.loads(line[len("DLLL ") :])["step"] for line in lines if line.endswith("}")] == [1, 4]
        assert all(line.startswith("DLLL {") for line in lines if line)


class TestStdOut:
    def test_line_for_people(self, capsys):
        logger = Logger([StdOutBackend(Verbosity.DEFAULT)])
        logger.metadata("rate", {"unit": "images/s", "format": "{:.1f}"})
        logger.log((2, 40), {"loss": 0.5, "rate": 12.345})
        line = capsys.readouterr().out
        assert line.startswith("DLL ") and line.endswith("Epoch: 2 Step: 40 loss : 0.5 rate : 12.3 images/s\n")

    @pytest.mark.parametrize(
        "step, words",
        [("PARAMETER", "PARAMETER"), (7, "Step: 7"), ((7,), "Step: 7"), ((), "Summary:"), ((1, 2, 3, 4), "4 a")],
    )
    def test_steps(self, capsys, step, words):
        Logger([StdOutBackend(Verbosity.DEFAULT)]).log(step, {"a": 1})
        assert words in capsys.readouterr().out

    def test_own_formats(self, capsys):
        backend = StdOutBackend(
            Verbosity.DEFAULT,
            step_format=lambda step: "[{}]".format(step),
            metric_format=lambda metric, metadata, value: "{}={}{}".format(metric, value, metadata["unit"]),
            prefix_format=lambda timestamp: "{:%Y} ".format(timestamp),
        )
        logger = Logger([backend])
        logger.metadata("time", {"unit": "ms"})
        logger.log(3, {"time": 9})
        assert capsys.readouterr().out[4:] == " [3] time=9ms\n"

    def test_a_value_that_is_undefined(self, capsys):
        logger = Logger([StdOutBackend(Verbosity.DEFAULT)])
        logger.metadata("dice", {"format": "{:.3f}"})
        logger.log((), {"dice": None})
        assert capsys.readouterr().out.endswith("dice : undefined\n")

    def test_lines_go_where_they_are_told(self, capsys):
        lines = []
        Logger([StdOutBackend(Verbosity.DEFAULT, write_line=lines.append)]).log((), {"dice": 0.5})
        assert len(lines) == 1 and lines[0].endswith("dice : 0.5")
        assert capsys.readouterr().out == ""


class TestVerbosity:
    @pytest.mark.parametrize(
        "backend, event, taken",
        [
            (Verbosity.DEFAULT, Verbosity.DEFAULT, True),
            (Verbosity.DEFAULT, Verbosity.VERBOSE, False),
            (Verbosity.VERBOSE, Verbosity.DEFAULT, True),
            (Verbosity.VERBOSE, Verbosity.VERBOSE, True),
            (Verbosity.OFF, Verbosity.DEFAULT, False),
            (Verbosity.OFF, Verbosity.OFF, False),
            (0, 1, False),
        ],
    )
    def test_what_a_backend_takes(self, backend, event, taken):
        recorder = Recorder(backend)
        Logger([recorder]).log(1, {}, verbosity=event)
        assert recorder.steps == ([1] if taken else [])

    def test_metadata_goes_to_all_but_those_that_are_off(self):
        recorders = [Recorder(verbosity) for verbosity in Verbosity]
        Logger(recorders).metadata("loss", {})
        assert [recorder.metrics for recorder in recorders] == [[], ["loss"], ["loss"]]

    def test_values_are_the_known_numbers(self):
        assert [int(verbosity) for verbosity in (Verbosity.OFF, Verbosity.DEFAULT, Verbosity.VERBOSE)] == [-1, 0, 1]

    def test_no_such_verbosity(self):
        with pytest.raises(ValueError, match="5"):
            StdOutBackend(5)


class TestModule:
    def test_functions_reach_every_backend(self, log_path):
        recorder = Recorder(Verbosity.DEFAULT)
        dllogger.init(backends=[recorder, JSONStreamBackend(Verbosity.DEFAULT, log_path)])
        dllogger.log(step=(), data={"dice": 0.8})
        dllogger.metadata("dice", {"unit": None})
        dllogger.flush()
        assert (recorder.steps, recorder.metrics) == ([(), "flushed"], ["dice"])
        assert [event["type"] for event in events_of(log_path)] == ["LOG", "METADATA"]

    def test_second_init_replaces_the_first(self):
        first, second = Recorder(Verbosity.DEFAULT), Recorder(Verbosity.DEFAULT)
        dllogger.init([first])
        dllogger.init([second])
        dllogger.log(1, {})
        assert (first.steps, second.steps) == ([], [1])

    def test_no_backends_is_silence(self, capsys):
        dllogger.init(backends=[])
        dllogger.log(1, {"loss": 0.5})
        dllogger.metadata("loss", {})
        dllogger.flush()
        assert capsys.readouterr() == ("", "")

    @pytest.mark.parametrize("call", [lambda: dllogger.log(1, {}), lambda: dllogger.metadata("loss", {})])
    def test_logging_before_init_is_refused(self, call):
        with pytest.raises(dllogger.NotInitialisedError, match=r"call dllogger.init\(backends\) first"):
            call()

    def test_flush_before_init_does_nothing(self):
        assert dllogger.flush() is None


class TestPlainValues:
    @pytest.mark.parametrize(
        "value, expected",
        [
            (np.float64("nan"), None),
            (float("-inf"), None),
            (np.float32("inf"), None),
            (np.arange(4).reshape(2, 2), [[0, 1], [2, 3]]),
            (np.array(2.5), 2.5),
            ({1: (np.int8(1), {"a": np.nan})}, {"1": [1, {"a": None}]}),
            (b"gpu", "gpu"),
            (pathlib.PurePosixPath("a/b"), "a/b"),
            (True, True),
            (None, None),
            (2**70, 2**70),
        ],
    )
    def test_values(self, value, expected):
        result = plain(value)
        assert result == expected and type(result) is type(expected)
        json.dumps(result, allow_nan=False)
