"""Confidence and scores as COGs: the bytes of the store, and probabilities by GDAL's own scale."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import zarr
from rio_cogeo.cogeo import cog_validate

from segment_tiles.pipeline.grid.classes import ClassTable, MapClass
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.outputs.cog import write_cog
from segment_tiles.pipeline.outputs.stores.store import array_of, create_store, open_store
from segment_tiles.workflows.run.export import export_run


def unscaled(path: Path) -> tuple[np.ma.MaskedArray[Any, Any], rasterio.DatasetReader]:
    """Return probabilities as GDAL tells them, masked where it says that nothing is known."""
    dataset = rasterio.open(path)
    scales, offsets = (
        np.array(part)[:, np.newaxis, np.newaxis] for part in (dataset.scales, dataset.offsets)
    )
    return dataset.read(masked=True) * scales + offsets, dataset


def test_pixels_are_those_of_the_store_and_scaled_they_are_probabilities(scored: Path) -> None:
    assert export_run(scored, ("confidence", "scores")) == ["confidence.tif", "scores.tif"]
    store = zarr.open_group(scored / "classes.zarr", mode="r")
    classes, confidence, scores = (np.asarray(store[name]) for name in ("classes", "confidence", "scores"))
    assert 0 < (classes == 255).sum() < classes.size
    for name, wanted in (("confidence", confidence[np.newaxis]), ("scores", scores)):
        assert cog_validate(scored / f"{name}.tif", strict=True, quiet=True) == (True, [], [])
        probabilities, dataset = unscaled(scored / f"{name}.tif")
        assert np.array_equal(dataset.read(), wanted)
        assert np.array_equal(probabilities.mask.all(axis=0), classes == 255)
        assert np.array_equal(probabilities.mask.any(axis=0), classes == 255)
        valid = probabilities[:, classes != 255].data
        assert np.allclose(valid, wanted[:, classes != 255] / 255)
        assert 0 <= valid.min() <= valid.max() <= 1
        assert dataset.crs == "EPSG:32633"
        assert dataset.transform.almost_equals(rasterio.Affine(2, 0, 500_000, 0, -2, 5_000_000))
    assert dataset.descriptions == ("other", "tree", "water")
    assert dataset.nodata is None
    mean = float(dataset.tags(2)["STATISTICS_MEAN"])
    assert mean == pytest.approx(scores[1][classes != 255].mean())
    assets = json.loads((scored / "item.json").read_text())["assets"]
    assert assets["scores"]["href"] == "./scores.tif"


def test_a_run_makes_both_as_an_export_does(
    scored: Path, run_blobs: Callable[..., Path], tmp_path: Path
) -> None:
    export_run(scored, ("confidence", "scores"))
    made = run_blobs(tmp_path / "run", scores=True, format="confidence,scores")
    for name in ("confidence.tif", "scores.tif"):
        assert (made / name).read_bytes() == (scored / name).read_bytes()


def test_scores_that_were_not_kept_are_refused_in_one_line(
    run_blobs: Callable[..., Path], tmp_path: Path, refused: Callable[..., None]
) -> None:
    out = run_blobs(tmp_path / "without", format="zarr")
    refused(["export", str(out), "--format", "scores"], "--scores --restart")


@pytest.mark.parametrize(
    "with_masks", [True, False], ids=["as it was computed", "as an export has changed it"]
)
def test_of_classes_that_may_overlap_a_score_of_zero_is_no_nodata(tmp_path: Path, with_masks: bool) -> None:
    table = ClassTable(tuple(MapClass(i, f"class {i}", (i, i, 7)) for i in range(3)))
    georef = GeoRef((2.0, 0.0, 500_000.0, 0.0, -2.0, 5_000_000.0), rasterio.CRS.from_epsg(32633).to_wkt())
    store = open_store(
        create_store(
            tmp_path / "classes.zarr",
            (600, 700),
            georef,
            table,
            masks=(*table.codes, table.count) if with_masks else (),
        ),
        "r+",
    )
    classes = np.full((600, 700), 2, np.uint8)
    classes[:300] = table.nodata
    confidence = np.where(classes == 2, 90, 0)
    confidence[500:, 600:] = 0  # no class reaches half a 255th there
    array_of(store, "classes")[:], array_of(store, "confidence")[:] = classes, confidence
    write_cog(store, tmp_path / "confidence.tif", name="confidence")
    with rasterio.open(tmp_path / "confidence.tif") as dataset:
        assert dataset.nodata is None
        assert np.array_equal(dataset.read(1), confidence)
        assert np.array_equal(dataset.read_masks(1) == 0, classes == table.nodata)


def test_of_many_classes_a_probability_of_nearly_zero_is_no_nodata(tmp_path: Path) -> None:
    table = ClassTable(tuple(MapClass(i, f"class {i}", (i % 256, i // 256, 7)) for i in range(600)))
    georef = GeoRef((2.0, 0.0, 500_000.0, 0.0, -2.0, 5_000_000.0), rasterio.CRS.from_epsg(32633).to_wkt())
    store = open_store(create_store(tmp_path / "classes.zarr", (40, 50), georef, table), "r+")
    classes = np.arange(2000, dtype=np.uint16).reshape(40, 50) % 600
    classes[:9] = table.nodata
    array_of(store, "classes")[:] = classes
    write_cog(store, tmp_path / "confidence.tif", name="confidence")
    with rasterio.open(tmp_path / "confidence.tif") as dataset:
        assert dataset.nodata is None
        assert np.array_equal(dataset.read_masks(1) == 0, classes == table.nodata)
