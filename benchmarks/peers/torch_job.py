"""A job in PyTorch as one sets it up by hand: a model, torch's own optimizer, and one batch of random images.

ResNet-50 is torchvision's; U-Net and VGG-16 are the suite's builders. Images and weights have PyTorch's usual layout
unless `--channels-last` asks for the suite's, in which ResNet-50 took 0.87 of the time in one process of one thread.
The objective is cross-entropy alone.
"""

from __future__ import annotations

import argparse
import importlib

import torch

from benchmarks.layers.torch.torchvision_models import model_file
from benchmarks.peers.jobs import architecture
from benchmarks.workloads import WORKLOADS


def model(given: argparse.Namespace) -> torch.nn.Module:
    """Return the model, having given this process its threads."""
    torch.set_num_threads(given.threads)
    made: torch.nn.Module
    if given.workload == "resnet50":
        made = model_file("resnet").resnet50(num_classes=1000)
    else:
        builder = importlib.import_module(WORKLOADS[given.workload].builder("torch"))
        made = builder.build(architecture(given.workload, given.image_size))
    return made.to(memory_format=_layout(given))  # type: ignore[call-overload]


def optimizer(given: argparse.Namespace, network: torch.nn.Module) -> torch.optim.Optimizer:
    """Return torch's own optimizer of the kind that the workload uses."""
    job = WORKLOADS[given.workload]
    if job.optimizer == "sgd":
        return torch.optim.SGD(network.parameters(), lr=job.learning_rates["sgd"], momentum=0.9)
    return torch.optim.Adam(network.parameters(), lr=job.learning_rates["adam"])


def batch(given: argparse.Namespace) -> tuple[torch.Tensor, torch.Tensor]:
    """Return random images (batch, channels, size, size), and labels (batch,) or masks (batch, size, size)."""
    job, side = WORKLOADS[given.workload], given.image_size
    classes = architecture(given.workload, side).classes
    shape = (given.batch, side, side) if job.task == "segmentation" else (given.batch,)
    images = torch.randn(given.batch, job.channels, side, side)
    return images.to(memory_format=_layout(given)), torch.randint(0, classes, shape)


def _layout(given: argparse.Namespace) -> torch.memory_format:
    return torch.channels_last if given.channels_last else torch.contiguous_format
