"""Runs that are taken up: what is damaged is computed again, what holds is kept, and the bytes are the same."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import zarr

from segment_tiles.pipeline.errors import ChangedRunError, OutputError, ReadFailedError, SourceError
from segment_tiles.pipeline.outputs.stores.store import open_store
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.output_folder.directory import OutputDirectory
from segment_tiles.workflows.run import scene_probe, taken_up
from segment_tiles.workflows.run.export import export_run
from segment_tiles.workflows.run.segment import segment
from segment_tiles.workflows.scenes.rasters import picture

Damage = Callable[[Path], None]
OWN = ".segment-tiles"


class Heard:
    """Listens and remembers what the user is told."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.computed = 0

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def stage(self, name: str) -> None: ...

    def planned(self, plan: object) -> None: ...

    def tiles(self, computed: int, skipped: int) -> None:
        self.computed += computed


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1100 x 70 pixels: three rows of shards."""
    path = tmp_path_factory.mktemp("source") / "a.tif"
    rng = np.random.default_rng(0)
    values = rng.integers(0, 255, (3, 138, 9), dtype=np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    with rasterio.open(
        path, "w", driver="GTiff", width=70, height=1100, count=3, dtype="uint8", crs="EPSG:32633",
        transform=rasterio.Affine(1, 0, 1000, 0, -1, 2000),
    ) as dataset:  # fmt: skip
        dataset.write(values[:, :1100, :70])
    return path


@pytest.fixture(autouse=True)
def sketch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A preview that takes no time; the source is opened for it all the same."""

    def drawn(path: Path, scene: Any, *_: object) -> None:
        picture.opened_on_grid(scene).close()
        path.write_bytes(b"picture")

    monkeypatch.setattr("segment_tiles.workflows.scenes.rasters.picture.write_run_preview", drawn)


def config(source: Path, model: Path, out: Path, **changes: Any) -> RunConfig:
    settings: dict[str, Any] = {"precision": "fp32", "device": "cpu", "formats": ("zarr",)}
    return RunConfig(str(source), str(model), out, **{**settings, **changes})


@pytest.fixture(scope="module")
def whole(source: Path, small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing befell."""
    out = tmp_path_factory.mktemp("whole") / "out"
    segment(config(source, small_model, out), Heard())
    return out


@pytest.fixture
def finished(whole: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(whole, tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture
def killed(finished: Path) -> Path:
    """The same as a kill leaves it when every row is done, and nothing else."""
    (finished / "classes.zarr").rename(finished / OWN / "classes.zarr")
    for name in ("1", "2"):
        shutil.rmtree(finished / OWN / "classes.zarr" / name, ignore_errors=True)
    for name in ("report.json", "item.json", "preview.png", f"{OWN}/computed.json", f"{OWN}/store.json"):
        (finished / name).unlink()
    return finished


@pytest.fixture
def go_on(source: Path, small_model: Path) -> Callable[..., tuple[dict[str, Any], Heard]]:
    """Starts the same command again."""

    def started(out: Path, **changes: Any) -> tuple[dict[str, Any], Heard]:
        heard = Heard()
        result = segment(config(source, small_model, out, **changes), heard)
        assert result.report["status"] == "complete"
        return dict(result.report), heard

    return started


def files_of(store: Path) -> dict[str, bytes]:
    return {str(p.relative_to(store)): p.read_bytes() for p in store.rglob("*") if p.is_file()}


def same(out: Path, whole: Path) -> bool:
    counts = [json.loads((folder / "report.json").read_text())["classes"] for folder in (out, whole)]
    return files_of(out / "classes.zarr") == files_of(whole / "classes.zarr") and counts[0] == counts[1]


def test_a_row_that_is_damaged_is_computed_again_and_metadata_are_put_right(
    killed: Path, whole: Path, go_on: Any, damage: Damage
) -> None:
    """Of which array, and of the ledger too: tests/pipeline/outputs/stores/test_ledger.py."""
    damage(killed / OWN / "classes.zarr" / "confidence" / "c" / "1" / "0")
    for file in ("zarr.json", "classes/zarr.json", "confidence/zarr.json"):
        damage(killed / OWN / "classes.zarr" / file)
    report, _ = go_on(killed)
    assert 0 < report["tiles"]["computed"] < report["tiles"]["planned"]
    assert same(killed, whole)


def test_a_store_that_has_gone_takes_its_ledger_with_it(killed: Path, whole: Path, go_on: Any) -> None:
    shutil.rmtree(killed / OWN / "classes.zarr")
    report, heard = go_on(killed)
    assert report["tiles"]["computed"] == report["tiles"]["planned"]
    assert "is gone" in heard.warnings[0]
    assert same(killed, whole)


@pytest.mark.parametrize("file", ["classes/c/0/0", "classes/zarr.json", "1/classes/c/0/0"])
def test_a_finished_store_that_lost_a_file_is_made_whole(
    finished: Path, whole: Path, go_on: Any, file: str
) -> None:
    (finished / "classes.zarr" / file).unlink()
    report, heard = go_on(finished)
    assert report["tiles"]["computed"] < report["tiles"]["planned"]
    assert "is damaged" in heard.warnings[0]
    assert same(finished, whole)


def test_a_finished_store_is_checked_byte_for_byte_before_a_format_is_made_of_it(
    finished: Path, whole: Path, go_on: Any
) -> None:
    shard = finished / "classes.zarr" / "classes" / "c" / "2" / "0"
    shard.write_bytes(bytes(shard.stat().st_size))
    go_on(finished, formats=("zarr", "cog"))
    assert same(finished, whole)
    with rasterio.open(finished / "classes.tif") as cog:
        np.testing.assert_array_equal(cog.read(1), open_store(whole / "classes.zarr")["classes"][:])


@pytest.mark.parametrize("names", [["report.json", f"{OWN}/computed.json"], ["item.json", "preview.png"]])
def test_a_finished_run_that_lost_a_file(finished: Path, whole: Path, go_on: Any, names: list[str]) -> None:
    for name in names:
        (finished / name).write_bytes(b"")
    go_on(finished)
    assert same(finished, whole)
    assert all((finished / name).stat().st_size for name in names)


def test_a_record_that_is_damaged_says_what_to_do(finished: Path, go_on: Any, damage: Damage) -> None:
    damage(finished / OWN / "run.json")
    with pytest.raises(OutputError, match="--restart"):
        go_on(finished)


def test_a_choice_that_changed_in_the_record_is_noticed(finished: Path, go_on: Any) -> None:
    """A batch of another size gives other bytes."""
    record = finished / OWN / "run.json"
    record.write_text(record.read_text().replace('"batch": 1', '"batch": 2'))
    with pytest.raises(OutputError, match="--restart"):
        go_on(finished)


def test_work_without_a_record_is_begun_anew(killed: Path, whole: Path, go_on: Any) -> None:
    """A power cut before the record was written: nobody can tell of which run the rest is."""
    (killed / OWN / "run.json").unlink()
    report, _ = go_on(killed)
    assert report["tiles"]["computed"] == report["tiles"]["planned"]
    assert same(killed, whole)


def test_a_store_that_is_half_made_does_not_block(
    source: Path, small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Path, go_on: Any
) -> None:
    create = zarr.create_hierarchy

    def killed(store: Any, nodes: Any) -> None:
        dict(create(store=store, nodes={"": nodes[""]}))
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(zarr, "create_hierarchy", killed)
        with pytest.raises(KeyboardInterrupt):
            segment(config(source, small_model, tmp_path / "out"), Heard())
    assert not (tmp_path / "out" / OWN / "classes.zarr").exists()
    go_on(tmp_path / "out")
    assert same(tmp_path / "out", whole)


def test_leftovers_are_cleared(killed: Path, whole: Path, go_on: Any) -> None:
    left = [
        killed / OWN / "classes.zarr" / "classes" / "c" / "0" / "0abc.partial",
        killed / OWN / ".run.json.1-2.partial",
        killed / ".classes.tif.partial" / "classes.tif",
        killed / ".polygons.parquet.tiles" / "settings.json",
    ]
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    go_on(killed)
    assert not [path for path in left if path.exists()]
    assert same(killed, whole)


def test_what_workers_leave_that_are_killed_during_the_run_is_cleared(
    source: Path, small_model: Path, whole: Path, tmp_path: Path
) -> None:
    """Others do their tasks in the same run, from the same start: nothing is taken up."""
    out = tmp_path / "out"
    half = "0.4abc7dc3c8e94da58a10db3e7cbbdabd.partial"
    places = {
        "tiles": out / OWN / "classes.zarr" / "confidence" / "c" / "2" / half,
        "overviews": out / OWN / "classes.zarr" / "1" / "classes" / "c" / "0" / half,
        "preview": out / ".classes.tif.another-machine-77-0123abcd.partial" / "classes.tif",
    }

    class Killed(Heard):
        """Leaves what a killed worker would have, once at each stage."""

        def left(self, stage: str) -> None:
            place = places.get(stage)
            if place is not None:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.touch()
                seen.add(stage)

        def stage(self, name: str) -> None:
            self.left(name)

        def tiles(self, computed: int, skipped: int) -> None:
            self.left("tiles")

    seen: set[str] = set()
    segment(config(source, small_model, out), Killed())
    assert seen == places.keys()
    assert same(out, whole)
    assert not [path for path in out.rglob("*") if ".partial" in path.name]


def test_leftovers_are_cleared_if_the_run_was_finished(finished: Path, go_on: Any) -> None:
    """Found by fifty power cuts: the last file had its name, and its temporary folder came back."""
    left = finished / ".item.json.elsewhere-1-0123abcd.partial"
    left.mkdir()
    go_on(finished)
    assert not left.exists()


def test_polygons_go_on_with_the_tiles_of_a_kill_between_two_formats(
    finished: Path, go_on: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from segment_tiles.pipeline.vectors import tile_work  # noqa: PLC0415
    from segment_tiles.workflows.polygons import files  # noqa: PLC0415

    finished_files = files.finished_files

    def killed(*paths: Path) -> Any:
        if paths[0].suffix == ".gpkg":
            raise KeyboardInterrupt
        return finished_files(*paths)

    formats = ("zarr", "parquet", "gpkg")
    with monkeypatch.context() as patched:
        patched.setattr(files, "finished_files", killed)
        with pytest.raises(KeyboardInterrupt):
            go_on(finished, formats=formats)
    assert (finished / "polygons.parquet").exists()
    assert (finished / ".polygons.parquet.tiles").exists()
    monkeypatch.setattr(tile_work.TileWorker, "trace", None)  # nothing is traced again
    go_on(finished, formats=formats)
    assert (finished / "polygons.gpkg").exists()
    assert not list(finished.glob(".polygons*"))


def test_another_format_needs_no_probe_and_forgets_nothing(
    finished: Path, go_on: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = json.loads((finished / "report.json").read_text())
    assert before["tiles"]["computed"] == before["tiles"]["planned"]
    monkeypatch.setattr(scene_probe, "measure", None)
    monkeypatch.setattr("segment_tiles.workflows.run.run.probe_scene", None)
    report, heard = go_on(finished, formats=("cog",))
    assert heard.computed == 0
    for part in ("tiles", "choices", "settings", "workers", "classes"):
        assert report[part] == before[part], part
    assert report["seconds"]["stages"] == before["seconds"]["stages"]
    assert report["seconds"]["total"] > before["seconds"]["total"]
    assert {"classes.tif", "classes.zarr"} <= set(report["outputs"])
    item = json.loads((finished / "item.json").read_text())
    assert len(item["assets"]) == len(report["outputs"]) - 1


def test_a_kill_after_the_last_row_needs_no_probe(
    killed: Path, whole: Path, go_on: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(whole / OWN / "computed.json", killed / OWN)
    monkeypatch.setattr("segment_tiles.workflows.run.run.probe_scene", None)
    report, _ = go_on(killed)
    assert report["tiles"]["computed"] == report["tiles"]["planned"]
    assert same(killed, whole)


def test_only_the_preview_is_missing_and_the_source_has_gone(
    finished: Path, source: Path, small_model: Path, go_on: Any
) -> None:
    (finished / "preview.png").unlink()
    aside = source.with_suffix(".aside")
    source.rename(aside)
    try:
        for _ in range(2):
            report, heard = go_on(finished)
            assert "preview.png was not drawn" in heard.warnings[-1]
            assert "preview.png" not in report["outputs"]
        with pytest.raises(SourceError):
            segment(config(source, small_model, finished, blend="crop"), Heard())
        with pytest.raises(SourceError):
            segment(config(source, small_model, finished, formats=("cog",)), Heard())
    finally:
        aside.rename(source)


def test_a_finished_run_whose_source_was_replaced_by_something_unreadable(
    finished: Path, source: Path, small_model: Path
) -> None:
    aside = source.with_suffix(".aside")
    source.rename(aside)
    try:
        source.write_bytes(np.random.default_rng(0).bytes(3000))
        with pytest.raises(ChangedRunError, match=r"source version was .* is now"):
            segment(config(source, small_model, finished), Heard())
    finally:
        source.unlink()
        aside.rename(source)


def test_nothing_is_exported_from_a_damaged_result(finished: Path, damage: Damage) -> None:
    damage(finished / "classes.zarr" / "classes" / "c" / "0" / "0")
    with pytest.raises(OutputError, match="start the same run again"):
        export_run(finished, ["cog"])
    assert not (finished / "classes.tif").exists()


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"type": "Feature", "stac_version": "1.1.0", "assets": 7}']
)
def test_nothing_is_exported_beside_a_damaged_item(finished: Path, go_on: Any, content: str) -> None:
    (finished / "item.json").write_text(content)
    with pytest.raises(
        OutputError, match=r"item\.json: is no STAC item .*remove it and start the same run again"
    ):
        export_run(finished, ["cog"])
    assert not (finished / "classes.tif").exists()
    (finished / "item.json").unlink()
    go_on(finished)
    export_run(finished, ["cog"])
    assert "classes" in json.loads((finished / "item.json").read_text())["assets"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("source", None), ("source", {}), ("settings", {}), ("model", "a"), ("classes", [1]), ("outputs", 5),
        ("warnings", {"a": 1}), ("warnings", [1]), ("status", None),
    ],
)  # fmt: skip
def test_a_damaged_report_is_written_anew(finished: Path, go_on: Any, name: str, value: object) -> None:
    path = finished / "report.json"
    before = json.loads(path.read_text())
    path.write_text(
        json.dumps(
            {key: kept for key, kept in before.items() if key != name}
            | ({} if value is None else {name: value})
        )
    )
    with pytest.raises(OutputError, match=r"report\.json: is damaged; start the same run again"):
        export_run(finished, ["cog"])
    go_on(finished)
    after = json.loads(path.read_text())
    assert after[name] == before[name] or name == "warnings"


def test_a_source_that_cannot_be_read_for_the_preview(
    killed: Path, whole: Path, go_on: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(*_: object) -> None:
        raise ReadFailedError("a.tif: gone")

    monkeypatch.setattr("segment_tiles.workflows.scenes.rasters.picture.opened_on_grid", unreadable)
    report, heard = go_on(killed)
    assert heard.warnings == ["preview.png was not drawn, because the source cannot be read: a.tif: gone"]
    assert heard.warnings[0] in report["warnings"]
    assert same(killed, whole)


def test_the_order_in_which_a_run_reaches_the_disk(
    source: Path, small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shard before its row, the whole store before its name, and everything before item.json."""
    asked: list[str] = []
    sync = os.fsync

    def recorded(handle: int) -> None:
        path = Path(f"/proc/self/fd/{handle}").readlink()
        if path.is_relative_to(tmp_path):
            asked.append(path.relative_to(tmp_path).as_posix())
        sync(handle)

    monkeypatch.setattr(os, "fsync", recorded)
    segment(config(source, small_model, tmp_path / "out"), Heard())

    def first(ending: str) -> int:
        return next(i for i, name in enumerate(asked) if name.endswith(ending))

    for row in range(3):
        mark = next(i for i, name in enumerate(asked) if f"row-000000{row}" in name)
        for name in ("classes", "confidence"):
            assert first(f"classes.zarr/{name}/c/{row}/0") < first(f"classes.zarr/{name}/c/{row}") < mark
    last_row = max(i for i, name in enumerate(asked) if "ledger" in name)
    assert last_row < first("1/classes/c/0/0") < first("item.json")
    assert taken_up.is_store_kept(OutputDirectory(tmp_path / "out"))
