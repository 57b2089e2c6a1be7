"""Seconds of a training step on the processor in fp32, bf16 and mixed, for networks with and without depthwise layers.

    python -m benchmarks.speed.training_steps [--threads 1] [--repeat 5]

A step is forward pass, loss, backward pass and optimizer, as ``segment-tiles train`` does them, on 8 windows of 256 px
that are there already. The three take turns; medians, and how many times as fast ``mixed`` is as the others.
"""

from __future__ import annotations

import statistics
from time import perf_counter

import torch
from torch import nn

from benchmarks.shared.commands import arguments_of
from segment_tiles.pipeline.learning.settings import LossSettings, OptimizerSettings, TrainingPrecision
from segment_tiles.pipeline.learning.training.losses import build_loss
from segment_tiles.pipeline.learning.training.mixed_precision import autocast
from segment_tiles.pipeline.learning.training.optimization import build_optimizer
from segment_tiles.pipeline.models.networks.build import build_network
from segment_tiles.pipeline.models.packages.manifest import Architecture

NETWORKS = {
    "DeepLab v3+, EfficientNet-Lite0": Architecture(
        "deeplabv3plus", "tf_efficientnet_lite0", 16, (2, 4, 6), image_pooling="off"
    ),
    "DeepLab v3+, MobileNetV2": Architecture(
        "deeplabv3plus", "mobilenetv2_100", 16, (2, 4, 6), image_pooling="off"
    ),
    "DeepLab v3+, ResNet-10": Architecture("deeplabv3plus", "resnet10t", 16, (2, 4, 6), image_pooling="off"),
}
PRECISIONS: tuple[TrainingPrecision, ...] = ("fp32", "bf16", "mixed")
CLASSES = 5


def seconds_of_step(
    network: nn.Module, optimizer: torch.optim.Optimizer, precision: TrainingPrecision
) -> float:
    """Return the time of one step on random values."""
    random = torch.Generator().manual_seed(0)
    values = torch.randn((8, 3, 256, 256), generator=random).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, CLASSES, (8, 256, 256), generator=random)
    loss_of = build_loss(LossSettings())
    started = perf_counter()
    with autocast(precision, torch.device("cpu")):
        logits = network(values)
    optimizer.zero_grad(set_to_none=True)
    loss_of(logits.float(), labels).backward()
    optimizer.step()
    return perf_counter() - started


def main() -> None:
    """Print a line for each network."""
    parser = arguments_of(__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    print(f"{'network':>32} {'fp32':>7} {'bf16':>7} {'mixed':>7}  mixed against fp32, bf16")
    for name, architecture in NETWORKS.items():
        network = build_network(architecture, 3, CLASSES).train().to(memory_format=torch.channels_last)
        optimizer = build_optimizer(OptimizerSettings(), network)
        took: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
        for _ in range(asked.repeat + 1):
            for precision in PRECISIONS:
                took[precision].append(seconds_of_step(network, optimizer, precision))
        fp32, bf16, mixed = (
            statistics.median(took[precision][1:]) for precision in PRECISIONS
        )  # the first warms up
        print(
            f"{name:>32} {fp32:7.2f} {bf16:7.2f} {mixed:7.2f}  {fp32 / mixed:.2f}, {bf16 / mixed:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
