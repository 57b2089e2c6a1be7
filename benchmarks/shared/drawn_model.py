"""A model package with drawn weights: time and memory of a network do not depend on what it has learnt."""

from __future__ import annotations

from pathlib import Path

import torch

from segment_tiles.pipeline.grid.classes import ClassTable, MapClass
from segment_tiles.pipeline.models.networks.build import build_network
from segment_tiles.pipeline.models.package import save_model_package
from segment_tiles.pipeline.models.packages.manifest import Architecture, ModelManifest
from segment_tiles.pipeline.models.scaling.scaling import z_score

TILE = 512
LIGHT_BACKBONE = "mobilenetv3_small_050"
"""MobileNetV3-small at half width, which computes as little as possible."""


def save_drawn_model(folder: Path, backbone: str) -> Path:
    """Save a DeepLabv3+ of four classes on a backbone of timm."""
    architecture = Architecture("deeplabv3plus", backbone, output_stride=16, image_pooling="off")
    table = ClassTable(tuple(MapClass(i, f"class {i}", (60 * i, 120, 80)) for i in range(4)))
    manifest = ModelManifest(
        folder.name,
        architecture,
        ("red", "green", "blue"),
        "uint8",
        z_score((127.0,) * 3, (60.0,) * 3),
        TILE,
        0.25,
        table,
    )
    torch.manual_seed(0)
    save_model_package(folder, manifest, build_network(architecture, 3, table.count).state_dict())
    return folder
