"""ResNet-50 in PyTorch as one writes it by hand: torchvision's model, torch's optimizer, random images, one process.

`python -m benchmarks.peers.bare_torch OUT --steps 40` writes the seconds of every step to OUT as JSON.
"""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.peers.options import options, write


def main() -> None:
    """Train and write down how long each step took."""
    given = options()
    import torch

    from benchmarks.torchvision_models import model_file

    torch.set_num_threads(given.threads)
    model = model_file("resnet").resnet50(num_classes=1000)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    images = torch.randn(given.batch, 3, given.image_size, given.image_size)
    labels = torch.randint(0, 1000, (given.batch,))
    seconds = []
    for _ in range(given.steps):
        began = time.perf_counter()
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        loss.item()
        seconds.append(time.perf_counter() - began)
    write(Path(given.out), seconds)


if __name__ == "__main__":
    main()
