"""DeepLab v1, v2, v3, v3+, U-Net and SegFormer on the same canopy data for the same budget, as one table.

    python -m benchmarks.accuracy.networks --data ../shared/data/aerial --out runs/networks [--steps 200]
    python -m benchmarks.accuracy.networks --out runs/networks --timing-only

Every network is trained by ``segment-tiles train`` with the same windows, steps and optimizer from random
weights, maps the held-out quarter by ``segment-tiles run`` and is scored by ``segment-tiles evaluate``. What is
trained is kept: a second start trains nothing again, and ``--timing-only`` repeats the forward passes alone.

All four DeepLabs and U-Net have one backbone, ResNet-10 (timm's resnet10t); SegFormer is defined by its own
encoder, of which the smallest is taken. v1 and v2 run at output stride 8, as published; v3 and v3+ at 16. Atrous
rates are the papers' divided by three, in proportion to 192 px windows instead of 513 px ones.
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.accuracy.canopy_training import Budget, command, held_out_area, train
from benchmarks.shared.commands import arguments_of
from segment_tiles.pipeline.models.package import load_manifest, load_network
from segment_tiles.pipeline.models.segmenter import Segmenter

BACKBONE = "resnet10t"
HEAD = {"channels": 128, "low_level_channels": 48, "aspp_separable": "plain", "decoder_separable": "plain"}
NETWORKS: dict[str, dict[str, Any]] = {
    "DeepLab v1": {
        "arch": "deeplabv1", "backbone": BACKBONE, "output_stride": 8, "atrous_rates": [4],
        "image_pooling": "off",
    },
    "DeepLab v2": {
        "arch": "deeplabv2", "backbone": BACKBONE, "output_stride": 8, "atrous_rates": [2, 4, 6, 8],
        "image_pooling": "off",
    },
    "DeepLab v3": {
        "arch": "deeplabv3", "backbone": BACKBONE, "output_stride": 16, "atrous_rates": [2, 4, 6],
        "image_pooling": "window", "details": HEAD,
    },
    "DeepLab v3+": {
        "arch": "deeplabv3plus", "backbone": BACKBONE, "output_stride": 16, "atrous_rates": [2, 4, 6],
        "image_pooling": "window", "details": HEAD,
    },
    "U-Net": {"arch": "unet", "backbone": f"tu-{BACKBONE}", "output_stride": 32, "image_pooling": "off"},
    "SegFormer": {"arch": "segformer", "backbone": "mit_b0", "output_stride": 32, "image_pooling": "off"},
}  # fmt: skip
BOUNDARY_WIDTH = "5"
"""Pixels: half a metre, a tenth of a crown."""
TILES = 4
"""Tiles of one forward pass that is timed."""
PRECISIONS = ("fp32", "bf16")


def name_of(title: str) -> str:
    return title.lower().replace("+", "plus").replace(" ", "-").replace("u-net", "unet")


def trained_and_scored(title: str, budget: Budget, data: Path, out: Path) -> dict[str, Any]:
    """Train one network, map the held-out quarter, and return its scores and cost."""
    folder = out / name_of(title)
    document = budget.document(name_of(title), NETWORKS[title])
    model = train(folder, document, data)
    raster, _, roi = held_out_area(document, data)
    scene = next(s for s in document["scenes"] if s["raster"] == raster.name)
    result = folder / "map"
    command("run", raster, "--model", model, "--roi", roi, "--out", result, "--format", "zarr")
    values = [f"{value}={name}" for value, name in scene["class_values"].items()]
    scores = command(
        "evaluate", result, data / scene["labels"], "--class-column", scene["class_column"],
        *(option for value in values for option in ("--class-value", value)),
        "--polygon-shape", scene["polygon_shape"], "--unlabelled", scene["unlabelled"],
        "--boundary-width", BOUNDARY_WIDTH,
    )  # fmt: skip
    inspected = command("model", "inspect", model)
    return {
        "mean IoU": scores["mean_iou"],
        "canopy IoU": scores["classes"][document["classes"][1]["name"]]["iou"],
        "boundary IoU": scores["boundary_iou"][BOUNDARY_WIDTH],
        "parameters": inspected["parameters"],
        "multiply-adds": inspected["multiply_adds"],
        "tile": inspected["tile"],
        "training steps": budget.steps,
    }


def timed(out: Path, repeat: int, precision: str) -> dict[str, float]:
    """Return megapixels a second of forward passes, the median of rounds in which the networks take turns."""
    passes = {title: forward_pass(out / name_of(title) / "model", precision) for title in NETWORKS}
    seconds: dict[str, list[float]] = {title: [] for title in NETWORKS}
    for _ in range(repeat + 1):
        for title, (segmenter, image) in passes.items():
            started = time.perf_counter()
            with torch.inference_mode():
                segmenter.logits(image)
            seconds[title].append(time.perf_counter() - started)
    pixels = {title: image.shape[0] * image.shape[2] * image.shape[3] for title, (_, image) in passes.items()}
    # the first round warms up
    return {title: pixels[title] / 1e6 / statistics.median(times[1:]) for title, times in seconds.items()}


def forward_pass(model: Path, precision: str) -> tuple[Segmenter, torch.Tensor]:
    """Return a network as ``run`` prepares it, and tiles of noise as it sees them."""
    manifest = load_manifest(model)
    segmenter = Segmenter(load_network(model, manifest), manifest, torch.device("cpu"), precision)
    noise = torch.randint(
        0, 256, (TILES, 3, manifest.tile, manifest.tile), generator=torch.Generator().manual_seed(0)
    )
    return segmenter, segmenter.normalized(noise.to(torch.uint8), None)


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Return the table in Markdown."""
    tile = next(iter(rows.values()))["tile"]
    heads = [
        "network", "mean IoU", "canopy IoU", f"boundary IoU, {BOUNDARY_WIDTH} px", "parameters, M",
        f"multiply-adds of a {tile} px tile, G", *(f"Mpx/s, {p}" for p in PRECISIONS),
    ]  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", f"|---|{'---:|' * (len(heads) - 1)}"]
    for title, row in rows.items():
        cells = [f"{row[key]:.3f}" for key in ("mean IoU", "canopy IoU", "boundary IoU")]
        cells += [f"{row['parameters'] / 1e6:.2f}", f"{row['multiply-adds'] / 1e9:.2f}"]
        cells += [f"{row[f'Mpx/s {p}']:.2f}" if f"Mpx/s {p}" in row else "" for p in PRECISIONS]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = arguments_of(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/aerial"))
    parser.add_argument("--out", type=Path, default=Path("runs/networks"))
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--repeat", type=int, default=9, help="rounds of timing")
    parser.add_argument(
        "--only", nargs="+", choices=list(NETWORKS), help="train these; the table comes with the last"
    )
    parser.add_argument("--timing-only", action="store_true", help="train and score nothing; time again")
    arguments = parser.parse_args()
    results = arguments.out / "results.json"
    rows: dict[str, dict[str, Any]] = json.loads(results.read_text()) if results.exists() else {}
    for title in [] if arguments.timing_only else arguments.only or NETWORKS:
        rows[title] = trained_and_scored(title, Budget(arguments.steps), arguments.data, arguments.out)
        results.write_text(json.dumps(rows, indent=2) + "\n")
    if missing := [title for title in NETWORKS if title not in rows]:
        raise SystemExit(f"not trained yet: {', '.join(missing)}")
    rows = {title: rows[title] for title in NETWORKS}
    for precision in PRECISIONS:
        for title, speed in timed(arguments.out, arguments.repeat, precision).items():
            rows[title][f"Mpx/s {precision}"] = speed
    results.write_text(json.dumps(rows, indent=2) + "\n")
    print(f"{torch.get_num_threads()} threads, passes of {TILES} tiles, median of {arguments.repeat}")
    print(table(rows))


if __name__ == "__main__":
    main()
