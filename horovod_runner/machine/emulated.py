"""What a process knows of the emulated host that it is on: whoever made the host says it in the environment.

An emulated host is a network namespace with a share of this machine's cores and a link of its own
(horovod_runner/launch/emulated makes them).
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

VARIABLE = "SUITE_EMULATED"


@dataclass(frozen=True)
class EmulatedHost:
    """A host of an emulated cluster: all of them are alike.

    `node` is the machine that they are on, `hosts` their number, None where every worker has one of its own. `cores` of
    each are processors' time per time, `rate_mbit` are Mbit/s of its link in each direction, None for an unshaped one.
    """

    node: str
    hosts: int | None
    cores: float
    rate_mbit: float | None

    def as_variable(self) -> str:
        """Return it as `here` reads it."""
        return json.dumps(dataclasses.asdict(self))

    def facts(self) -> dict[str, Any]:
        """Return what results say of it: what makes two of them different machines."""
        return {"hosts": self.hosts, "cores": self.cores, "rate_mbit": self.rate_mbit}


def here(environment: Mapping[str, str] = os.environ) -> EmulatedHost | None:
    """Return the emulated host that this process is on; None on a real one."""
    words = environment.get(VARIABLE)
    return EmulatedHost(**json.loads(words)) if words else None


def in_words(facts: Mapping[str, Any]) -> str:
    """Say what emulated hosts are, by what results say of them: how many, of how many cores, with which link."""
    number, cores, rate = facts["hosts"], facts["cores"], facts["rate_mbit"]
    link = "an unshaped link" if rate is None else f"{rate:g} Mbit/s"
    each = f"of {cores:.3g} core{'s'[: cores != 1]} and {link}"
    if number is None:
        return f"an emulated host a worker, {each}"
    return f"{number} emulated host{'s'[: number != 1]} {each}"
