"""One source, one map: a source that changes while it is read fails the run, and nothing is called complete."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import rasterio

from segment_tiles.pipeline.errors import ChangedRunError, RunFailedError
from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.workflows.batch.mosaic import Mosaic, write_mosaic
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.polygonize import polygonize
from segment_tiles.workflows.segment import segment
from segment_tiles.workflows.source_version import require_same_version, source_version

CHANGED = "changed while it was read"


class Changing:
    """Does something once, when the first tiles are done or when a stage begins."""

    def __init__(self, change: Callable[[], object], at: str = "tiles") -> None:
        self._change: Callable[[], object] | None = change
        self._at = at
        self.stages: list[str] = []

    def _now(self, at: str) -> None:
        if at == self._at and self._change is not None:
            change, self._change = self._change, None
            change()

    def warn(self, text: str) -> None: ...

    def stage(self, name: str) -> None:
        self._now(name)
        self.stages.append(name)

    def planned(self, plan: Any) -> None: ...

    def tiles(self, computed: int, skipped: int) -> None:
        self._now("tiles")


def write(path: Path, seed: int = 0, side: int = 128, column: int = 0) -> Path:
    values = np.random.default_rng(seed).integers(1, 255, (3, side, side), dtype=np.uint8)
    with rasterio.open(
        path, "w", driver="GTiff", count=3, height=side, width=side, dtype="uint8", crs="EPSG:32633",
        transform=rasterio.Affine(1, 0, 1000 + column, 0, -1, 2000), tiled=True, blockxsize=64, blockysize=64,
    ) as dataset:  # fmt: skip
        dataset.write(values)
    return path


def vrt(path: Path, *names: str, side: int = 128) -> Path:
    """A VRT whose bands are those of the first raster."""
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{band}"><SimpleSource><SourceFilename relativeToVRT="1">{name}'
        f"</SourceFilename><SourceBand>{band}</SourceBand></SimpleSource></VRTRasterBand>"
        for name in names
        for band in (1, 2, 3)
    )
    path.write_text(
        f'<VRTDataset rasterXSize="{side}" rasterYSize="{side}"><SRS>EPSG:32633</SRS>'
        f"<GeoTransform>1000,1,0,2000,0,-1</GeoTransform>{bands}</VRTDataset>"
    )
    return path


def later(path: Path) -> None:
    """Touch a file: the same bytes, another time."""
    now = path.stat().st_mtime_ns
    os.utime(path, ns=(now, now + 1))


def config(source: Path | str, model: Path, out: Path, **changes: Any) -> RunConfig:
    return RunConfig(
        str(source), str(model), out, precision="fp32", device="cpu", tile=64, formats=("zarr",), **changes
    )


CHANGES: dict[str, Callable[[Path], object]] = {
    "overwritten": lambda path: write(path, seed=1),
    "replaced": lambda path: write(path.with_suffix(".new"), seed=1).replace(path),
    "cut": lambda path: os.truncate(path, 1000),
    "deleted": lambda path: path.unlink(),
    "touched": later,
    "sidecar": lambda path: Path(f"{path}.aux.xml").write_text("<PAMDataset></PAMDataset>"),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_file_that_changes_in_mid_run_fails_it(tmp_path: Path, small_model: Path, kind: str) -> None:
    scene, out = write(tmp_path / "scene.tif"), tmp_path / "out"
    kept = shutil.copy2(scene, tmp_path / "kept.tif")
    request = config(scene, small_model, out)
    with pytest.raises(RunFailedError, match=rf"scene\.tif: {CHANGED}.*"):
        segment(request, Changing(lambda: CHANGES[kind](scene)))
    assert not (out / "classes.zarr").exists()
    assert not (out / "item.json").exists()
    Path(f"{scene}.aux.xml").unlink(missing_ok=True)
    shutil.copy2(kept, scene)  # as it was, also by its time
    if kind == "deleted":
        assert segment(request, Changing(lambda: None)).report["failures"] == []
        return
    with pytest.raises(ChangedRunError, match="source version"):  # rows may be of the other version
        segment(request, Changing(lambda: None))
    assert (
        segment(config(scene, small_model, out, restart=True), Changing(lambda: None)).report["failures"]
        == []
    )
    assert (out / "item.json").exists()


def test_a_file_that_changes_while_results_are_written_fails_too(tmp_path: Path, small_model: Path) -> None:
    scene, out = write(tmp_path / "scene.tif"), tmp_path / "out"
    with pytest.raises(RunFailedError, match=CHANGED):
        segment(config(scene, small_model, out), Changing(lambda: write(scene, seed=1), "preview"))
    assert not (out / "item.json").exists()
    with pytest.raises(ChangedRunError, match="source version"):
        segment(config(scene, small_model, out), Changing(lambda: None))


def test_members_of_a_nested_vrt_count(tmp_path: Path, small_model: Path) -> None:
    member = write(tmp_path / "member.tif")
    vrt(tmp_path / "inner.vrt", "member.tif")
    outer = vrt(tmp_path / "outer.vrt", "inner.vrt")
    with pytest.raises(RunFailedError, match=r"outer\.vrt: changed"):
        segment(config(outer, small_model, tmp_path / "out"), Changing(lambda: later(member)))


def test_scenes_of_a_mosaic_count(tmp_path: Path) -> None:
    scenes = [write(tmp_path / "a.tif"), write(tmp_path / "b.tif", column=128)]
    index = tmp_path / "mosaic.gti.gpkg"
    for nodata in (None, 0):
        write_mosaic(Mosaic(tuple(map(str, scenes)), nodata, None), index)
        before = source_version(str(index))
        later(scenes[1])
        with pytest.raises(RunFailedError, match=CHANGED):
            require_same_version(str(index), before)


@pytest.mark.parametrize("name", ["/vsizip/{}/a.tif", "zip://{}!a.tif", "vrt://{}?bands=1", 'NETCDF:"{}":a'])
def test_the_file_that_a_name_of_gdal_means_counts(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(b"PK")
    before = source_version(name.format(path))
    assert before is not None
    later(path)
    assert source_version(name.format(path)) != before


def test_every_file_of_a_folder_counts_but_not_labels_that_a_run_writes_there(tmp_path: Path) -> None:
    folder = tmp_path / "image.zarr"
    for name in ("zarr.json", "0/zarr.json", "0/c/0/0", "labels/tissue/zarr.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    before = source_version(str(folder))
    (folder / "labels" / "more").write_text("x")
    assert source_version(str(folder)) == before
    # neither the sum of the sizes nor the latest change tells this from before
    others = [folder / "0" / "c" / "0" / "0", folder / "0" / "zarr.json"]
    later(folder / "zarr.json")
    latest = source_version(str(folder))
    times = [path.stat().st_mtime_ns for path in others]
    for path, time in zip(others, reversed(times), strict=True):
        os.utime(path, ns=(time, time))
    assert (source_version(str(folder)) != latest) == (times[0] != times[1])
    others[0].unlink()
    assert source_version(str(folder)) != latest


class Ranges(SimpleHTTPRequestHandler):
    """A server of one content in ranges, with an ETag."""

    def __init__(self, state: dict[str, Any], *arguments: Any) -> None:
        self.state = state
        super().__init__(*arguments)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        content = self.state["content"]
        if not self.path.endswith(".tif"):
            self.send_error(404)
            return
        first, last = 0, len(content) - 1
        if asked := self.headers.get("Range"):
            start, _, end = asked.removeprefix("bytes=").partition("-")
            first, last = int(start), min(last, int(end or last))
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        self.send_header("Content-Length", str(last + 1 - first))
        self.send_header("Accept-Ranges", "bytes")
        for name, value in self.state["headers"].items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(content[first : last + 1])

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def server() -> Iterator[tuple[str, dict[str, Any]]]:
    state: dict[str, Any] = {"content": b"", "headers": {}}
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Ranges, state)) as http:
        thread = Thread(target=http.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}/scene.tif", state
        http.shutdown()
        thread.join()


@pytest.mark.parametrize("name", ["ETag", "Last-Modified"])
def test_a_server_that_changes_its_content_in_mid_run(
    tmp_path: Path, small_model: Path, server: tuple[str, dict[str, Any]], name: str
) -> None:
    url, state = server
    values = {"ETag": ['"1"', '"2"'], "Last-Modified": [f"Tue, 0{n} Nov 2026 10:00:00 GMT" for n in (3, 4)]}[
        name
    ]
    state.update(content=write(tmp_path / "1.tif").read_bytes(), headers={name: values[0]})
    other = write(tmp_path / "2.tif", seed=1).read_bytes()
    out = tmp_path / "out"
    with pytest.raises(RunFailedError, match=rf"{CHANGED}.*{values[1]}"):
        segment(
            config(url, small_model, out),
            Changing(lambda: state.update(content=other, headers={name: values[1]})),
        )
    assert not (out / "item.json").exists()
    with pytest.raises(ChangedRunError, match="source version"):
        segment(config(url, small_model, out), Changing(lambda: None))


def test_a_server_that_tells_nothing_is_believed(
    tmp_path: Path, small_model: Path, server: tuple[str, dict[str, Any]]
) -> None:
    url, state = server
    state.update(content=write(tmp_path / "1.tif").read_bytes(), headers={})
    assert (
        segment(config(url, small_model, tmp_path / "out"), Changing(lambda: None)).report["failures"] == []
    )


def test_polygonize_of_a_raster_that_changes(tmp_path: Path) -> None:
    raster, out = tmp_path / "c.tif", tmp_path / "p.parquet"

    def classes(seed: int) -> None:
        values = np.random.default_rng(seed).integers(0, 3, (1, 128, 128), dtype=np.uint8)
        with rasterio.open(
            raster, "w", driver="GTiff", count=1, height=128, width=128, dtype="uint8", crs="EPSG:32633",
            transform=rasterio.Affine(1, 0, 1000, 0, -1, 2000),
        ) as dataset:  # fmt: skip
            dataset.write(values)

    classes(0)
    changed: list[bool] = []

    def progress(*_: object) -> None:
        if not changed:
            changed.append(True)
            classes(1)

    with pytest.raises(RunFailedError, match=rf"c\.tif: {CHANGED}"):
        polygonize(raster, [out], PolygonizeOptions(vector_tile=64), progress=progress)
    assert not out.exists()
    assert not (tmp_path / ".p.parquet.tiles").exists()
    polygonize(raster, [out], PolygonizeOptions(vector_tile=64))
    assert out.exists()
