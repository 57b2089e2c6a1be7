"""What a scaling costs on the CPU, in ms of processor for a tile, beside a fixed z-score.

python -m benchmarks.speed.scalings [--side 512] [--bands 3] [--repeat 7] [--threads 2]
"""

from __future__ import annotations

import statistics
from time import process_time

import torch

from benchmarks.shared.commands import arguments_of
from segment_tiles.pipeline.models.scaling.scaler import Scaler
from segment_tiles.pipeline.models.scaling.text import parse_scaling

TEXTS = ("z-score:120,60", "clip:0,3000+scale:3000", "z-score:tile", "min-max:tile", "min-max:tile:2,98")


def main() -> None:
    """Print the median of each, whole tiles and tiles with holes."""
    parser = arguments_of(__doc__)
    for name, usual in (("side", 512), ("bands", 3), ("repeat", 7), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=usual)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    shape = (1, asked.bands, asked.side, asked.side)
    values = torch.randint(0, 9000, shape, dtype=torch.int32).to(torch.uint16)
    holes = torch.rand(1, asked.side, asked.side) > 0.2
    for text in TEXTS:
        scaler = Scaler(parse_scaling(text), asked.bands, torch.device("cpu"))
        took: dict[str, list[float]] = {"whole": [], "with holes": []}
        for _ in range(asked.repeat):
            for name, mask in (("whole", None), ("with holes", holes)):
                started = process_time()
                scaler.scaled(values, mask)
                took[name].append(1000 * (process_time() - started))
        print(text, *(f"{name} {statistics.median(times):.2f} ms" for name, times in took.items()), sep=", ")


if __name__ == "__main__":
    main()
