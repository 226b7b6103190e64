import os

import pytest

from utils.system import hardware

LISTING = """GPU 0: Tesla V100-SXM2-16GB (UUID: GPU-0f)
GPU 1: Tesla V100-SXM2-16GB (UUID: GPU-1f)
  MIG 1g.5gb Device 0: (UUID: MIG-1)
GPU 2: NVIDIA A100 (UUID: GPU-2f)
"""
V100, A100 = "Tesla V100-SXM2-16GB", "NVIDIA A100"


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """Function (status): let an nvidia-smi be found that tells of three GPUs."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))

    def install(status=0):
        (tmp_path / "listing").write_text(LISTING)
        program = tmp_path / "nvidia-smi"
        program.write_text(
            '#!/bin/sh\n[ "$*" = -L ] || exit 1\nwhile read line; do echo "$line"; done <{}/listing\nexit {}\n'.format(
                tmp_path, status
            )
        )
        program.chmod(0o755)

    return install


class TestGpus:
    def test_none_without_a_driver(self, driver):
        assert hardware.gpu_names() == []

    def test_none_where_the_driver_does_not_answer(self, driver):
        driver(status=9)
        assert hardware.gpu_names() == []

    def test_all_of_the_machine(self, driver):
        driver()
        assert hardware.gpu_names() == [V100, V100, A100]

    @pytest.mark.parametrize(
        "visible, names",
        [
            ("", []),
            ("-1", []),
            ("NoDevFiles", []),
            ("2", [A100]),
            ("2,0", [A100, V100]),
            (" 0 , 2 ", [V100, A100]),
            # CUDA stops at the first that does not exist.
            ("1,3,0", [V100]),
            ("0,-1,1", [V100]),
            ("GPU-0f,MIG-1", [V100, V100]),
        ],
    )
    def test_only_those_that_are_visible(self, driver, monkeypatch, visible, names):
        driver()
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert hardware.gpu_names() == names

    def test_a_variable_makes_no_gpu(self, driver, monkeypatch):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
        assert hardware.gpu_names() == []


class TestDescription:
    def test_names_processor_and_cores(self):
        machine = hardware.describe()
        assert machine["cores"] == len(os.sched_getaffinity(0))
        assert machine["cpu"].strip() == machine["cpu"] != ""
        with open("/proc/cpuinfo") as file:
            flags = file.read().split()
        assert machine["instructions"] == [name for name in hardware.VECTOR_INSTRUCTIONS if name in flags]

    def test_in_words(self):
        machine = {"cpu": "Xeon", "instructions": [], "cores": 4, "gpus": [V100, A100, V100]}
        assert hardware.in_words(machine) == "1 x {} and 2 x {} and 4 cores of Xeon".format(A100, V100)
        assert hardware.in_words(dict(machine, gpus=[])) == "4 cores of Xeon"
        machine.update(gpus=[], instructions=["avx2", "avx512f"])
        assert hardware.in_words(machine) == "4 cores of Xeon (avx2, avx512f)"
