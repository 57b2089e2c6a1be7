"""One source, one map: a source that changes while it is read fails the run, and nothing is called complete."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.errors import RasterioDeprecationWarning

from segment_tiles.pipeline.errors import ChangedRunError, RunFailedError, SourceChangedError
from segment_tiles.pipeline.outputs.stores.store import open_store
from segment_tiles.pipeline.sources import patience
from segment_tiles.pipeline.sources.rasters.raster_file import RasterFile
from segment_tiles.pipeline.sources.versions import watch as watch_module
from segment_tiles.pipeline.sources.versions.version import known_version, source_version, with_guard
from segment_tiles.pipeline.sources.versions.watch import SourceWatch
from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.workflows.batch.sources.mosaic import Mosaic, write_mosaic
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.polygons.polygonize import polygonize
from segment_tiles.workflows.run.segment import segment

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
    "sidecar": lambda path: Path(f"{path}.aux.xml").write_text(
        "<PAMDataset><GeoTransform>0, 2, 0, 0, 0, -2</GeoTransform></PAMDataset>"
    ),
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
        known = known_version(str(index))
        later(scenes[1])
        with pytest.raises(SourceChangedError, match=CHANGED):
            known.require_same()


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


def look_at(path: Path, overviews: bytes) -> None:
    """Do what a viewer does: statistics into the sidecar, overviews into a file beside the raster."""
    with rasterio.open(path) as dataset, pytest.warns(RasterioDeprecationWarning):  # the one that keeps them
        dataset.statistics(1, approx=False)
    Path(f"{path}.ovr").write_bytes(overviews)


def overviews_of(path: Path) -> bytes:
    """Return what GDAL keeps in an ``.ovr`` beside a GeoTIFF, made beside a copy: rasterio writes to the file too."""
    other = path.with_name("copy.tif")
    shutil.copy2(path, other)
    with rasterio.Env(TIFF_USE_OVR=True), rasterio.open(other, "r+") as dataset:
        dataset.build_overviews([2], rasterio.enums.Resampling.nearest)
    return Path(f"{other}.ovr").read_bytes()


def test_what_a_viewer_writes_beside_a_source_fails_no_run(tmp_path: Path, small_model: Path) -> None:
    scene = write(tmp_path / "scene.tif")
    request, overviews = config(scene, small_model, tmp_path / "out"), overviews_of(scene)
    assert segment(request, Changing(lambda: look_at(scene, overviews))).report["failures"] == []
    assert "STATISTICS_MEAN" in Path(f"{scene}.aux.xml").read_text()
    assert Path(f"{scene}.ovr").exists()
    later(scene.with_name("scene.tif.ovr"))
    assert segment(request, Changing(lambda: None)).was_finished
    # read from the overview, it counts
    coarse = config(scene, small_model, tmp_path / "coarse", level=1)
    with pytest.raises(SourceChangedError, match=CHANGED):
        segment(coarse, Changing(lambda: later(scene.with_name("scene.tif.ovr"))))


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
        self.state["requests"] = self.state.get("requests", 0) + 1
        content, headers = self.state["content"], self.state["headers"]
        if "answer" in self.state:
            content, headers = self.state["answer"](self)
        if content is None or not self.path.endswith(".tif"):
            self.send_error(404)
            return
        match = self.headers.get("If-Match")
        if self.state.get("knows If-Match") and match not in {None, headers.get("ETag")}:
            self.send_error(412)
            return
        first, last = 0, len(content) - 1
        asked = self.headers.get("Range")
        if self.state.get("knows If-Range") and self.headers.get("If-Range") not in {
            None,
            headers.get("ETag"),
        }:
            asked = None
        if asked:
            start, _, end = asked.removeprefix("bytes=").partition("-")
            first, last = int(start), min(last, int(end or last))
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        self.send_header("Content-Length", str(last + 1 - first))
        self.send_header("Accept-Ranges", "bytes")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            with contextlib.suppress(ConnectionError):  # GDAL takes no whole file in place of a range
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


def classes_of(out: Path) -> Any:
    return open_store(out / "classes.zarr")["classes"][:]


@pytest.mark.parametrize("knows", ["If-Match", "If-Range"])
def test_ranges_of_another_version_are_no_part_of_a_map(
    knows: str,
    tmp_path: Path,
    small_model: Path,
    server: tuple[str, dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two machines behind one name: every second range comes from the one with the other file."""
    monkeypatch.setattr(patience, "RETRY_SECONDS", 0.01)
    url, state = server
    scenes = [write(tmp_path / f"{n}.tif", seed=n, side=320) for n in (1, 2)]
    one, other = [scene.read_bytes() for scene in scenes]
    others = []

    def answer(handler: Ranges) -> tuple[bytes, dict[str, str]]:
        if handler.command == "HEAD" or not turns or handler.state["requests"] % 2:
            return one, {"ETag": '"1"'}
        others.append(handler.path)
        return other, {"ETag": '"2"'}

    turns: list[bool] = []
    state.update({"answer": answer, f"knows {knows}": True})
    remote = segment(config(url, small_model, tmp_path / "out"), Changing(lambda: None, "never"))
    assert remote.report["failures"] == []
    expected = classes_of(tmp_path / "out")
    turns.append(True)
    url = url.replace("scene.tif", "again.tif")  # GDAL keeps ranges by name
    again = segment(config(url, small_model, tmp_path / "again"), Changing(lambda: None, "never"))
    assert others
    assert again.report["failures"] == []
    np.testing.assert_array_equal(classes_of(tmp_path / "again"), expected)


@pytest.mark.parametrize(
    ("etag", "knows", "guarded"),
    [
        ('"1"', True, True),
        ('W/"1"', True, False),
        ('"a,b"', True, True),
        ('"a\\\\b"', True, False),
        ('"1"', False, True),
    ],
)
def test_which_servers_are_held_to_a_version(
    tmp_path: Path, server: tuple[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch,
    etag: str, knows: bool, guarded: bool,
) -> None:  # fmt: skip
    url, state = server
    content = write(tmp_path / "1.tif").read_bytes()
    state.update({"content": content, "headers": {"ETag": etag}, "knows If-Range": knows})
    monkeypatch.setenv("GDAL_HTTP_HEADERS", "X-Mine: 1")
    known = with_guard(known_version(url))
    assert bool(known.guard.settings) == guarded
    heard = []
    state["answer"] = lambda handler: (
        heard.append((handler.headers["If-Match"], handler.headers["If-Range"], handler.headers["X-Mine"]))
        or content,
        {"ETag": etag},
    )
    with closing(RasterFile(url, settings=known.guard.settings)) as source:
        source.read(source.spec.window)
    assert set(heard) == {(*[etag if guarded else None] * 2, "1")}


def test_a_read_that_failed_goes_on_with_the_same_version_only(
    tmp_path: Path, server: tuple[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "RETRY_SECONDS", 0.01)
    url, state = server
    one, other = [write(tmp_path / f"{n}.tif", seed=n, side=512).read_bytes() for n in (1, 2)]
    for becomes in (one, other):
        url = url.replace(".tif", "-.tif")
        state.update(content=one, headers={"ETag": '"1"'})
        state.pop("answer", None)
        known = known_version(url)
        with closing(RasterFile(url, unchanged=known.require_same)) as source:

            def until_asked(handler: Ranges, becomes: bytes = becomes) -> tuple[bytes | None, dict[str, str]]:
                if handler.command == "GET":
                    return None, {}
                del state["answer"]
                state.update(content=becomes, headers={"ETag": '"1"' if becomes is one else '"2"'})
                return becomes, state["headers"]

            state["answer"] = until_asked
            if becomes is one:
                assert source.read(source.spec.window).any()
                assert "answer" not in state
            else:
                with pytest.raises(SourceChangedError, match=rf"{CHANGED}.*it is etag \"2\""):
                    source.read(source.spec.window)


def watches() -> None:
    """Wait until nobody looks."""
    for thread in threading.enumerate():
        if thread.name == "source-watch":
            thread.join()


def test_a_change_and_back_is_noticed_by_a_watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = write(tmp_path / "scene.tif")
    status = scene.stat()
    monkeypatch.setattr(watch_module, "COST", 1e9)
    watch = SourceWatch(known_version(str(scene)), seconds=0)
    assert not watch.has_changed()
    watches()
    watch.require_same()
    later(scene)
    watch.has_changed()  # it looks, and nobody waits for it
    watches()
    assert watch.has_changed()
    os.utime(scene, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(SourceChangedError, match=CHANGED):
        watch.require_same()


def test_a_run_ends_soon_after_a_change(
    tmp_path: Path, small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SourceWatch.__init__, "__defaults__", (0.0,))
    monkeypatch.setattr(watch_module, "COST", 1e9)  # or a look that took long puts off the next
    scene = tmp_path / "tall.tif"
    with rasterio.open(
        scene, "w", driver="GTiff", count=3, height=512 * 6, width=32, dtype="uint8", tiled=True, blockxsize=64,
        blockysize=64,
    ) as dataset:  # fmt: skip
        dataset.write(np.random.default_rng(0).integers(1, 255, (3, 512 * 6, 32), dtype=np.uint8))
    done = []

    class Counting(Changing):
        def tiles(self, computed: int, skipped: int) -> None:
            super().tiles(computed, skipped)
            done.append(computed + skipped)
            watches()

    with pytest.raises(SourceChangedError, match=rf"tall\.tif: {CHANGED}"):
        segment(config(scene, small_model, tmp_path / "out"), Counting(lambda: later(scene)))
    assert sum(done) < 512 * 6 // 64 // 2
    with pytest.raises(ChangedRunError, match="source version"):
        segment(config(scene, small_model, tmp_path / "out"), Changing(lambda: None))


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
