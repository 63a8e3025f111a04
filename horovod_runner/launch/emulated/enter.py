"""Go to an emulated host, and become a command there.

`python -m horovod_runner.launch.emulated.enter HOST WORDS` stands in for `ssh HOST WORDS`: mpirun calls it, through
`plm_rsh_agent`, and the other side gets as little of this side's environment as a login there would give it.
`... enter --stay HOST WORDS` keeps the environment: so mpirun itself is started, as by somebody who is on that host.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from horovod_runner.launch.emulated import kernel

HOSTS = "SUITE_HOSTS"
"""The variable that has, by address, each host's `name`, `namespace`, `group` and the folders that it `hides`."""

_OF_A_LOGIN = ("HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG", "TMPDIR")


def main(words: list[str]) -> None:
    """Become the command; OSError where the host is no more."""
    stays = words[0] == "--stay"
    address, *command = words[stays:]
    hosts = json.loads(os.environ[HOSTS])
    if address not in hosts:
        sys.exit(f"horovod-runner: {address} is no emulated host; there are {', '.join(hosts)}")
    _enter(hosts[address])
    if stays:
        os.execvp(command[0], command)
    left = {name: os.environ[name] for name in (*_OF_A_LOGIN, HOSTS) if name in os.environ}
    os.execve("/bin/sh", ["sh", "-c", " ".join(command)], left)


def _enter(host: Mapping[str, object]) -> None:
    (Path(str(host["group"])) / "cgroup.procs").write_text("0")
    namespace = os.open(str(host["namespace"]), os.O_RDONLY)
    kernel.call("setns", namespace, kernel.CLONE_NEWNET)
    os.close(namespace)
    kernel.call("unshare", kernel.CLONE_NEWUTS)
    name = str(host["name"]).encode()
    kernel.call("sethostname", name, len(name))
    for folder in host.get("hides") or ():  # type: ignore[attr-defined]
        _hide(str(folder))


def _hide(folder: str) -> None:
    """Have this process see an empty folder of its own where others see theirs."""
    kernel.call("unshare", kernel.CLONE_NEWNS)
    kernel.call("mount", None, b"/", None, kernel.MS_REC | kernel.MS_PRIVATE, None)
    kernel.call("mount", b"none", folder.encode(), b"tmpfs", 0, None)


if __name__ == "__main__":
    main(sys.argv[1:])
