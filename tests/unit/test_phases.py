"""The phases of `make test`: together they are everything, neither loses a failure, and nothing starts ranks unsaid."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.phases import starts_ranks

TESTS = """
import subprocess, sys
import pytest

@pytest.fixture(scope="module")
def trained(real_ranks):
    return 1

def test_light(): pass
def test_heavy(real_ranks): pass
def test_heavy_by_its_fixture(trained): pass
@pytest.mark.usefixtures("real_ranks")
def test_heavy_by_its_mark(): subprocess.run([sys.executable, "-c", "", "horovod_runner", "--workers", "2"], check=True)
"""
SKIPPED = "import pytest\ndef test_skipped(): pytest.skip('no framework')\n"
SKIPPED_WHOLE = "import pytest\npytest.importorskip('a_framework_that_nobody_has')\ndef test_light(): pass\n"
UNSAID = "import subprocess\ndef test_unsaid(): subprocess.run(['mpirun', '-np', '2', 'true'])\n"
PHASES = {"none": ["--ranks", "none", "--numprocesses", "2", "--dist", "worksteal"], "only": ["--ranks", "only"]}


def summary(folder: Path, text: str, *options: str) -> tuple[int, str]:
    """Return the exit code of a test run over a file, and its last line."""
    (folder / "test_file.py").write_text(text)
    argv = [sys.executable, "-m", "pytest", "-p", "tests.phases", "-c", "/dev/null", "--rootdir", str(folder)]
    argv += ["-p", "no:cacheprovider", *options, str(folder)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert "Traceback" not in done.stderr, done.stderr  # libraries may greet there
    return done.returncode, done.stdout.strip().splitlines()[-1]


def test_a_test_is_of_one_phase_by_the_fixtures_that_it_uses(tmp_path: Path) -> None:
    code, last = summary(tmp_path, TESTS, *PHASES["none"])
    assert code == 0 and re.fullmatch(r"=+ 1 passed in .*=+", last), last
    code, last = summary(tmp_path, TESTS, *PHASES["only"])
    assert code == 0 and re.fullmatch(r"=+ 3 passed, 1 deselected in .*=+", last), last


@pytest.mark.parametrize(("phase", "chosen", "code"), [("none", "heavy", 0), ("only", "light", 0), ("only", "typo", 5)])
def test_a_phase_without_tests_passes_if_the_other_has_some(phase: str, chosen: str, code: int, tmp_path: Path) -> None:
    assert summary(tmp_path, TESTS, *PHASES[phase], "-k", chosen)[0] == code


@pytest.mark.parametrize("text", [SKIPPED, SKIPPED_WHOLE, UNSAID])
def test_what_is_skipped_or_starts_ranks_unsaid_has_failed(text: str, tmp_path: Path) -> None:
    code, last = summary(tmp_path, text, "--ranks", "none")
    assert code in (1, 2) and re.search(r"1 (failed|error)", last), last


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("mpirun -np 2 make bench-tf", True),
        ("mpirun --version", False),
        ("python -m horovod_runner bench --workers 2", True),
        ("python -m horovod_runner bench --workers 1", False),
        ("python -m horovod_runner bench --workers many", False),
        (".venv/bin/horovod-runner tune --minutes 1", True),
        (".venv/bin/horovod-runner plan a.yaml", False),
        ("git log --workers 2", False),
    ],
)
def test_what_starts_ranks_is_known_by_its_words(command: str, expected: bool) -> None:
    assert starts_ranks(command.split()) == expected
