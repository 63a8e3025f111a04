"""A figure is the same whatever a shell or a user's files say about matplotlib, and nothing is said about them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from horovod_runner.analysis.plots import files
from tests.conftest import plain_environment

DRAWN = """
import sys
from horovod_runner.analysis.plots.drawing import own_settings
with own_settings():
    from horovod_runner.analysis.plots import files
    from horovod_runner.analysis.plots import look as plots
    figure, (axes,) = plots.sheet(1)
    plots.titled(axes, "a title of $2^3$ letters", "epoch", "loss")
    axes.plot([1, 2, 4], [0.1, 10.0, 3.0], label="a_b")
    axes.legend()
    axes.annotate("here", (2, 10))
    sys.stdout.buffer.write(files.rendered(figure, "svg"))
"""
PAPERS = "text.usetex: True\nfont.family: Helvetica\nlines.linewidth: 9\nsavefig.bbox: tight\n"


def drawn(folder: Path, **variables: str) -> bytes:
    """Draw in a process of its own, which must say nothing of its own."""
    done = subprocess.run(
        [sys.executable, "-c", DRAWN], cwd=folder, capture_output=True, env=plain_environment(**variables), timeout=120
    )
    assert done.returncode == 0 and not done.stderr, done.stderr.decode()
    return done.stdout


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return drawn(tmp_path_factory.mktemp("empty"))


@pytest.mark.parametrize(
    "variables",
    [
        {"MPLBACKEND": "module://matplotlib_inline.backend_inline"},
        {"MPLBACKEND": "no_backend_at_all", "MPLCONFIGDIR": "/proc"},
        {"MPLCONFIGDIR": "/nowhere/at/all", "HOME": "/proc"},
    ],
)
def test_variables_of_the_shell_are_passed_over(plain: bytes, variables: dict[str, str], tmp_path: Path) -> None:
    assert drawn(tmp_path, **variables) == plain


@pytest.mark.parametrize("variable", ["MATPLOTLIBRC", "MPLCONFIGDIR", ""])
def test_a_matplotlibrc_is_passed_over(plain: bytes, variable: str, tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text(PAPERS)
    (tmp_path / "elsewhere").mkdir()
    named = {variable: str(tmp_path)} if variable else {}
    assert drawn(tmp_path / "elsewhere" if variable else tmp_path, **named) == plain


def test_a_matplotlibrc_that_cannot_be_read_is_passed_over(plain: bytes, tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_bytes(b"font.family: Gr\xf6\xdfe\n")
    assert drawn(tmp_path) == plain


@pytest.mark.parametrize("height", [4.7, 4.699999999999999, 4.6, 4.6999])
def test_panels_of_any_height_make_a_sheet(height: float, tmp_path: Path) -> None:
    """751.9999999999999 rows are 752 to matplotlib, and 751.98 are 751."""
    panels = [Figure(figsize=(2.0, height)) for _ in range(3)]
    assert len(files.write(tmp_path, "sheet", panels)) == 3
    rows, columns, _ = imread(tmp_path / "sheet.png").shape
    assert (rows, columns) == (round(2 * height * files.DOTS), 4 * files.DOTS)
