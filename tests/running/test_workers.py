"""One worker needs no Horovod; several without it are refused; the plan of several."""

import os
import subprocess
import sys

import numpy as np
import pytest
from command_line import PROJECT, TINY, make_task, run_main
from plans import plan_of

from utils.sampling.augmentation import Augmentation
from utils.system import launch

LAUNCHED = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}


class TestLaunch:
    def test_a_run_without_a_launcher_is_one_worker(self, monkeypatch):
        for name in list(os.environ):
            if name.startswith(("OMPI_", "HOROVOD_", "PMI_", "MPI_")):
                monkeypatch.delenv(name)
        assert (launch.size(), launch.local_size()) == (1, 1)

    @pytest.mark.parametrize(
        "names",
        [
            ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE"),
            ("HOROVOD_SIZE", "HOROVOD_LOCAL_SIZE"),
            ("PMI_SIZE", "MPI_LOCALNRANKS"),
        ],
    )
    def test_each_launcher_is_understood(self, monkeypatch, names):
        for name, value in zip(names, ("8", "4")):
            monkeypatch.setenv(name, value)
        assert (launch.size(), launch.local_size()) == (8, 4)

    @pytest.mark.parametrize("under_mpi, sizes", [(True, (8, 4)), (False, (1, 1))])
    def test_srun_is_a_launcher_where_it_starts_mpi(self, monkeypatch, under_mpi, sizes):
        monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "8")
        monkeypatch.setenv("SLURM_STEP_TASKS_PER_NODE", "4(x2)")
        if under_mpi:
            monkeypatch.setenv("PMIX_RANK", "5")
        assert (launch.size(), launch.local_size()) == sizes

    @pytest.mark.parametrize(
        "size, rank",
        [
            ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
            ("HOROVOD_SIZE", "HOROVOD_RANK"),
            ("PMI_SIZE", "PMI_RANK"),
            ("SLURM_STEP_NUM_TASKS", "PMIX_RANK"),
        ],
    )
    def test_one_is_the_first(self, monkeypatch, size, rank):
        assert launch.is_first()
        monkeypatch.setenv(size, "2")
        for number in "0", "1":
            monkeypatch.setenv(rank, number)
            assert launch.is_first() == (number == "0")

    def test_none_is_where_nothing_tells(self, monkeypatch):
        monkeypatch.setenv("PMI_SIZE", "2")
        assert not launch.is_first()


class TestOneWorker:
    def test_exchanges_nothing_and_does_not_load_horovod(self):
        code = (
            "import sys; from utils.running.workers import Workers; w = Workers();"
            "assert (w.size, w.rank, w.is_first, w.hooks()) == (1, 0, True, []);"
            "assert w.share([1, 2, 3]) == [1, 2, 3];"
            "assert w.gather([[1, 2], [3, 4]]).tolist() == [[1, 2], [3, 4]];"
            "assert w.average_gradients('optimizer') == 'optimizer';"
            "assert not any(name.startswith('horovod') for name in sys.modules)"
        )
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("OMPI_", "HOROVOD_"))}
        subprocess.run([sys.executable, "-c", code], cwd=PROJECT, env=clean, check=True)


class TestWithoutHorovod:
    def test_several_workers_are_refused_in_one_line_that_names_the_command(self, tmp_path):
        (tmp_path / "horovod.py").write_text("raise ImportError('not here')")
        finished = run_main(
            *TINY + ("--exec_mode", "train", "--data_dir", make_task(tmp_path), "--model_dir", tmp_path / "model"),
            environment=dict(LAUNCHED, PYTHONPATH=str(tmp_path)),
        )
        assert finished.status == 2
        lines = [line for line in finished.errors.splitlines() if "error" in line]
        assert len(lines) == 1 and "Traceback" not in finished.errors
        assert "2 workers were started, but Horovod is not installed" in lines[0] and "make setup" in lines[0]


class TestFewCases:
    def test_more_workers_than_cases_are_refused(self, tmp_path):
        model_dir = tmp_path / "model"
        finished = run_main(
            *TINY + ("--exec_mode", "train", "--data_dir", make_task(tmp_path), "--model_dir", model_dir),
            environment=dict(LAUNCHED, OMPI_COMM_WORLD_SIZE="8"),
        )
        assert finished.status == 2 and "Traceback" not in finished.errors
        assert "has 7 cases to train on for 8 workers: start fewer" in finished.errors
        assert not model_dir.exists()


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 20])
@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [1, 2, 5])
class TestPlanOfSeveral:
    def plans(self, count, size, batch_size):
        return [plan_of(count, batch_size, 3, Augmentation(), size, rank) for rank in range(size)]

    def test_every_case_once_in_each_epoch_over_all_workers(self, count, size, batch_size):
        plans = self.plans(count, size, batch_size)
        steps = {plan.steps_per_epoch for plan in plans}
        assert len(steps) == 1
        for epoch in range(3):
            seen = []
            for rank, plan in enumerate(plans):
                for step in range(epoch * plan.steps_per_epoch, (epoch + 1) * plan.steps_per_epoch):
                    seen += [rank + size * index for index in plan.batch(step)[0]]
            assert sorted(seen) == list(range(count))

    def test_weighted_means_of_the_workers_are_the_mean_over_the_cases(self, count, size, batch_size):
        plans = self.plans(count, size, batch_size)
        gradients = np.random.RandomState(0).randn(count)
        for step in range(plans[0].steps_per_epoch):
            everyones, weighted = [], 0.0
            for rank, plan in enumerate(plans):
                own = [gradients[rank + size * index] for index in plan.batch(step)[0]]
                everyones += own
                weighted += plan.weight(step) * (np.mean(own) if own else 0.0) / size
            assert weighted == pytest.approx(np.mean(everyones))
            assert plans[0].items_before(step + 1) - plans[0].items_before(step) == len(everyones)

    def test_the_first_worker_always_has_cases(self, count, size, batch_size):
        plan = self.plans(count, size, batch_size)[0]
        assert all(len(plan.batch(step)[0]) for step in range(2 * plan.steps_per_epoch))


class TestOrderOfSeveral:
    def test_differs_between_workers_and_follows_from_the_seed(self):
        orders = [plan_of(40, 20, seed, Augmentation(), 2, rank).batch(0)[0] for seed in (0, 1) for rank in (0, 1)]
        again = plan_of(40, 20, 1, Augmentation(), 2, 1).batch(0)[0]
        assert np.array_equal(orders[3], again)
        assert len({tuple(order) for order in orders}) == 4
