"""Files of a run: whole or absent, never half; and the steps that a kill cut short."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from horovod_runner.config.schema import decode
from horovod_runner.errors import Diverged, UserError
from horovod_runner.results.checkpoint import Checkpoints
from horovod_runner.results.record import StepRecord
from horovod_runner.results.store import RunFolder, Store, exclusive, full_disk_named, write_text
from horovod_runner.results.summary import summarise
from horovod_runner.training.recorder import Recorder, WorkerStep
from horovod_runner.training.timing import StepTimes
from horovod_runner.training.validation import Validation

CONFIG = decode({"framework": "torch", "steps": 40}, "test")


def step(number: int, loss: float = 1.0, seconds: float = 0.1) -> StepRecord:
    return StepRecord(
        step=number,
        epoch=1 + (number - 1) // 10,
        learning_rate=0.1,
        train_loss=loss,
        step_seconds=seconds,
        data_seconds=0.001,
        worker_seconds=(seconds,),
    )


@pytest.mark.parametrize("umask, mode", [(0o002, 0o664), (0o077, 0o600)])
def test_files_have_the_mode_that_umask_allows(folder: RunFolder, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        folder.write_result(summarise(CONFIG, "completed"))
    finally:
        os.umask(before)
    assert folder.result_file.stat().st_mode & 0o777 == mode


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return Store(tmp_path).open_run(CONFIG)


def test_result_and_steps_come_back_as_they_went(folder: RunFolder) -> None:
    steps = [step(n, loss=1 / n) for n in range(1, 41)]
    folder.append_steps(steps[:20])
    folder.append_steps(steps[20:])
    assert folder.read_steps() == steps and not folder.done
    result = summarise(CONFIG, "completed", steps=steps, wall_seconds=4.0)
    folder.write_result(result)
    assert folder.done and folder.read_result() == result and folder.read_config() == CONFIG
    assert result.train_loss == pytest.approx([np.mean([1 / n for n in range(a, a + 10)]) for a in (1, 11, 21, 31)])
    assert result.images_per_second is not None
    assert result.images_per_second.mean == pytest.approx(160) and result.timed_steps == 39


def test_a_refused_run_is_removed_if_nothing_of_it_was_done(folder: RunFolder) -> None:
    folder.append_steps([step(1)])
    folder.discard_unbegun()
    assert folder.read_steps() == [step(1)], "steps are kept"
    folder.steps_file.unlink()
    folder.log("refused")
    folder.discard_unbegun()
    assert not folder.path.exists() and not folder.path.parent.exists()
    other = Store(folder.path.parent.parent).open_run(CONFIG)
    (other.path.parent / "experiment.json").write_text("{}")
    other.discard_unbegun()
    assert not other.path.exists() and (other.path.parent / "experiment.json").exists()


def test_slow_first_steps_are_kept_out_of_the_throughput(tmp_path: Path) -> None:
    """Found from their times, or as many as the settings say; all of them stay recorded."""
    steps = [step(n, seconds=1.0 if n <= 8 else 0.1 + 0.001 * (n % 3)) for n in range(1, 41)]
    found = summarise(CONFIG, "completed", steps=steps)
    assert found.discarded_steps == 10 and found.timed_steps == 30
    assert found.step_seconds is not None and found.step_seconds.max < 0.2
    told = summarise(decode({"framework": "torch", "steps": 40, "discard_steps": 3}, "test"), "completed", steps=steps)
    assert told.discarded_steps == 3 and told.step_seconds is not None and told.step_seconds.max == 1.0


def test_not_finite_losses_survive(folder: RunFolder) -> None:
    folder.append_steps([step(1, loss=float("nan")), step(2, loss=float("inf"))])
    first, second = folder.read_steps()
    assert np.isnan(first.train_loss) and second.train_loss == float("inf")


def test_a_line_cut_short_is_dropped_and_rewinding_keeps_the_rest(folder: RunFolder) -> None:
    folder.append_steps([step(n) for n in range(1, 6)])
    with folder.steps_file.open("a") as file:
        file.write('{"step": 6, "epo')
    assert [s.step for s in folder.read_steps()] == [1, 2, 3, 4, 5]
    assert [s.step for s in folder.rewind_steps(3)] == [1, 2, 3]
    folder.append_steps([step(4)])
    assert [s.step for s in folder.read_steps()] == [1, 2, 3, 4]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": 99}', '{"schema": 1, "run_id": 3}'])
def test_damaged_or_foreign_results_are_refused_in_a_sentence(folder: RunFolder, content: str) -> None:
    folder.result_file.write_text(content)
    with pytest.raises(UserError, match=r"result\.json"):
        folder.read_result()


def test_a_full_disk_leaves_the_old_file_whole(folder: RunFolder) -> None:
    """A limit on file size stands for the disk: the write fails in the middle, as on a full one."""
    before = folder.config_file.read_text()
    script = (
        "import resource, signal, sys; from pathlib import Path; from horovod_runner.results.store import write_text\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "write_text(Path(sys.argv[1]), 'x' * 100_000)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(folder.config_file)], capture_output=True, check=False)
    assert done.returncode != 0
    assert folder.config_file.read_text() == before
    assert sorted(p.name for p in folder.path.iterdir()) == ["config.json"]


def test_a_place_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="--results"):
        Store(tmp_path / "file").open_run(CONFIG)


def test_a_second_worker_on_the_same_run_is_refused(folder: RunFolder) -> None:
    with exclusive(folder.path), pytest.raises(UserError, match="another process"), exclusive(folder.path):
        pass
    with exclusive(folder.path):
        pass


class TestCheckpoints:
    arrays: ClassVar = {"a.weight": np.arange(6.0).reshape(2, 3), "momentum/a.weight": np.ones((2, 3), np.float32)}

    def test_the_newest_few_are_kept_and_come_back(self, tmp_path: Path) -> None:
        checkpoints = Checkpoints(tmp_path / "c", keep=2)
        for number in (5, 10, 15):
            checkpoints.save(number, {name: a + number for name, a in self.arrays.items()}, CONFIG)
        assert checkpoints.steps() == [10, 15]
        loaded = checkpoints.load(15, CONFIG, {name: a.shape for name, a in self.arrays.items()})
        for name, array in self.arrays.items():
            np.testing.assert_array_equal(loaded[name], array + 15)
            assert loaded[name].dtype == array.dtype

    def test_one_without_its_description_does_not_exist(self, tmp_path: Path) -> None:
        checkpoints = Checkpoints(tmp_path / "c", keep=2)
        checkpoints.save(5, self.arrays, CONFIG)
        (tmp_path / "c" / "step-00000005.json").unlink()
        assert checkpoints.steps() == []


def seen(number: int, loss: float = 1.0, step_seconds: float = 0.5, **more: Any) -> WorkerStep:
    times = StepTimes(step_seconds, data_seconds=0.1)
    return WorkerStep(step=number, epoch=1, learning_rate=0.1, loss=loss, times=times, **more)


class TestRecorder:
    def test_losses_are_averaged_and_the_slowest_clock_counts(self) -> None:
        written: list[StepRecord] = []

        def two_workers(own: np.ndarray) -> np.ndarray:
            other = own.reshape(-1, 7) * np.array([3.0, 2.0, 5.0, 1.0, 4.0, 1.0, 1.0])
            return np.stack([own, other.ravel()])

        recorder = Recorder(two_workers, written.extend, [], record_every=1)
        recorder.add(seen(1, fingerprint=2**48 - 1, ready_seconds=0.2))
        recorder.add(seen(2, loss=2.0, step_seconds=0.7, fingerprint=21))
        recorder.validated(Validation(0.9, 0.8))
        recorder.flush()
        assert [s.train_loss for s in written] == [2.0, 4.0]
        assert [s.step_seconds for s in written] == [1.0, 1.4] and written[0].worker_seconds == (0.5, 1.0)
        assert written[0].ready_seconds == (0.2, 0.8) and written[1].ready_seconds == (), "unknown of any: of all"
        assert written[1].val_loss == 0.9 and written[0].val_loss is None
        assert [s.batch for s in written] == ["fffffffffffe", "00000000002a"], "added up modulo 2^48"

    def test_one_worker_s_nan_ends_the_run_for_all_at_that_step(self) -> None:
        written: list[StepRecord] = []
        nan_elsewhere = lambda own: np.stack([own, np.where(np.arange(len(own)) == 7, np.nan, own)])  # noqa: E731
        recorder = Recorder(nan_elsewhere, written.extend, [], record_every=1)
        for number in (1, 2, 3):
            recorder.add(seen(number))
        with pytest.raises(Diverged, match="step 2"):
            recorder.flush()
        assert [s.step for s in written] == [1, 2]

    def test_long_runs_are_thinned_but_validation_stays(self) -> None:
        written: list[StepRecord] = []
        recorder = Recorder(lambda own: own[None], written.extend, [], record_every=4)
        for number in range(1, 11):
            recorder.add(seen(number))
            if number == 6:
                recorder.validated(Validation(1.0, 1.0))
        recorder.flush()
        assert [s.step for s in written] == [4, 6, 8, 10]


def test_a_disk_without_room_is_a_sentence_and_not_a_traceback(folder: RunFolder) -> None:
    folder.steps_file.symlink_to("/dev/full")  # every write to it fails as on a full disk
    with pytest.raises(UserError, match=r"steps\.jsonl: the disk is full: free some space"):
        folder.append_steps([step(1)])


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_used_and_named_once(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As Lustre answers where it is mounted without `flock`, and NFS whose lock daemon is not reached."""

    def no_locks(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        with exclusive(tmp_path / name):
            pass
    said = capsys.readouterr().err
    words = "this file system has no locks; start no second runner that fills the same folder"
    assert said == f"horovod-runner: {tmp_path}: {words}\n"


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ENAMETOOLONG, errno.ENOSPC, errno.EPERM])
def test_whatever_a_disk_answers_is_a_sentence_that_names_the_path(number: int, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=str(tmp_path)), full_disk_named(tmp_path):
        raise OSError(number, os.strerror(number))


def test_a_file_system_that_cannot_flush_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_flush(_: int) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fsync", no_flush)
    write_text(tmp_path / "a.txt", "whole")
    assert (tmp_path / "a.txt").read_text() == "whole"
