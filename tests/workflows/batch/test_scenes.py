"""Where scenes come from: files, globs, CSV files, STAC documents on disk and on a server."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.names import shown_name
from segment_tiles.pipeline.outputs.stores.store import open_store
from segment_tiles.pipeline.sources.stacks.description import stack_named
from segment_tiles.pipeline.sources.stacks.resolve import OF_NO_STACK, resolved
from segment_tiles.workflows.batch.jobs import Job, list_jobs
from segment_tiles.workflows.batch.jobs_file import read_jobs_file
from segment_tiles.workflows.batch.sources.stac_scenes import scene_of_item, stac_items

COG = "image/tiff; application=geotiff; profile=cloud-optimized"


def stac_scenes(href: str, asset: str | None) -> list[tuple[str, dict[str, str]]]:
    found = [scene_of_item(item, asset, is_stack=False) for item in stac_items(href)]
    return [(scene.source, scene.names) for scene in found]


@pytest.fixture
def jobs(jobs_file: Callable[..., Path]) -> Callable[..., list[Job]]:
    """The jobs of a file with these entries."""
    return lambda *entries, **keys: list_jobs(read_jobs_file(jobs_file(*entries, **keys)))


def test_globs_are_sorted_and_lists_keep_their_order(tmp_path: Path, jobs: Callable[..., list[Job]]) -> None:
    for name in ("b.tif", "a.tif", "sub/c.tif", ".hidden.tif", "odd[1].tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = jobs(
        {"source": "**/?.tif"},
        {"source": ["https://host/dir/z.tif?token=1", "odd[1].tif", "/vsizip/x.zip/y.tif"], "level": 1},
        out="out/{number}-{folder}-{stem}",
    )
    assert [Path(job.config.source).name for job in found[:3]] == ["a.tif", "b.tif", "c.tif"]
    assert [job.config.source for job in found[3:]] == [
        "https://host/dir/z.tif?token=1", str(tmp_path / "odd[1].tif"), "/vsizip/x.zip/y.tif",
    ]  # fmt: skip
    assert [job.name for job in found[2:]] == [
        "out/3-sub-c", "out/4-dir-z", f"out/5-{tmp_path.name}-odd[1]", "out/6-x.zip-y",
    ]  # fmt: skip
    assert [job.config.level for job in found] == [None, None, None, 1, 1, 1]


def test_files_by_commas_are_a_stack_beside_the_file_that_names_them(
    tmp_path: Path, jobs: Callable[..., list[Job]]
) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "scenes.csv").write_text('source\n"a.tif,b.tif"\n')
    (tmp_path / "one,file.tif").touch()
    found = jobs(
        {"source": ["a.tif, b.tif", "one,file.tif"]}, {"csv": "lists/scenes.csv"}, out="{number}-{stem}"
    )
    assert [shown_name(job.config.source) for job in found] == [
        f"{tmp_path}/a.tif,{tmp_path}/b.tif", str(tmp_path / "one,file.tif"),
        f"{tmp_path}/lists/a.tif,{tmp_path}/lists/b.tif",
    ]  # fmt: skip
    assert [job.name for job in found] == ["1-a", "2-one,file", "3-a"]


def test_a_csv_file_names_scenes_settings_and_fields(tmp_path: Path, jobs: Callable[..., list[Job]]) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "scenes.csv").write_text(
        'path,site,bands,nodata,tile\na.tif,North/1,"3,2,1",0,128\nhttps://host/b.tif,..,,,\n'
    )
    first, second = jobs(
        {"csv": "lists/scenes.csv", "column": "path", "tile": 64, "out": "maps/{site}"},
        defaults={"nodata": 9},
    )
    assert first.config.source == str(tmp_path / "lists" / "a.tif")
    assert (first.config.bands, first.config.nodata, first.config.tile) == ((3, 2, 1), 0, 128)
    assert (second.config.bands, second.config.nodata, second.config.tile) == (None, 9, 64)
    assert [job.name for job in (first, second)] == ["maps/North_1", "maps/__"]


def item(name: str, **assets: tuple[str, str, list[str]]) -> pystac.Item:
    made = pystac.Item(name, None, None, datetime(2020, 5, 18, tzinfo=UTC), {})
    for key, (href, kind, roles) in assets.items():
        made.add_asset(key, pystac.Asset(href, media_type=kind, roles=roles))
    return made


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """A collection with two items, and a catalog below it with a third; assets lie beside their items."""
    everywhere = pystac.SpatialExtent([[-180, -90, 180, 90]])
    collection = pystac.Collection(
        "aerial", "Scenes", pystac.Extent(everywhere, pystac.TemporalExtent([[datetime(2020, 1, 1, tzinfo=UTC), None]]))
    )  # fmt: skip
    data = ("./scene.tif", COG, ["data"])
    for name in ("first", "second"):
        collection.add_item(item(name, visual=data, thumbnail=("./t.png", "image/png", ["thumbnail"])))
    child = pystac.Catalog("below", "More")
    child.add_item(item("third", visual=data))
    collection.add_child(child)
    collection.normalize_and_save(str(tmp_path / "stac"), pystac.CatalogType.SELF_CONTAINED)
    return tmp_path / "stac"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Serves the folder of the test on loopback."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def test_items_of_a_collection_and_what_is_below_it(catalog: Path, jobs: Callable[..., list[Job]]) -> None:
    found = jobs({"stac": "stac/collection.json", "asset": "visual"}, out="maps/{date}-{id}")
    assert [job.config.source for job in found] == [
        str(catalog / folder / "scene.tif") for folder in ("first", "second", "below/third")
    ]
    assert found[0].name == "maps/2020-05-18-first"


def test_documents_on_a_server_and_their_pages(catalog: Path, server: str) -> None:
    remote = stac_scenes(f"{server}/stac/collection.json", None)
    assert [uri for uri, _ in remote] == [
        f"{server}/stac/{folder}/scene.tif" for folder in ("first", "second", "below/third")
    ]
    items = [json.loads((catalog / name / f"{name}.json").read_text()) for name in ("first", "second")]
    for number, entry in enumerate(items, 1):
        entry["links"] = []
        entry["assets"]["visual"]["href"] = f"https://host/{entry['id']}.tif"
        following = [{"rel": "next", "href": "page2.json"}] if number == 1 else []
        page = {"type": "FeatureCollection", "features": [entry], "links": following}
        (catalog / f"page{number}.json").write_text(json.dumps(page))
    pages = stac_scenes(f"{server}/stac/page1.json", None)
    assert [uri for uri, _ in pages] == ["https://host/first.tif", "https://host/second.tif"]
    circle = json.loads((catalog / "page2.json").read_text())
    circle["links"] = [{"rel": "next", "href": "page1.json"}]
    (catalog / "page2.json").write_text(json.dumps(circle))
    with pytest.raises(UsageError, match="circle"):
        stac_scenes(f"{server}/stac/page1.json", None)
    circle["links"] = [{"rel": "next", "href": "page1.json", "method": "POST"}]
    (catalog / "page2.json").write_text(json.dumps(circle))
    with pytest.raises(UsageError, match="POST request; save the search"):
        stac_scenes(f"{server}/stac/page1.json", None)


def test_an_item_says_which_assets_it_has(catalog: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"item first has no asset 'nir'; it has visual, thumbnail"):
        stac_scenes(str(catalog / "collection.json"), "nir")
    two = item("two", red=("./r.tif", COG, ["data"]), green=("./g.tif", COG, ["data"]))
    two.save_object(include_self_link=False, dest_href=str(tmp_path / "two.json"))
    ((stack, names),) = stac_scenes(str(tmp_path / "two.json"), None)
    assert (shown_name(stack), names["id"]) == ("two", "two")
    found = stack_named(resolved(stack, OF_NO_STACK, lambda: ("green", "red")))
    assert found.files == (str(tmp_path / "g.tif"), str(tmp_path / "r.tif"))
    empty = {"type": "FeatureCollection", "features": []}
    (tmp_path / "empty.json").write_text(json.dumps(empty))
    with pytest.raises(UsageError, match="has no items"):
        stac_scenes(str(tmp_path / "empty.json"), None)


TOLDS: dict[str, list[dict[str, Any]]] = {
    "eo:bands": [
        {"name": "B02", "common_name": "blue"}, {"name": "B03", "common_name": "green"},
        {"name": "B04", "common_name": "red"},
    ],
    "bands": [{"name": name, "nodata": 7} for name in ("blue", "green", "red")],
}  # fmt: skip


@pytest.mark.parametrize("asset", [None, "data"])
@pytest.mark.parametrize("field", ["eo:bands", "bands"])
def test_the_bands_of_the_only_asset_are_those_that_the_item_says(
    tmp_path: Path, jobs_file: Callable[..., Path], small_model: Path, field: str, asset: str | None
) -> None:
    """As `run` does with the item itself: blue first, and a value is missing that the file does not mark."""
    values = np.random.default_rng(0).integers(1, 255, (3, 64, 64), dtype=np.uint8)
    values[:, :20, :30] = 7
    profile = {
        "driver": "GTiff",
        "count": 3,
        "height": 64,
        "width": 64,
        "dtype": "uint8",
        "crs": "EPSG:32633",
    }
    for name, order in (("told", (2, 1, 0)), ("plain", (0, 1, 2))):
        with rasterio.open(
            tmp_path / f"{name}.tif", "w", transform=rasterio.Affine(1, 0, 5e5, 0, -1, 5e6), **profile
        ) as file:
            file.write(values[list(order)])
    told = item("one", data=("./told.tif", COG, ["data"]))
    told.assets["data"].extra_fields[field] = TOLDS[field]
    if field == "eo:bands":
        told.assets["data"].extra_fields["raster:bands"] = [{"nodata": 7}] * 3
    told.save_object(include_self_link=False, dest_href=str(tmp_path / "one.json"))
    entry = {
        "stac": "one.json",
        "model": str(small_model),
        "out": "batch",
        "format": ["zarr"],
        "precision": "fp32",
    }
    if asset is not None:
        entry["asset"] = asset
    assert run_command_line(["batch", str(jobs_file(entry))]) == 0
    options = ["--model", str(small_model), "--precision", "fp32", "--format", "zarr", "--nodata", "7"]
    assert (
        run_command_line(["run", str(tmp_path / "plain.tif"), *options, "--out", str(tmp_path / "run")]) == 0
    )
    maps = [np.asarray(open_store(tmp_path / name / "classes.zarr")["classes"]) for name in ("batch", "run")]
    assert np.array_equal(*maps)
    assert (maps[0][:20, :30] == 255).all()


def test_a_remote_item_is_segmented(
    tmp_path: Path,
    server: str,
    aerial_crop: Path,
    write_crop: Callable[..., Path],
    jobs_file: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_crop(aerial_crop, tmp_path / "served" / "scene.tif", 0, 0)
    made = item("remote", visual=("./scene.tif", COG, ["data"]))
    made.save_object(include_self_link=False, dest_href=str(tmp_path / "served" / "item.json"))
    path = jobs_file({"stac": f"{server}/served/item.json"})
    assert run_command_line(["batch", str(path), "--json"]) == 0
    row = json.loads(capsys.readouterr().out)["jobs"][0]
    assert row["source"] == f"{server}/served/scene.tif"
    assert row["pixels nodata"] == 0
