"""Seam disagreement of one DeepLabv3+ trained twice: image pooling over a window, and over the whole tile.

    python -m benchmarks.accuracy.seams --data ../shared/data/aerial --out runs/seams [--steps 200]

Both trainings have the same windows, steps, optimizer, seed and first weights, which are random. What is trained is
kept in ``--out``: a second start trains nothing again. Shown are the share of the pixels in the overlaps of
neighbouring tiles to which the two tiles give different classes, and the mean absolute difference of their scores,
before blending; on the held-out quarter and on the whole scene. ``narrow`` is a window of 5 feature pixels, where
``window`` is as wide as the training window.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from benchmarks.accuracy.canopy_training import Budget, held_out_area, train
from benchmarks.shared.commands import arguments_of
from segment_tiles.pipeline.grid.lattice import Lattice, overlap_pixels
from segment_tiles.pipeline.learning.scores.seam_disagreement import measure_seams
from segment_tiles.pipeline.models.package import load_manifest, load_network
from segment_tiles.pipeline.models.segmenter import Segmenter
from segment_tiles.pipeline.sources.open import open_source

NETWORK = {
    "arch": "deeplabv3plus", "backbone": "resnet10t", "output_stride": 16, "atrous_rates": [2, 4, 6],
    "details": {"channels": 128, "low_level_channels": 48, "aspp_separable": "plain", "decoder_separable": "plain"},
}  # fmt: skip
"""Rates are the paper's divided by three, in proportion to 192 px windows instead of 513 px ones."""
POOLINGS: dict[str, dict[str, Any]] = {
    "window": {"image_pooling": "window"},
    # 80 px: tiles of 192 px with an overlap of 96 px have pixels that see the whole of it twice
    "narrow": {"image_pooling": "window", "image_pooling_window": 5},
    "global": {"image_pooling": "global"},
    "off": {"image_pooling": "off"},
}


def measured(
    pooling: str, budget: Budget, data: Path, out: Path, tile: int | None, share: float | None
) -> list[dict[str, Any]]:
    """Train with one kind of pooling and return a row for each area."""
    name = "deeplab-v3plus" if pooling == "window" else f"deeplab-v3plus-{pooling}"
    document = budget.document(name, NETWORK | POOLINGS[pooling])
    model = train(out / name, document, data)
    manifest = load_manifest(model)
    segmenter = Segmenter(load_network(model, manifest), manifest, torch.device("cpu"))
    raster, held_out, _ = held_out_area(document, data)
    source = open_source(str(raster))
    scene = source.spec.window
    side = tile or manifest.tile
    overlap = overlap_pixels(side, share or manifest.overlap, manifest.architecture.output_stride)
    lattice = Lattice(scene.height, scene.width, side, overlap)
    scores = json.loads((out / name / "report.json").read_text())["scores"]
    rows = []
    for area, region in (("held-out quarter", held_out), ("whole scene", scene)):
        seams = measure_seams(source, segmenter, lattice, region)
        rows.append(
            {
                "pooling": pooling,
                "area": area,
                "pixels": seams.pixels,
                "classes differ": seams.class_share,
                "score difference": seams.score_difference,
                "held-out mean IoU": next(iter(scores.values()))["mean_iou"],
            }
        )
    source.close()
    return rows


def main() -> None:
    parser = arguments_of(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/aerial"))
    parser.add_argument("--out", type=Path, default=Path("runs/seams"))
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--tile", type=int, default=None, help="pixels; default: the training window")
    parser.add_argument(
        "--overlap", type=float, default=None, help="share of a tile; default: the model's, 0.25"
    )
    parser.add_argument("--pooling", nargs="+", choices=list(POOLINGS), default=["window", "global"])
    arguments = parser.parse_args()
    rows = [
        row
        for pooling in arguments.pooling
        for row in measured(
            pooling, Budget(arguments.steps), arguments.data, arguments.out, arguments.tile, arguments.overlap
        )
    ]
    name = f"seams-{arguments.tile or 'window'}-{arguments.overlap or 'model'}.json"
    (arguments.out / name).write_text(json.dumps(rows, indent=2) + "\n")
    print(
        "| image pooling | area | pixels compared | classes differ | score difference | held-out mean IoU |"
    )
    print("|---|---|---:|---:|---:|---:|")
    for row in rows:
        print(
            f"| `{row['pooling']}` | {row['area']} | {row['pixels']:,} | {row['classes differ']:.2%} "
            f"| {row['score difference']:.4f} | {row['held-out mean IoU']:.3f} |"
        )


if __name__ == "__main__":
    main()
