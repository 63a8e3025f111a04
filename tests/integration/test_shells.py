"""Variables and folders of somebody's shell that reach into libraries: a run is the same run, or one sentence names
them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import bench, bench_argv, losses, plain_environment, program, run

pytestmark = pytest.mark.usefixtures("real_ranks")

BROKEN = "raise ImportError('this module is somebody else\\'s')\n"


@pytest.fixture
def odd_shell(tmp_path: Path) -> dict[str, str]:
    """Another Keras, another precision, another Python's packages and another MPI, as clusters' modules leave them."""
    keras, packages, libraries = (tmp_path / name for name in ("keras", "packages", "lib"))
    for folder in (keras, packages, libraries):
        folder.mkdir()
    settings = {"backend": "jax", "image_data_format": "channels_first", "floatx": "float16", "epsilon": 0.1}
    (keras / "keras.json").write_text(json.dumps(settings))
    for name in ("numpy", "yaml", "psutil", "random"):
        (packages / f"{name}.py").write_text(BROKEN)
    for name in ("libopen-pal.so.40", "libopen-rte.so.40", "libmpi.so.40"):
        (libraries / name).write_bytes(b"no library of this machine")
    return {
        "KERAS_BACKEND": "torch",
        "KERAS_HOME": str(keras),
        "TF_USE_LEGACY_KERAS": "1",
        "TF_DETERMINISTIC_OPS": "1",
        "TF_XLA_FLAGS": "--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit",
        "ONEDNN_DEFAULT_FPMATH_MODE": "BF16",
        "DNNL_DEFAULT_FPMATH_MODE": "BF16",
        "PYTHONPATH": str(packages),
        "LD_LIBRARY_PATH": str(libraries),
        "OPAL_PREFIX": "/opt/hpcx/ompi",
        "PYTHONWARNINGS": "error",
        "TORCH_LOGS": "no log of this version",
        "HOROVOD_CONTROLLER": "gloo",
        "HOROVOD_CPU_OPERATIONS": "gloo",
    }


@pytest.mark.parametrize("framework", ["tensorflow", "torch"])
def test_two_workers_train_the_same_in_an_odd_shell(framework: str, odd_shell: dict[str, str], results: Path) -> None:
    options = ["--steps", "4", "--workers", "2"]
    plain = bench(framework, "resnet50", results / "plain", *options)
    odd = run(
        [program("horovod-runner"), *bench_argv(framework, "resnet50", results / "odd", *options)[3:]],
        results / "odd",
        env=plain_environment(**odd_shell),
    )
    assert plain.code == 0 and odd.code == 0, plain.err + odd.err
    assert losses(odd.folder) == losses(plain.folder), "bit for bit"


def test_scripts_of_the_current_folder_are_not_imported(odd_shell: dict[str, str], results: Path) -> None:
    scripts = Path(odd_shell["PYTHONPATH"])
    shutil.copytree(scripts, results)
    argv = [program("horovod-runner"), *bench_argv("torch", "unet", results, "--steps", "2", "--workers", "2")[3:]]
    done = run(["env", "--chdir", str(results), *argv], results)
    assert done.code == 0, done.err
    module = bench_argv("torch", "unet", results, "--steps", "3")
    done = run(["env", "--chdir", str(results), *module], results)
    assert done.code == 0, done.err


def test_a_machine_without_ssh_and_with_a_home_that_cannot_be_written(tmp_path: Path, results: Path) -> None:
    """As in a container. Open MPI looks for ssh to reach other hosts; horovodrun keeps what it found in the home."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for path in Path("/usr/bin").iterdir():
        if path.name not in ("ssh", "rsh"):
            (programs / path.name).symlink_to(path)
    bare = plain_environment(PATH=str(programs), HOME="/proc")
    own = bench_argv("torch", "unet", results, "--steps", "2", "--workers", "2")
    done = run(own, results, env=bare)
    assert done.code == 0, done.err
    for seed, by in enumerate(("--mpi", "--gloo"), 1):
        rank = bench_argv("torch", "unet", results, "--steps", "2", "--seed", str(seed))
        done = run([program("horovodrun"), by, "-np", "2", *rank], results, env=bare)
        assert done.code == 0, done.err


def test_a_transport_that_the_shell_asks_of_mpi_and_there_is_not_is_named(results: Path) -> None:
    argv = bench_argv("torch", "unet", results, "--steps", "2", "--workers", "2")
    done = run(argv, results, env=plain_environment(OMPI_MCA_pml="ucx"))
    assert done.code == 1 and "OMPI_MCA_pml" in done.err.splitlines()[0], done.err
