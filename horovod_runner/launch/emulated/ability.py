"""Whether hosts can be emulated on this machine: two are brought up, and what is missing is named."""

from __future__ import annotations

from dataclasses import dataclass

from horovod_runner.config.settings import ClusterConfig
from horovod_runner.errors import UserError
from horovod_runner.launch.emulated.cluster import brought_up


@dataclass(frozen=True)
class Ability:
    """What this machine can; `missing` is a sentence, None where hosts can be emulated."""

    missing: str | None
    delays: bool = False


def ability() -> Ability:
    """Try it: two hosts with shaped links, two without, all gone again in a moment."""
    tried = [ClusterConfig(hosts=2, cores=0.1, rate_mbit=100.0), ClusterConfig(hosts=2, cores=0.1)]
    try:
        for wanted in tried:
            with brought_up(wanted, 2) as cluster:
                delays = wanted.rate_mbit is None and cluster.network.delays()
    except UserError as error:
        return Ability(str(error).removeprefix("cluster: "))
    return Ability(None, delays)
