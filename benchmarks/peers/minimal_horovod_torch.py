"""The few lines that Horovod's documentation adds to a script in PyTorch, in Horovod's default settings.

`horovodrun -np 2 python -m benchmarks.peers.minimal_horovod_torch OUT`; rank 0 writes the seconds of every step to OUT
as JSON. One thread a worker is the only thing that a reader of the documentation would not have.
"""

from __future__ import annotations

from benchmarks.peers.options import options, timed, write


def main() -> None:
    """Train together and write down how long each step took."""
    given = options()
    import horovod.torch as hvd
    import torch

    from benchmarks.peers import torch_job

    hvd.init()
    model = torch_job.model(given)
    plain = torch_job.optimizer(given, model)
    optimizer = hvd.DistributedOptimizer(plain, named_parameters=model.named_parameters())
    hvd.broadcast_parameters(model.state_dict(), root_rank=0)
    hvd.broadcast_optimizer_state(optimizer, root_rank=0)
    images, labels = torch_job.batch(given)

    def step() -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    seconds = timed(step, given.steps)
    if hvd.rank() == 0:
        write(given.out, seconds)


if __name__ == "__main__":
    main()
