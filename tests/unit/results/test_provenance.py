"""What a result says of the code that made it is so, whoever owns the code and whatever a shell says of git."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from horovod_runner.results.provenance import commit


def git(root: Path, *words: str) -> str:
    argv = ["git", "-c", "user.name=n", "-c", "user.email=e@x", *words]
    return subprocess.run(argv, cwd=root, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository of one commit."""
    root = tmp_path / "code"
    root.mkdir()
    (root / "file").write_text("one\n")
    git(root, "init", "--quiet")
    git(root, "add", "file")
    git(root, "commit", "--quiet", "-m", "one")
    return root


def test_a_change_is_noticed(repository: Path) -> None:
    head = git(repository, "rev-parse", "HEAD")
    assert commit(repository) == {"commit": head, "dirty": False}
    (repository / "file").write_text("two\n")
    assert commit(repository) == {"commit": head, "dirty": True}


def test_a_shell_in_another_repository_is_not_asked(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a hook of git's, which tells all that it starts where its own repository lies."""
    expected = commit(repository)
    other = repository.parent / "other"
    other.mkdir()
    git(other, "init", "--quiet")
    git(other, "commit", "--quiet", "--allow-empty", "-m", "another")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    assert commit(repository) == expected


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_checkout_of_somebody_else_is_asked_all_the_same(repository: Path) -> None:
    (repository / "file").write_text("two\n")
    expected = {"commit": git(repository, "rev-parse", "HEAD"), "dirty": True}
    for path in (repository, *repository.rglob("*")):
        os.chown(path, 12345, 12345)
    assert commit(repository) == expected


def test_where_git_cannot_tell_nothing_is_claimed(repository: Path, tmp_path: Path) -> None:
    (repository / ".git/HEAD").write_text("rubbish")
    assert commit(repository) == {"commit": None, "dirty": None}
    assert commit(tmp_path) == {"commit": None, "dirty": None}
