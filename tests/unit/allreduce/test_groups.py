"""Groups of workers that do without Horovod, and when Horovod is started at all."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from horovod_runner.allreduce.groups import FileGroup, Solo
from horovod_runner.allreduce.settings import join, library_environment, shard
from horovod_runner.config.schema import decode
from horovod_runner.errors import SharedError, UserError
from horovod_runner.machine.world import World, complain, detect, refuse_strangers, threads_for


def test_workers_meet_through_a_folder(tmp_path: Path) -> None:
    """Three workers, many rounds, each at its own pace: nobody reads another round's values, and no file is left."""

    def member(rank: int) -> list[np.ndarray]:
        group = FileGroup(World(rank, 3), tmp_path)
        seen = [group.gather(np.array([rank, turn, rank * turn], float)) for turn in range(40)]
        mean = group.mean(np.array([float(rank)]))
        group.close()
        return [*seen, mean]

    with ThreadPoolExecutor(3) as pool:
        everyone = list(pool.map(member, range(3)))
    for seen in everyone:
        for turn, rows in enumerate(seen[:-1]):
            np.testing.assert_array_equal(rows, [[r, turn, r * turn] for r in range(3)])
        assert seen[-1] == [1.0]


def test_one_worker_is_a_group_of_its_own() -> None:
    np.testing.assert_array_equal(Solo().gather(np.array([1.0, 2.0])), [[1.0, 2.0]])


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
@pytest.mark.parametrize("settings", [{"workers": 1}, {"workers": 2, "strategy": "none"}])
def test_horovod_is_not_even_imported_where_nothing_is_reduced(
    framework: str, settings: dict[str, object], tmp_path: Path
) -> None:
    script = (
        "import sys; from pathlib import Path; from horovod_runner.allreduce.settings import join\n"
        "from horovod_runner.config.schema import decode; from horovod_runner.machine.world import World\n"
        f"config = decode({{'framework': {framework!r}, **{settings!r}}}, 'test')\n"
        "_, strategy = join(config, World(0, config.workers), Path(sys.argv[1]))\n"
        "print(strategy, 'horovod' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout == "None False\n"


@pytest.mark.parametrize(
    ("settings", "variables"),
    [
        ({}, {}),
        ({"strategy": "unfused"}, {"HOROVOD_FUSION_THRESHOLD": "0"}),
        (
            {"allreduce": {"fusion_mb": 0.5, "cycle_ms": 3.5}},
            {"HOROVOD_FUSION_THRESHOLD": "524288", "HOROVOD_CYCLE_TIME": "3.5"},
        ),
        ({"allreduce": {"cache": False}}, {"HOROVOD_CACHE_CAPACITY": "0"}),
        ({"allreduce": {"hierarchical": True}}, {"HOROVOD_HIERARCHICAL_ALLREDUCE": "1"}),
    ],
)
def test_what_is_not_set_is_left_to_horovod(settings: dict[str, Any], variables: dict[str, str]) -> None:
    config = decode({"framework": "torch", **settings}, "test")
    assert library_environment(config) == {**variables, "OMPI_MCA_mpi_yield_when_idle": "1"}
    still = decode({"framework": "torch", "allreduce": {"yield_when_idle": False}}, "test")
    assert library_environment(still) == {}


@pytest.mark.parametrize(("size", "workers"), [(7, 3), (6, 3), (1, 4), (0, 2), (1000, 7)])
def test_shards_are_a_vector_in_order(size: int, workers: int) -> None:
    """As Horovod divides: nothing is missing, none is longer than another by more than one, the first have the rest."""
    parts = [list(range(size))[shard(size, rank, workers)] for rank in range(workers)]
    assert [*chain(*parts)] == list(range(size))
    lengths = [len(part) for part in parts]
    assert lengths == sorted(lengths, reverse=True) and max(lengths) - min(lengths) <= 1


def test_joining_alone_needs_no_folder(tmp_path: Path) -> None:
    group, strategy = join(decode({"framework": "torch"}, "test"), World(), tmp_path / "never")
    assert isinstance(group, Solo) and strategy is None and not (tmp_path / "never").exists()


def slurm_step(rank: int, size: int) -> dict[str, str]:
    """Return what srun tells a task on a single node."""
    step = {"SLURM_STEP_NUM_TASKS": str(size), "SLURM_STEP_TASKS_PER_NODE": str(size), "SLURM_NODEID": "0"}
    return {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank), **step}


class TestWorld:
    def test_every_launcher_is_recognised(self) -> None:
        assert detect({}) == World()
        horovod = {"HOROVOD_RANK": "1", "HOROVOD_SIZE": "4", "HOROVOD_LOCAL_RANK": "1", "HOROVOD_LOCAL_SIZE": "2"}
        assert detect(horovod) == World(1, 4, 1, 2, "horovodrun")
        names = ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")
        mpi = dict(zip((f"OMPI_COMM_WORLD_{n}" for n in names), "3401", strict=True))
        assert detect({**mpi, "OMPI_COMM_WORLD_LOCAL_SIZE": "1"}) == World(3, 4, 0, 1, "mpirun")
        slurm = {"SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "7", "SLURM_LOCALID": "1"}
        assert detect({**slurm, "SLURM_STEP_TASKS_PER_NODE": "2(x3),1"}) == World(5, 7, 1, 2, "srun")

    def test_a_batch_script_of_slurm_is_no_rank(self) -> None:
        """The variables that a script under `sbatch -n 2` has, as Slurm 22.05 sets them."""
        script = {"SLURM_JOB_ID": "12", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
        assert detect({**script, "SLURM_NTASKS": "2", "SLURM_NPROCS": "2", "SLURM_TASKS_PER_NODE": "2"}) == World()

    def test_the_only_task_of_an_srun_is_no_rank(self) -> None:
        """It may be the shell of `srun --pty bash`, where somebody asks for two workers."""
        assert detect({**slurm_step(0, 1), "PMIX_RANK": "0", "SLURM_NTASKS": "4"}) == World()

    def test_a_launcher_inside_a_slurm_step_counts_its_own_ranks(self) -> None:
        """mpirun and mpiexec start one daemon a node by srun, whose variables their ranks inherit."""
        names = ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")
        mpirun = dict(zip((f"OMPI_COMM_WORLD_{n}" for n in names), "5812", strict=True))
        assert detect({**slurm_step(1, 2), **mpirun}) == World(5, 8, 1, 2, "mpirun")
        mpiexec = {"PMI_RANK": "5", "PMI_SIZE": "8", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "4"}
        assert detect({**slurm_step(1, 2), **mpiexec}) == World(5, 8, 1, 4, "mpiexec")

    def test_slurms_own_pmi_is_srun(self) -> None:
        assert detect({**slurm_step(1, 2), "PMI_RANK": "1", "PMI_SIZE": "2"}) == World(1, 2, 1, 2, "srun")

    @pytest.mark.parametrize(("node", "tasks"), [(0, 3), (1, 2), (2, 2), (3, 1)])
    def test_slurm_may_place_fewer_tasks_on_some_nodes(self, node: int, tasks: int) -> None:
        step = {**slurm_step(2, 8), "SLURM_STEP_TASKS_PER_NODE": "3,2(x2),1", "SLURM_NODEID": str(node)}
        assert detect(step).local_size == tasks

    def test_ranks_of_srun_need_pmix(self) -> None:
        step = slurm_step(1, 2)
        with pytest.raises(SharedError, match="srun --mpi=pmix"):
            refuse_strangers(detect(step), {**step, "PMI_RANK": "1"})
        refuse_strangers(detect(step), {**step, "PMIX_RANK": "1"})
        refuse_strangers(World(1, 2, 1, 2, "horovodrun"), step)

    @pytest.mark.parametrize(
        ("name", "variables"),
        [
            ("torchrun", {"TORCHELASTIC_RUN_ID": "none", "RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}),
            ("torchrun", {"TORCHELASTIC_RUN_ID": "7", "RANK": "1", "WORLD_SIZE": "2", **slurm_step(0, 1)}),
            ("torchrun", {"TORCHELASTIC_RUN_ID": "7", "RANK": "1", "WORLD_SIZE": "2", **slurm_step(0, 2)}),
            ("PALS", {"PALS_RANKID": "1", "ALPS_APP_PE": "1", "PMI_RANK": "1", "PMI_SIZE": "2"}),
            ("aprun", {"ALPS_APP_PE": "1", "PMI_SIZE": "2"}),
            ("jsrun", {"JSM_NAMESPACE_RANK": "1", "JSM_NAMESPACE_SIZE": "2"}),
            ("flux", {"FLUX_TASK_RANK": "1", "FLUX_JOB_SIZE": "2"}),
            ("MVAPICH", {"MV2_COMM_WORLD_RANK": "1", "MV2_COMM_WORLD_SIZE": "2"}),
            ("PMI", {"PMI_RANK": "1", "PMI_SIZE": "2"}),
            ("PyTorch", {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "a1"}),
        ],
    )
    def test_launchers_that_are_none_of_ours_are_named(
        self,
        name: str,
        variables: dict[str, str],
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        with pytest.raises(SharedError, match=rf"{name}.*horovodrun -np 2.*mpirun -np 2.*--workers 2") as refused:
            detect(variables)
        waits: list[float] = []
        monkeypatch.setattr("time.sleep", waits.append)
        monkeypatch.setattr("os.environ", variables)
        complain(refused.value, World())
        assert waits
        if name == "PyTorch":  # by whatever sets RANK: another pod's log does not show what rank 0 says
            assert name in capsys.readouterr().err
        else:
            assert capsys.readouterr().err == "", "rank 1 leaves it to rank 0 to say so"

    @pytest.mark.parametrize("name", ["PMI", "MV2_COMM_WORLD", "JSM_NAMESPACE"])
    def test_the_only_process_of_a_foreign_launcher_is_a_world_of_its_own(self, name: str) -> None:
        assert detect({f"{name}_RANK": "0", f"{name}_SIZE": "1"}) == World()
        assert detect({"RANK": "0", "WORLD_SIZE": "1", "TORCHELASTIC_RUN_ID": "none"}) == World()
        assert detect({"RANK": "captain"}) == World(), "somebody's own variable"

    def test_our_launchers_may_run_inside_an_allocation_of_others(self) -> None:
        names = ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")
        mpirun = dict(zip((f"OMPI_COMM_WORLD_{n}" for n in names), "1212", strict=True))
        assert detect({**mpirun, "PALS_RANKID": "0", "PMI_RANK": "0", "PMI_SIZE": "4"}) == World(1, 2, 1, 2, "mpirun")

    def test_a_foreign_launcher_that_does_not_tell_its_size_is_named(self) -> None:
        with pytest.raises(SharedError, match="ALPS_APP_PE unset"):
            detect({"ALPS_APP_PE": "0"})

    def test_what_all_ranks_know_is_said_by_the_first(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        waits: list[float] = []
        monkeypatch.setattr("time.sleep", waits.append)
        for rank in (0, 1):
            complain(SharedError("all know it"), World(rank, 2, rank, 2, "mpirun"))
            complain(UserError(f"{rank} knows it"), World(rank, 2, rank, 2, "mpirun"))
        assert capsys.readouterr().err.splitlines() == [
            "horovod-runner: all know it",
            "horovod-runner: 0 knows it",
            "horovod-runner: 1 knows it",
        ]
        assert len(waits) == 2, "the first speaks at once; the second waits, so that it can"

    def test_nonsense_is_refused(self) -> None:
        with pytest.raises(UserError, match="HOROVOD_RANK"):
            detect({"HOROVOD_RANK": "first", "HOROVOD_SIZE": "2", "HOROVOD_LOCAL_RANK": "0"})

    def test_workers_of_a_host_share_its_cores(self, monkeypatch: pytest.MonkeyPatch) -> None:
        launcher = psutil.Process()
        monkeypatch.setattr("horovod_runner.machine.world.launcher_process", lambda: launcher)
        monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)))
        assert threads_for(World(0, 4, 0, 4, "mpirun"), None) == 2
        assert threads_for(World(0, 16, 0, 16, "mpirun"), None) == 1
        assert threads_for(World(0, 4, 0, 4, "mpirun"), 3) == 3
        monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(32 if pid == launcher.pid else 8)))
        bound = threads_for(World(0, 4, 0, 4, "mpirun"), None)
        assert bound == 8, "a launcher that binds has shared the cores out already"
