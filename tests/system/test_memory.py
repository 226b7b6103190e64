import os
import re
import resource
import struct
import subprocess
import sys

import pytest
from command_line import make_task, read_description, write_description
from synthetic import raw_nifti, scan

from utils.system import memory
from utils.system.errors import UnusableFile, UserError

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def group(root, path, name, content):
    folder = root / path
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(content)


class TestLimit:
    def test_is_what_the_machine_has_at_most(self):
        with open("/proc/meminfo") as file:
            total = int(file.readline().split()[1]) * 1024
        assert 0 < memory.limit() <= total

    def test_resource_limits_count(self):
        allowed = 1 << 31
        code = "from utils.system import memory; print(memory.limit())"
        found = subprocess.check_output(
            [sys.executable, "-c", code],
            cwd=PROJECT,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (allowed, allowed)),
        )
        assert int(found) == min(allowed, memory.limit())


class TestControlGroups:
    @pytest.fixture
    def limits(self, tmp_path):
        def read(listing):
            (tmp_path / "listing").write_text(listing)
            return memory._cgroup_limits(str(tmp_path / "listing"), str(tmp_path))

        return read

    def test_of_the_second_version(self, limits, tmp_path):
        group(tmp_path, "user.slice/run", "memory.max", "max\n")
        group(tmp_path, "user.slice", "memory.max", "5000\n")
        assert limits("0::/user.slice/run\n") == [5000]

    def test_of_the_first_version(self, limits, tmp_path):
        group(tmp_path, "memory/docker/a", "memory.limit_in_bytes", "3000\n")
        group(tmp_path, "memory", "memory.limit_in_bytes", "9223372036854771712\n")
        found = limits("4:cpu,cpuacct:/docker/a\n3:memory:/docker/a\n1:name=systemd:/docker/a\n")
        assert sorted(found) == [3000, 9223372036854771712]

    def test_in_a_container_that_sees_its_own_group_as_the_root(self, limits, tmp_path):
        group(tmp_path, "memory", "memory.limit_in_bytes", "7000\n")
        assert limits("3:memory:/docker/elsewhere\n") == [7000]

    @pytest.mark.parametrize("listing", ["", "nonsense\n", "0::/\n", "1:2\n"])
    def test_that_tell_nothing(self, limits, listing):
        assert limits(listing) == []

    def test_on_a_system_without_them(self, tmp_path):
        assert memory._cgroup_limits(str(tmp_path / "none"), str(tmp_path)) == []


class TestRefusal:
    def test_what_fits(self):
        memory.refuse_beyond(memory.limit(), "it takes", "use less")

    def test_what_does_not(self):
        there_are = "{:.1f} GB: use less$".format(memory.limit() / 1e9)
        with pytest.raises(UserError, match="^it takes at least 1000000.0 GB of memory, and there are " + there_are):
            memory.refuse_beyond(10**15, "it takes", "use less")

    def test_of_one_file(self):
        with pytest.raises(UnusableFile):
            memory.refuse_beyond(10**30, "it takes", "use less", UnusableFile)


CHECK_WITH_LITTLE = """
import resource, sys
import main
from utils.inspection import check
from utils import job, params
from utils.model_dir import lock as run_lock
from utils.system import environment
with open("/proc/self/status") as file:
    taken = next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmSize"))
allowed = taken + int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_AS, (allowed, allowed))
sys.exit(main.main(["--exec_mode", "check", "--threads", "1", "--data_dir", sys.argv[1]]))
"""


class TestRunningOut:
    def test_a_scan_that_the_bound_lets_pass_is_one_bad_case(self, tmp_path):
        # 128 MB of voxels, and room for one and a half of them.
        task = make_task(tmp_path, training=1, test=1)
        path = os.path.join(task, "imagesTs", "case_01.nii")
        content = raw_nifti(array=scan(shape=(1, 1, 1)))[:352]
        with open(path, "wb") as file:
            file.write(content[:42] + struct.pack("<3h", 320, 320, 320) + content[48:])
            file.truncate(352 + 4 * 320**3)
        write_description(task, dict(read_description(task), test=["imagesTs/case_01.nii"]))
        finished = subprocess.run(
            [sys.executable, "-c", CHECK_WITH_LITTLE, task, str(6 * 320**3)],
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
        )
        assert finished.returncode == 2, finished.stderr
        told = finished.stderr.partition("main.py: error: ")[2]
        assert re.match("1 of 2 cases cannot be used: {}: takes more memory".format(path), told), told
        assert "case_00  training" in finished.stdout

    @pytest.mark.parametrize(
        "error", [MemoryError(), RuntimeError("Failed to allocate memory for image."), RuntimeError("std::bad_alloc")]
    )
    def test_of_any_library(self, error):
        with pytest.raises(UnusableFile, match="^scan.nii: takes more memory than there is: leave it out"):
            with memory.running_out_over("scan.nii"):
                raise error

    def test_other_errors_are_others(self):
        with pytest.raises(RuntimeError, match="a bug"):
            with memory.running_out_over("scan.nii"):
                raise RuntimeError("a bug")


@pytest.mark.parametrize("shape, count", [((), 1), ((5, 7, 4), 140), ((10**9,) * 3, 10**27)])
def test_voxels(shape, count):
    assert memory.voxels(shape) == count


def test_by_axis():
    assert memory.by_axis((512, 512, 300)) == "512 x 512 x 300"
