"""What is typed on a command line means what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from horovod_runner import cli
from horovod_runner.config.command_line import settings_from, value_of
from horovod_runner.errors import UserError


@pytest.mark.parametrize(
    "folder", ["2024-01-31", "2012", "no", "set #1", "a: b", "on", "1e3", "0o17", "~", "null", "[x", "*", "1_000"]
)
def test_a_folder_may_have_any_name(folder: str) -> None:
    assert value_of("data", folder) == folder
    assert value_of("data.path", folder) == folder


@pytest.mark.parametrize(
    "path, text, value",
    [
        ("seed", "010", 10),
        ("seed", "1_000", "1_000"),
        ("seed", "0x10", "0x10"),
        ("seed", "1:30", "1:30"),
        ("optimizer.learning_rate", "1e-3", 0.001),
        ("optimizer.learning_rate", ".5", 0.5),
        ("optimizer.nesterov", "true", True),
        ("optimizer.nesterov", "yes", "yes"),
        ("arm", "2012", "2012"),
        ("arm", "null", None),
        ("base.workload", "no", "no"),
        ("schedule.milestones", "[3, 6]", [3, 6]),
        ("data", "{name: digits, image_size: 16}", {"name": "digits", "image_size": 16}),
        ("base.data", "digits", "digits"),
        ("width", "null", None),
        ("no.such.setting", "3", 3),
    ],
)
def test_values_are_read_as_the_setting_is(path: str, text: str, value: Any) -> None:
    found = value_of(path, text)
    assert found == value and type(found) is type(value)


def test_a_setting_that_is_no_pair_is_named() -> None:
    with pytest.raises(UserError, match="--set seed: write it as path=value"):
        settings_from(["seed"])


def test_a_word_is_no_truth(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["bench", "--framework", "torch", "--set", "noise_scale=yes", "--results", str(tmp_path)]
    assert cli.main(words) == 2
    assert "noise_scale" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_tilde_is_the_home_wherever_a_path_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert cli.main(["report", "~/results"]) == 2
    assert f"{tmp_path}/results holds no finished run" in capsys.readouterr().err
    assert not (tmp_path / "~").exists()


def test_variables_that_lie_about_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("SUITE_PASSED_OVER", "DATA SEED")
    cli.main(["bench", "--framework", "torch", "--steps", "0", "--results", str(tmp_path)])
    said = capsys.readouterr().err.splitlines()
    assert (
        said[0] == "horovod-runner: DATA and SEED of the shell are passed over; give them to make: make bench DATA=..."
    )
