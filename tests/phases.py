"""The two phases of `make test`: two at a time, what is content with a core; then, one by one, what starts ranks.

Ranks fill a machine of two cores, and some tests measure them. A test that starts ranks uses the fixture `real_ranks`,
itself or through another fixture; one that starts them without it fails. `--ranks none` and `--ranks only` pick a
phase; without the option both kinds are run.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import hypothesis
import pytest

LAUNCHERS = {"mpirun", "horovodrun"}
VERBS = {"allreduce", "tune"}  # these start ranks whatever their options are
HELD_BACK = "held_back"

# On a busy machine an example may take any time.
hypothesis.settings.register_profile("phases", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("phases")


@pytest.fixture(scope="session")
def real_ranks() -> None:
    """Ranks are started here: the test is one of the second phase, with nothing beside it."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the choice of a phase."""
    words = "run only the tests that start ranks, or none of them"
    parser.addoption("--ranks", choices=["all", "none", "only"], default="all", help=words)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave what is of the other phase out."""
    chosen = config.getoption("--ranks")
    if chosen == "all":
        return
    held_back = [item for item in items if uses_ranks(item) != (chosen == "only")]
    config.stash[COUNTED] = len(held_back)
    config.hook.pytest_deselected(items=held_back)
    items[:] = [item for item in items if uses_ranks(item) == (chosen == "only")]


def uses_ranks(item: pytest.Item) -> bool:
    """Tell whether a test, or a fixture that it uses, says that it starts ranks."""
    return "real_ranks" in getattr(item, "fixturenames", ())


# A phase to which nothing of what was asked for belongs is no failure, as long as the other one has it. With xdist the
# collecting is done by processes of its own, which report how much they held back.

COUNTED = pytest.StashKey[int]()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Let a phase without tests pass if it held some back for the other one."""
    held_back = session.config.stash.get(COUNTED, 0)
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput[HELD_BACK] = held_back
    elif session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and held_back:
        session.exitstatus = pytest.ExitCode.OK


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a process of xdist counted."""
    node.config.stash[COUNTED] = getattr(node, "workeroutput", {}).get(HELD_BACK, 0)


# Nothing is skipped: what cannot run here has not been shown to work.


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """Turn a skipped test into a failed one."""
    return _failed_if_skipped((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Iterator[None]:
    """Turn a skipped module into a failed one."""
    return _failed_if_skipped((yield))


def _failed_if_skipped(report: Any) -> Any:
    if report.outcome == "skipped" and not hasattr(report, "wasxfail"):
        report.outcome, report.longrepr = "failed", f"skipped, which counts as failed: {report.longrepr}"
    return report


# Whoever starts ranks without saying so is told at once.

_current: list[pytest.Item] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Know which test is running."""
    _current[:] = [item]
    try:
        return (yield)
    finally:
        _current.clear()


def starts_ranks(argv: Sequence[Any]) -> bool:
    """Tell whether a command starts several ranks, as far as its words say so."""
    words = [os.fsdecode(word) for word in argv]
    if Path(words[0]).name in LAUNCHERS and {"-n", "-np"} & set(words):
        return True
    ours = "horovod_runner" in words or Path(words[0]).name == "horovod-runner"
    several = any(a == "--workers" and b.isdigit() and int(b) > 1 for a, b in pairwise(words))
    return ours and (several or bool(VERBS & set(words)))


def _require_fixture(event: str, args: tuple[Any, ...]) -> None:
    if event != "subprocess.Popen" or not _current or uses_ranks(_current[0]):
        return
    argv = args[1]
    if isinstance(argv, (list, tuple)) and argv and starts_ranks(argv):
        raise RuntimeError(f"{_current[0].nodeid} starts ranks, so it has to use the fixture `real_ranks`")


sys.addaudithook(_require_fixture)
