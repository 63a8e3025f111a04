"""A training step in PyTorch as one writes it by hand: torch's optimizer, random images, one process.

`python -m benchmarks.peers.bare_torch OUT --steps 40` writes the seconds of every step to OUT as JSON.
"""

from __future__ import annotations

from benchmarks.peers.options import options, timed, write


def main() -> None:
    """Train and write down how long each step took."""
    given = options()
    import torch

    from benchmarks.peers import torch_job

    model = torch_job.model(given)
    optimizer = torch_job.optimizer(given, model)
    images, labels = torch_job.batch(given)

    def step() -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    write(given.out, timed(step, given.steps))


if __name__ == "__main__":
    main()
