"""Bands that hold positions in a colour table: no mean is made of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from segment_tiles.pipeline.errors import SourceError, UsageError
from segment_tiles.pipeline.sources.open import open_source
from segment_tiles.pipeline.sources.stacks.resolve import StackOptions, resolved
from segment_tiles.pipeline.sources.view import View

CODES = np.random.default_rng(0).choice(np.array([0, 7, 200], np.uint8), (12, 12))


def write(path: Path, size: float = 1.0, *, has_table: bool = True) -> str:
    side = round(12 * size)
    values = CODES if has_table else np.ones((side, side), np.uint8)
    transform = rasterio.Affine(1, 0, 5e5, 0, -1, 5e6) @ rasterio.Affine.scale(12 / values.shape[0])
    with rasterio.open(
        path, "w", driver="GTiff", height=values.shape[0], width=values.shape[1], count=1, dtype="uint8",
        crs="EPSG:32633", transform=transform, **({"photometric": "palette"} if has_table else {}),
    ) as dataset:  # fmt: skip
        dataset.write(values, 1)
        if has_table:
            dataset.write_colormap(1, {0: (0, 0, 0, 255), 7: (0, 255, 0, 255), 200: (255, 0, 0, 255)})
    return str(path)


def test_a_raster_with_a_colour_table_is_not_resampled(tmp_path: Path) -> None:
    name = write(tmp_path / "a.tif")
    both = resolved(f"{name},{write(tmp_path / 'b.tif', has_table=False)}", StackOptions())
    for source in (name, both):
        for metres in (0.5, 2.0):
            with pytest.raises(UsageError, match=r"band 1 holds positions in a colour table.*native"):
                open_source(source, view=View(metres=metres))
        as_it_is = open_source(source, view=View(metres=1.0))
        np.testing.assert_array_equal(as_it_is.read(as_it_is.spec.window)[0], CODES)
        as_it_is.close()
    of_the_other = open_source(both, bands=(2,), view=View(metres=2.0))
    assert of_the_other.spec.height == 6
    of_the_other.close()


def test_neither_is_a_picture_of_a_slide(tmp_path: Path) -> None:
    with Image.fromarray(CODES).convert("P") as picture:
        picture.putpalette(bytes(range(256)) * 3)
        picture.save(tmp_path / "a.png")
    with pytest.raises(SourceError, match=r"band 1 holds positions in a colour table.*leave --mpp out"):
        open_source(str(tmp_path / "a.png"), view=View(mpp=1.0, source_mpp=0.5))
    open_source(str(tmp_path / "a.png"), view=View(source_mpp=0.5)).close()


@pytest.mark.parametrize("size", [2, 0.5])
def test_it_is_brought_onto_the_grid_of_a_stack_by_the_nearest_pixel(tmp_path: Path, size: float) -> None:
    grid, name = write(tmp_path / "grid.tif", size, has_table=False), write(tmp_path / "a.tif")
    source = open_source(resolved(f"{grid},{name}", StackOptions(grid_of="grid")))
    found = source.read(source.spec.window)[1]
    source.close()
    expected = CODES.repeat(2, 0).repeat(2, 1) if size == 2 else CODES[1::2, 1::2]
    np.testing.assert_array_equal(found, expected)
