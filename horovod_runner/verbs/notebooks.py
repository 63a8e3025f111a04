"""What `make notebooks` does once JupyterLab is there: open the notebooks on some results, or write them as pages.

Both work on copies in one's own results: whoever runs a cell changes a notebook, and the repository's stay as they are.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from horovod_runner.analysis.load.tables import RESULTS
from horovod_runner.environment.install import KERNEL, PROJECT
from horovod_runner.errors import EXIT_INTERRUPTED, EXIT_USER_ERROR, UserError
from horovod_runner.machine.terminal import tell, warn
from horovod_runner.results import OWN

COPIES = PROJECT / OWN / "notebooks"
# Nobody is asked about news, and nothing is fetched.
_QUIET = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}


def main(argv: Sequence[str]) -> int:
    """Open the notebooks, or write them as pages; return the exit code."""
    parser = argparse.ArgumentParser(prog="make notebooks", description=__doc__)
    parser.add_argument("--results", type=Path, default=PROJECT / OWN, help="the folder of results that they show")
    parser.add_argument("--html", action="store_true", help="execute all and write pages, in place of opening them")
    arguments, words = parser.parse_known_args(argv)
    try:
        if not arguments.results.is_dir() and arguments.results != PROJECT / OWN:
            raise UserError(f"RESULTS: {arguments.results} is no folder; name one that `horovod-runner run` has filled")
        variables = os.environ | {RESULTS: str(arguments.results.absolute())}
        return write_pages(variables) if arguments.html else open_lab(variables, words)
    except UserError as error:
        warn(str(error))
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def open_lab(variables: dict[str, str], words: Sequence[str]) -> int:
    """Start JupyterLab on copies of the notebooks; `words` are options of its own."""
    copy_notebooks()
    register_kernel()
    settings = Path(sys.prefix, "share", "jupyter", "lab", "settings")
    settings.mkdir(parents=True, exist_ok=True)
    (settings / "overrides.json").write_text(json.dumps(_QUIET))
    tell(f"the notebooks show {variables[RESULTS]}; Ctrl-C ends JupyterLab")
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={COPIES}", *words]
    if os.geteuid() == 0:
        command.append("--allow-root")
    return subprocess.run(command, env=variables, check=False).returncode


def copy_notebooks() -> None:
    """Put the repository's notebooks into one's own folder; what was edited there is kept, and said."""
    COPIES.mkdir(parents=True, exist_ok=True)
    for original in sorted((PROJECT / "notebooks").glob("*.ipynb")):
        copy = COPIES / original.name
        if not copy.exists():
            shutil.copy(original, copy)
        elif _sources(copy) != _sources(original):
            warn(f"{copy} differs from the repository's and is kept as it is; remove it to have that one")


def _sources(notebook: Path) -> list[str]:
    return ["".join(cell["source"]) for cell in json.loads(notebook.read_text())["cells"]]


def register_kernel() -> None:
    """Tell the user's own Jupyter and editors of this environment, under the suite's name."""
    made = Path(sys.prefix, "share", "jupyter", "kernels", KERNEL)
    from jupyter_client.kernelspec import KernelSpecManager

    try:
        place = KernelSpecManager().install_kernel_spec(str(made), KERNEL, user=True)
    except OSError as error:
        warn(f"the kernel could not be registered for editors: {error.filename}: {error.strerror}")
        return
    tell(f"editors find the kernel {KERNEL} in {place}")


def write_pages(variables: dict[str, str]) -> int:
    """Execute every notebook and write its page; one that the results have nothing for is passed over, and said."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError
    from nbconvert import HTMLExporter
    from nbformat import read

    COPIES.mkdir(parents=True, exist_ok=True)
    failed = 0
    for original in sorted((PROJECT / "notebooks").glob("*.ipynb")):
        notebook = read(original, as_version=4)
        where = {"metadata": {"path": str(original.parent), "name": original.stem}}
        client = NotebookClient(notebook, timeout=None, kernel_name=KERNEL, resources=where)
        page = COPIES / f"{original.stem}.html"
        page.unlink(missing_ok=True)
        try:
            client.execute(env=variables)
        except CellExecutionError as error:
            warn(f"{original.name}: {error.ename}: {error.evalue}")
            failed += error.ename != UserError.__name__
            continue
        page.write_text(HTMLExporter().from_notebook_node(notebook, resources=where)[0])
        tell(page)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
