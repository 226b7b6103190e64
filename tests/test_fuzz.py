"""Thousands of damaged inputs, in a process of their own, with a bound on its memory; and the fuzzer itself."""

import json
import os
import subprocess
import sys
import time

import pytest
from command_line import PROJECT
from fuzz_targets import use_flags
from fuzzing import Kind, fuzz

from utils.imaging.tasks import case_name
from utils.system.errors import UserError

# Address space beyond what the process has with all its libraries: no input may make it ask for more.
MEGABYTES = 1024
# Memory that an input may make it use; the largest ones unpack to 30 MB of voxels, twice read.
MOST_USED = 512
SHORT = {
    "scans": 150,
    "stacks": 150,
    "descriptions": 120,
    "archives": 250,
    "flags": 110,
    "model folders": 60,
    "reports": 40,
}
LONG = {
    "scans": 3000,
    "stacks": 3000,
    "descriptions": 1800,
    "archives": 3000,
    "flags": 1500,
    "model folders": 1000,
    "reports": 700,
}


def try_all(folder, counts, seed):
    """Fuzz as many inputs of each kind in a process of its own; return what came of it."""
    finished = subprocess.run(
        [sys.executable, "-W", "ignore", os.path.join(PROJECT, "tests", "helpers", "fuzz_targets.py"), str(folder)]
        + [json.dumps(counts), str(seed), str(MEGABYTES)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        # The same inputs reach the same code, and so lead to the same inputs, every time.
        env=dict(os.environ, PYTHONHASHSEED="0"),
    )
    assert finished.returncode == 0, "the last file named input in {} ended it: {}".format(folder, finished.stderr)
    return json.loads(finished.stdout)


def check(found, counts):
    for kind in found["kinds"]:
        assert kind["findings"] == [], json.dumps(kind["findings"], indent=1)
        # Neither does everything pass, nor is all refused at the first glance.
        assert kind["accepted"] and kind["refused"] and kind["kept"] > 5, kind
        assert kind["accepted"] + kind["refused"] == counts[kind["kind"]]
    assert [kind["kind"] for kind in found["kinds"]] == list(counts)
    assert found["megabytes"] < MOST_USED


class TestDamagedInput:
    def test_is_refused_in_a_line_or_works(self, tmp_path):
        check(try_all(tmp_path / "fuzz", SHORT, seed=0), SHORT)

    @pytest.mark.endurance
    @pytest.mark.parametrize("kind", LONG)
    def test_thousands(self, tmp_path, kind):
        counts = {kind: LONG[kind]}
        found = try_all(tmp_path / "fuzz", counts, seed=1)
        print(json.dumps(found))
        check(found, counts)


class TestFlags:
    @pytest.mark.parametrize(
        "named", ["--model_dir\n/", "--model_dir\n..", "--model_dir\n../..", "--model_dir\n//model/", "--model_dir=/"]
    )
    def test_what_they_name_lies_in_the_folder(self, tmp_path, named):
        words = "main.py\n--data_dir\ntask\n--exec_mode\ntrain\n" + named
        found = fuzz(Kind("flags", [words.encode()], [changed], use_flags), 1, 0, str(tmp_path))
        assert found["findings"] == [] and found["accepted"] == 1


def changed(random, content):
    return content + bytes([random.randrange(256)])


class TestFuzzer:
    """What it must find, each in an input that it comes upon by itself."""

    def findings(self, folder, attempt, count=100, **limits):
        kind = Kind("kind", [b"seed"], [changed], attempt)
        return fuzz(kind, count, 0, str(folder), **limits)

    @pytest.mark.parametrize(
        "fault, told",
        [
            (lambda folder: {}["missing"], "KeyError"),
            (lambda folder: bytearray(1 << 62), "MemoryError"),
            (lambda folder: sys.exit(1), "ended with the status 1"),
            (lambda folder: print("\x1b[2J"), "showed what it must not show"),
            (lambda folder: time.sleep(9), "took longer than 0.05 s"),
            (lambda folder: open(os.path.join(folder, "..", "outside.txt"), "w").close(), "outside"),
            (lambda folder: os.makedirs(os.path.join(folder, "..", "new"), exist_ok=True), "outside"),
        ],
    )
    def test_finds(self, tmp_path, fault, told):
        def attempt(content, folder):
            if len(content) > 9 and content[5] % 4 == 1:
                fault(folder)

        # On a busy machine any of them may take longer.
        limits = {"seconds": 0.05} if "longer" in told else {}
        found = self.findings(tmp_path, attempt, **limits)["findings"]
        assert len(found) == 1 and told in found[0]["what"] + found[0]["traceback"]
        with open(found[0]["input"], "rb") as file:
            content = file.read()
        assert len(content) > 9 and content[5] % 4 == 1

    @pytest.mark.skipif(not hasattr(sys, "addaudithook"), reason="Python tells of files that are opened from 3.8 on")
    @pytest.mark.parametrize(
        "fault, told",
        [
            (lambda: open("/dev/shm/fuzzed", "a").close(), "open '/dev/shm/fuzzed'"),
            (lambda: subprocess.call(["true"]), "subprocess.Popen"),
            (lambda: os.system("true"), "os.system"),
        ],
    )
    def test_finds_what_leaves_no_trace_in_the_folder(self, tmp_path, fault, told):
        found = self.findings(tmp_path, lambda content, folder: fault(), count=1)["findings"]
        assert told in found[0]["what"] + found[0]["traceback"]

    def test_success_and_refusal_are_no_findings(self, tmp_path):
        def attempt(content, folder):
            with open(os.path.join(folder, "mine"), "wb") as file:
                file.write(content)
            if len(content) % 2:
                raise UserError("odd")
            sys.exit(2 if content[-1:] < b"\x80" else 0)

        found = self.findings(tmp_path, attempt)
        assert found["findings"] == [] and found["accepted"] > 9 and found["refused"] > 9
        assert found["accepted"] + found["refused"] == 100

    def test_goes_on_from_what_reached_new_code(self, tmp_path):
        def attempt(content, folder):
            case_name(content[4:].decode("latin1") + "x" * (len(content) < 30) + ".nii")

        found = self.findings(tmp_path, attempt, count=20)
        assert found["steps"] > 3 and found["kept"] > 1
