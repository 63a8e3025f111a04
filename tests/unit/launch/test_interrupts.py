"""Being told to end is not lost where Python swallows what a signal raises, and is raised no more than once again."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest

from horovod_runner.launch import interrupts
from horovod_runner.results.store import write_bytes


def swallow(number: signal.Signals) -> None:
    """Be told to end where nobody hears the exception, as in a callback around a fork."""
    with contextlib.suppress(KeyboardInterrupt):
        signal.raise_signal(number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_lost_exception_is_raised_once_again(number: signal.Signals) -> None:
    with interrupts.ended_by_signals():
        interrupts.check()
        swallow(number)
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()
        interrupts.check()  # what follows is the end, which is not cut short


def test_one_that_ended_its_block_does_not_end_the_next() -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(KeyboardInterrupt), interrupts.ended_by_signals():
        signal.raise_signal(signal.SIGTERM)
    assert handlers == [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with interrupts.ended_by_signals():
        interrupts.check()


def test_a_signal_just_after_a_file_took_its_place_is_a_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The draft that would be removed is gone by then: no reason to speak of a folder that cannot be written."""
    replace = os.replace

    def replaced_and_told(*paths: str | Path) -> None:
        replace(*paths)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(os, "replace", replaced_and_told)
    with interrupts.ended_by_signals(), pytest.raises(KeyboardInterrupt):
        write_bytes(tmp_path / "result.json", b"{}")
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"]
    assert (tmp_path / "result.json").read_bytes() == b"{}"
