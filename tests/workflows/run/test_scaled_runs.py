"""Runs by other scalings: physical values as GDAL has them, statistics kept in the record, what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import yaml
import zarr
from numpy.typing import NDArray

import segment_tiles as st
from segment_tiles.pipeline.errors import ChangedRunError, ModelError, SourceError, UsageError
from segment_tiles.pipeline.models.package import MANIFEST_FILE, load_manifest
from segment_tiles.pipeline.sources.array import ArraySource
from segment_tiles.pipeline.sources.resampling.looked_at import pixels_of
from segment_tiles.workflows.batch.jobs_file import read_jobs_file
from segment_tiles.workflows.batch.planning import check_jobs
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.model_packages.library import inspect_model
from segment_tiles.workflows.run.request import checked_request
from segment_tiles.workflows.run.segment import segment

FIXED: dict[str, Any] = {"device": "cpu", "precision": "fp32", "backend": "torch", "batch": 2}
SCALES, OFFSETS = (1e-4, 2e-4, 1.0), (-0.1, 0.0, 0.25)


class Hears:
    """Remembers warnings; stops a run when it is asked to."""

    def __init__(self, *, stops: bool = False) -> None:
        self.warnings: list[str] = []
        self.stops = stops

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def stage(self, name: str) -> None: ...

    def planned(self, plan: object) -> None:
        if self.stops:
            raise RuntimeError("the machine stops")

    def tiles(self, computed: int, skipped: int) -> None: ...


def write(path: Path, values: NDArray[Any], *, with_units: bool = False, **profile: Any) -> Path:
    bands, height, width = values.shape
    profile = {"crs": "EPSG:32632", "transform": rasterio.transform.from_origin(5e5, 5e6, 1, 1), **profile}
    with rasterio.open(path, "w", driver="GTiff", count=bands, height=height, width=width,
                       dtype=values.dtype.name, **profile) as dataset:  # fmt: skip
        dataset.write(values)
        if with_units:
            dataset.scales, dataset.offsets = SCALES, OFFSETS
    return path


def noise(seed: int = 0) -> NDArray[np.uint16]:
    return np.random.default_rng(seed).integers(1, 9000, (3, 70, 80)).astype(np.uint16)


def unscaled_by_gdal(source: Path, path: Path) -> Path:
    """Return a VRT whose bands GDAL computes as ``gdal_translate -unscale -ot Float32`` does."""
    with rasterio.open(source) as file:
        height, width, crs, transform = file.height, file.width, file.crs.to_wkt(), file.transform.to_gdal()
    bands = "".join(
        f'''<VRTRasterBand dataType="Float32" band="{band}"><ComplexSource>
        <SourceFilename relativeToVRT="1">{source.name}</SourceFilename><SourceBand>{band}</SourceBand>
        <ScaleOffset>{OFFSETS[band - 1]!r}</ScaleOffset><ScaleRatio>{SCALES[band - 1]!r}</ScaleRatio>
        </ComplexSource></VRTRasterBand>'''
        for band in (1, 2, 3)
    )
    path.write_text(
        f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}"><SRS>{crs.replace("<", "&lt;")}</SRS>'
        f"<GeoTransform>{', '.join(map(str, transform))}</GeoTransform>{bands}</VRTDataset>"
    )
    with rasterio.open(path) as made:
        units = np.array([SCALES, OFFSETS]).reshape(2, 3, 1, 1)
        assert np.array_equal(made.read(), (noise() * units[0] + units[1]).astype(np.float32))
    return path


def with_scaling(model: Path, folder: Path, entries: Any, values: str | None = None) -> Path:
    """Copy a package, and write another ``value_scaling`` into it, as its author would."""
    shutil.copytree(model, folder)
    document = json.loads((folder / MANIFEST_FILE).read_text())
    document["properties"]["mlm:input"][0]["value_scaling"] = entries
    if values is not None:
        document["properties"]["segment_tiles:values"] = values
    (folder / MANIFEST_FILE).write_text(json.dumps(document))
    return folder


def config(source: Path | str, model: Path, out: Path, **changes: Any) -> RunConfig:
    return RunConfig(str(source), str(model), out, **{**FIXED, "formats": (), "preview": False, **changes})


def codes(out: Path) -> NDArray[Any]:
    store = zarr.open_group(out / "classes.zarr", mode="r")
    return np.stack([np.asarray(store[name][:]) for name in ("classes", "confidence")])


def done(source: Path | str, model: Path, out: Path, **changes: Any) -> tuple[NDArray[Any], list[str]]:
    listener = Hears()
    segment(config(source, model, out, **changes), listener)
    return codes(out), listener.warnings


def test_physical_values_are_those_that_gdal_writes(small_model: Path, tmp_path: Path) -> None:
    stored = write(tmp_path / "stored.tif", noise(), with_units=True)
    physical = unscaled_by_gdal(stored, tmp_path / "physical.vrt")
    entries = [{"type": "z-score", "mean": m, "stddev": s} for m, s in ((0.4, 0.2), (0.9, 0.5), (4500, 2000))]
    model = with_scaling(small_model, tmp_path / "wants-physical", entries, "physical")
    found, warnings = done(stored, model, tmp_path / "a")
    expected, _ = done(physical, model, tmp_path / "b")
    assert np.array_equal(found, expected)
    assert len(np.unique(found[0])) > 1
    assert not any("scale of" in text or "trained on uint8" in text for text in warnings)
    _, warnings = done(stored, small_model, tmp_path / "c")
    assert any("a scale of 0.0001 and an offset of -0.1, which are not applied" in text for text in warnings)
    silent = write(tmp_path / "silent.tif", noise())
    _, warnings = done(silent, model, tmp_path / "d")
    assert any(
        "wants physical values, but scale and offset of the bands, uint16, are not known" in w
        for w in warnings
    )
    for number, values in enumerate(noise()):
        with rasterio.open(write(tmp_path / f"{number}.tif", values[np.newaxis]), "r+") as band:
            band.scales, band.offsets = (SCALES[number],), (OFFSETS[number],)
    stack = ",".join(str(tmp_path / f"{number}.tif") for number in range(3))
    of_stack, warnings = done(stack, model, tmp_path / "e")
    assert np.array_equal(of_stack, expected)
    assert not any("not applied" in text for text in warnings)


def test_what_a_package_says_and_what_the_user_says_are_one(small_model: Path, tmp_path: Path) -> None:
    entry = {"type": "processing", "format": "gdal-calc", "expression": "clip(A, 0, 3000) / 3000"}
    model = with_scaling(small_model, tmp_path / "own", [entry])
    source = write(tmp_path / "scene.tif", noise())
    by_package, warnings = done(source, model, tmp_path / "a")
    assert not any("--scaling" in text for text in warnings)
    by_user, warnings = done(source, small_model, tmp_path / "b", scaling="clip:0,3000+scale:3000")
    assert np.array_equal(by_package, by_user)
    assert any("scaled by clip 0, 3000 then scale 3000, not by z-score 120, 60" in text for text in warnings)
    described = inspect_model(str(model), trust=False)
    assert (described["mean"], described["scaling"]) == (None, "clip 0, 3000 then scale 3000")
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({"value_scaling": [entry] * 3}))
    planned = st.plan(source, model=str(model), **FIXED).document["summary"]
    assert planned["scaling"] == "clip 0, 3000 then scale 3000"
    with pytest.warns(st.SegmentTilesWarning, match="scaled by clip 0, 3000 then scale 3000"):
        array = st.segment_array(noise(), model=str(small_model), scaling=file, **FIXED)
    assert np.array_equal(array, by_user[0])


def test_the_run_that_is_taken_up_has_the_statistics_of_its_record(small_model: Path, tmp_path: Path) -> None:
    source, out = write(tmp_path / "scene.tif", noise(), nodata=0), tmp_path / "out"
    with pytest.raises(RuntimeError, match="the machine stops"):
        segment(config(source, small_model, out, scaling="z-score:scene"), Hears(stops=True))
    record = json.loads((out / ".segment-tiles" / "run.json").read_text())
    (kept,) = record["settings"]["--scaling"]
    for band, ((operation,), values) in enumerate(zip(kept["operations"], noise(), strict=True)):
        assert operation["mean"] == pytest.approx(values.mean(), rel=1e-6), band
        assert operation["stddev"] == pytest.approx(values.std(), rel=1e-6), band
    _, scene = checked_request(config(source, small_model, out, scaling="z-score:scene"))
    assert scene.manifest.scaling_used.chains[0][0].first == kept["operations"][0][0]["mean"]
    found, _ = done(source, small_model, out, scaling="z-score:scene")
    whole, _ = done(source, small_model, tmp_path / "whole", scaling="z-score:scene")
    assert np.array_equal(found, whole)
    with pytest.raises(
        ChangedRunError, match=r"--scaling was z-score of the scene, .* is now z-score of each tile"
    ):
        segment(config(source, small_model, out, scaling="z-score:tile"), Hears())
    with pytest.raises(
        ChangedRunError, match=r"--scaling was z-score of the scene, .* is now as the model says"
    ):
        segment(config(source, small_model, out), Hears())


class WithOverview(ArraySource):
    """Says that it has an overview of half of its rows."""

    reductions = (2.0,)


@pytest.mark.parametrize(
    ("shape", "kind", "pixels"),
    [
        ((4000, 4100), ArraySource, 1024**2),  # small enough to be decoded
        ((4000, 5000), ArraySource, 256 * 128**2),  # pieces
        ((4000, 5000), WithOverview, 1024**2),
        ((100, 200_000), ArraySource, 16 * 100 * 128),
    ],
)
def test_a_large_scene_is_measured_by_an_overview_or_by_pieces(
    shape: tuple[int, int], kind: type[ArraySource], pixels: int
) -> None:
    values = np.broadcast_to(np.arange(shape[1], dtype=np.uint32), (3, *shape))
    parts = list(pixels_of(kind(values)))
    found = np.concatenate([part for part, _ in parts], axis=1)
    assert found.shape == (3, pixels)
    assert all(valid.all() for _, valid in parts)
    assert found.mean() == pytest.approx(shape[1] / 2, rel=0.01)
    assert found.std() == pytest.approx(shape[1] / 12**0.5, rel=0.08)


BAD = [
    ("z-score:world", UsageError, "'world' is no list of numbers"),
    ("quantile:2,98", UsageError, "'quantile' is not known"),
    ("min-max:7,7", UsageError, "the minimum must be below the maximum"),
    ("two.json", UsageError, r"has 2 entries, but there are 3 bands.* of model small \(red, green, blue\)"),
    (
        "z-score:scene",
        SourceError,
        "has no valid pixel in a band, so that there are no statistics of the scene",
    ),
]


@pytest.mark.parametrize(("scaling", "error", "text"), BAD)
def test_what_cannot_be_scaled_is_refused_by_every_command(
    scaling: str, error: type[Exception], text: str, small_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "two.json").write_text(json.dumps([{"type": "scale", "value": 2}] * 2))
    source = write(tmp_path / "empty.tif", np.zeros((3, 40, 50), np.uint16), nodata=0)
    given = str(tmp_path / scaling) if scaling.endswith(".json") else scaling
    options = {**FIXED, "model": str(small_model), "scaling": given}
    with pytest.raises(error, match=text) as raised:
        st.plan(source, **options)
    assert "\n" not in str(raised.value)
    with pytest.raises(error, match=text):
        st.segment(source, out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
    jobs = tmp_path / "jobs.yaml"
    job = {"source": str(source), "model": str(small_model), "device": "cpu", "scaling": scaling}
    jobs.write_text(yaml.safe_dump({"jobs": [job]}))
    with pytest.raises(UsageError) as raised:
        check_jobs(read_jobs_file(jobs))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        ([{"type": "scale", "value": 2}] * 2, "value_scaling has 2 entries, but there are 3 bands"),
        ([{"type": "log"}], r"model\.json: properties\.mlm:input\.0\.value_scaling\.0\.type is 'log'"),
        (
            [{"type": "processing", "format": "python", "expression": "a:b"}],
            "format 'python' cannot be computed",
        ),
    ],
)
def test_a_package_whose_scaling_cannot_be_computed_is_refused(
    entries: Any, text: str, small_model: Path, tmp_path: Path
) -> None:
    model = with_scaling(small_model, tmp_path / "model", entries)
    with pytest.raises(ModelError, match=text):
        load_manifest(model)
