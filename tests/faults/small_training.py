"""The settings of a training that takes seconds: four steps on ``scene.tif`` and ``classes.tif``."""

from __future__ import annotations

from typing import Any

TRAINING: dict[str, Any] = {
    "name": "small",
    "scenes": [
        {
            "name": "scene", "raster": "scene.tif", "labels": "classes.tif",
            "held_out": [{"row": 0, "column": 0, "height": 64, "width": 64}],
        }
    ],
    "classes": [{"name": name, "color": [10 * number, 90, 90]} for number, name in enumerate("abcd")],
    "network": {
        "backbone": "test_resnet", "output_stride": 32, "atrous_rates": [1], "image_pooling": "off",
        "details": {"channels": 16, "low_level_channels": 8},
    },
    "window": 64, "tile": 64, "overlap": 0.25, "steps": 4, "batch": 2, "validate_every": 1, "threads": 1,
    "loader_processes": 0,
}  # fmt: skip
