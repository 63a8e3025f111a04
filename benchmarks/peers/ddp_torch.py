"""Two processes of torch's own DistributedDataParallel over Gloo, as its documentation shows it.

`RANK=0 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=29500 python -m benchmarks.peers.ddp_torch OUT`, and the same
with `RANK=1`; rank 0 writes the seconds of every step to OUT as JSON.
"""

from __future__ import annotations

from benchmarks.peers.options import options, timed, write


def main() -> None:
    """Train together and write down how long each step took."""
    given = options()
    import torch
    from torch import distributed

    from benchmarks.peers import torch_job

    distributed.init_process_group("gloo")
    model = torch.nn.parallel.DistributedDataParallel(torch_job.model(given))
    optimizer = torch_job.optimizer(given, model)
    images, labels = torch_job.batch(given)

    def step() -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    seconds = timed(step, given.steps)
    if distributed.get_rank() == 0:
        write(given.out, seconds)
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
