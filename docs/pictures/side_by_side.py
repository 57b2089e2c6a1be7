"""Draw the picture of the README: scene, map and polygons of `segment-tiles demo`, side by side.

It was made from the repository's root by:

- segment-tiles demo --out RESULT
- segment-tiles polygonize RESULT --out RESULT/outlines.parquet --sieve 100px --min-hole 100px --simplify 3px
- python docs/pictures/side_by_side.py RESULT docs/pictures/side-by-side.jpg
"""

import sys
from pathlib import Path

import geopandas as gpd
import matplotlib as mpl
import rasterio
from matplotlib import pyplot as plt
from matplotlib.colors import ListedColormap
from rasterio.plot import plotting_extent
from rasterio.windows import Window, transform

from segment_tiles.workflows.demo import DEMO_SCENE

WINDOW = Window(480, 330, 620, 560)
DPI = 150


def draw(result: Path, out: Path) -> None:
    """Draw WINDOW of the demo's scene, of its class map, and of its polygons over the scene."""
    with rasterio.open(DEMO_SCENE) as scene, rasterio.open(result / "classes.tif") as classes:
        colors = scene.read([1, 2, 3], window=WINDOW).transpose(1, 2, 0)
        codes = classes.read(1, window=WINDOW)
        palette = classes.colormap(1)
        extent = plotting_extent(codes, transform(WINDOW, scene.transform))
    named = ListedColormap([tuple(part / 255 for part in palette[code]) for code in range(codes.max() + 1)])
    outlines = gpd.read_parquet(result / "outlines.parquet")
    trees = outlines[outlines["class_name"] == "tree canopy"]

    mpl.rcParams["font.size"] = 11
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.9), dpi=DPI, layout="constrained")
    left.imshow(colors, extent=extent)
    middle.imshow(codes, extent=extent, cmap=named, interpolation="nearest")
    right.imshow(colors, extent=extent)
    trees.boundary.plot(ax=right, color="#ffd400", linewidth=1.5, aspect=None)
    for panel, title in ((left, "the scene"), (middle, "its class map"), (right, "its polygons")):
        panel.set_xlim(extent[:2])
        panel.set_ylim(extent[2:])
        panel.set_title(title)
        panel.set_axis_off()
    figure.savefig(out, pil_kwargs={"quality": 76})
    print(f"{out}: {out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
