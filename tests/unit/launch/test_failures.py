"""Why a run failed, in one line and quoting the right rank."""

from __future__ import annotations

from pathlib import Path

import pytest

from horovod_runner.launch.failures import TAIL_LINES, complaint, failing_rank, oom_kills, reason, said, tail

MPI = """[1,0]<stdout>:unet in torch: 40 steps of 8 images
[1,1]<stderr>:horovod-runner: rank 1 of 2: Traceback (most recent call last):
[1,1]<stderr>:  File "loop.py", line 3, in train
[1,0]<stdout>:epoch 1
[1,1]<stderr>:ValueError: images must be finite
[1,0]<stderr>:horovod.common.exceptions.HorovodInternalError: another rank is gone
"""


def lines(text: str, folder: Path) -> list[tuple[int | None, str]]:
    log = folder / "log.txt"
    log.write_text("of an earlier try: ValueError\n" + text)
    return said(log, len("of an earlier try: ValueError\n"))


def test_the_rank_that_failed_first_is_the_one_that_is_quoted(tmp_path: Path) -> None:
    spoken = lines(MPI, tmp_path)
    assert failing_rank(spoken) == 1
    assert reason(1, spoken) == "rank 1, exit code 1: ValueError: images must be finite"
    assert tail(spoken)[-1] == "ValueError: images must be finite" and len(tail(spoken)) == 3


@pytest.mark.parametrize(
    ("line", "rank"),
    [
        ("[1,3]<stderr>:OSError: no route", 3),
        ("[3]<stderr>:OSError: no route", 3),
        ("3: OSError: no route", 3),
        (" 3: OSError: no route", 3),
        ("OSError: no route", None),
    ],
)
def test_the_tags_of_all_launchers_are_known(line: str, rank: int | None, tmp_path: Path) -> None:
    assert lines(line + "\n", tmp_path) == [(rank, "OSError: no route")]


@pytest.mark.parametrize(
    ("code", "words"), [(-9, "ended by SIGKILL"), (137, "ended by SIGKILL"), (139, "ended by SIGSEGV"), (7, "code 7")]
)
def test_a_signal_has_its_name(code: int, words: str, tmp_path: Path) -> None:
    assert words in reason(code, lines("", tmp_path)) and "nothing was said" in reason(code, [])


@pytest.mark.parametrize(
    "line",
    [
        "[1,0]<stderr>:RuntimeError: [enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory",
        "[1,0]<stderr>:numpy._core._exceptions._ArrayMemoryError: Unable to allocate 36.0 GiB for an array",
        "[1,0]<stderr>:tensorflow.python.framework.errors_impl.ResourceExhaustedError: OOM when allocating tensor",
        "[1,0]<stderr>:torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
        "terminate called after throwing an instance of 'std::bad_alloc'",
    ],
)
def test_memory_that_ran_out_is_called_by_its_name(line: str, tmp_path: Path) -> None:
    assert reason(1, lines(f"{MPI}{line}\n", tmp_path)).startswith("out of memory: ")


def test_the_kernels_killing_is_told_from_somebody_elses(tmp_path: Path) -> None:
    spoken = lines("[1,0]<stdout>:epoch 1\n", tmp_path)
    assert "the kernel ended 2 processes for lack of memory" in reason(137, spoken, oom_kills=2)
    assert reason(137, spoken) == "ended by SIGKILL: epoch 1"
    assert oom_kills() >= 0


def test_survivors_of_a_killed_rank_are_not_blamed(tmp_path: Path) -> None:
    survivor = "[0]<stderr>:horovod.common.exceptions.HorovodInternalError: Connection reset by peer\n"
    left = "Process 1 exit with status code 137.\nProcess 0 exit with status code 1.\n"
    spoken = lines(f"[1]<stderr>:Killed\n{survivor}{left}", tmp_path)
    assert reason(1, spoken) == "rank 1, ended by SIGKILL: Killed" and tail(spoken) == ["Killed"]
    sooner = "Process 0 exit with status code 1.\nProcess 1 exit with status code 137.\n"
    traceback = f"[0]<stderr>:RuntimeError: Connection reset by peer\n{survivor}"
    faster = lines(f"{traceback}[1]<stdout>:epoch 1\n{sooner}", tmp_path)
    assert reason(1, faster) == "rank 1, ended by SIGKILL: epoch 1", "a survivor may leave before the dead is noticed"
    stayed = lines(f"[0]<stderr>:ValueError: no\n[1]<stdout>:epoch 1\n{sooner}", tmp_path)
    assert reason(1, stayed) == "rank 0, exit code 1: ValueError: no", "horovodrun killed the one that stayed"
    ended_by_launcher = "Process 1 exit with status code 1.\nProcess 0 exit with status code 143.\n"
    raised = lines(f"[1]<stderr>:ValueError: no\n{survivor}{ended_by_launcher}", tmp_path)
    assert reason(1, raised) == "rank 1, exit code 1: ValueError: no"


def test_the_launcher_says_who_was_killed(tmp_path: Path) -> None:
    page = "-----\nmpirun noticed that process rank 1 with PID 9 on node a exited on signal 9 (Killed).\n-----\n"
    spoken = lines(f"[1,1]<stdout>:epoch 1\n{page}", tmp_path)
    assert reason(137, spoken) == "rank 1, ended by SIGKILL: epoch 1" and tail(spoken) == ["epoch 1"]
    without = lines(f"[1,0]<stdout>:epoch 2\n{page}", tmp_path)
    assert reason(137, without) == "rank 1, ended by SIGKILL: epoch 2" and tail(without) == ["epoch 2"]


def test_a_launcher_that_reached_no_host_is_quoted_from_its_beginning(tmp_path: Path) -> None:
    page = f"bash: line 1: orted: command not found\n{'-' * 70}\nORTE was unable to start\n{'-' * 70}\n"
    assert reason(127, lines(page, tmp_path)) == "exit code 127: bash: line 1: orted: command not found"
    assert reason(1, lines("a worker of one\nits last line\n", tmp_path)) == "exit code 1: its last line"


def test_the_frame_of_a_launchers_page_is_no_reason(tmp_path: Path) -> None:
    page = f"{'-' * 70}\nNone of the TCP networks could be found\n\n  Value given: eth9\n{'-' * 70}\n"
    assert reason(1, lines(page, tmp_path)) == "exit code 1: None of the TCP networks could be found Value given: eth9"


def test_a_complaint_is_found_among_other_lines(tmp_path: Path) -> None:
    spoken = lines("[1,0]<stderr>:noise\n[1,0]<stderr>:horovod-runner: the disk is full\n", tmp_path)
    assert complaint(spoken) == "the disk is full"
    assert complaint(lines(MPI.replace("horovod-runner: ", ""), tmp_path)) is None


def test_a_long_log_is_cut_to_its_end(tmp_path: Path) -> None:
    spoken = lines("".join(f"[1,0]<stdout>:step {i}\n" for i in range(100)), tmp_path)
    assert len(tail(spoken)) == TAIL_LINES and tail(spoken)[-1] == "step 99"


def test_a_host_that_is_gone_is_named(tmp_path: Path) -> None:
    """As Open MPI 4.1.8 says it, of an emulated host that vanished amid a run."""
    page = """[1,0]<stdout>:unet in torch: 200 steps of 8 images
----------
ORTE has lost communication with a remote daemon.

  HNP daemon   : [[29886,0],0] on node host0
  Remote daemon: [[29886,0],1] on node 10.77.0.2
"""
    assert (
        reason(205, lines(page, tmp_path)) == "host 10.77.0.2 cannot be reached any more: mpirun lost its daemon there"
    )
