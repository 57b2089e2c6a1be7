"""The run of a mask beside the run that it limits: taken up, kept, told, counted, and refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
import yaml

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.errors import ChangedRunError, UsageError
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.models.inference_network import load_rewritten
from segment_tiles.pipeline.models.package import load_manifest, load_network, save_model_package
from segment_tiles.pipeline.models.packages.geometry import OutputGeometry
from segment_tiles.pipeline.outputs.stores.store import open_store
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.executors import InProcess
from segment_tiles.workflows.executors.interruption import Interruption
from segment_tiles.workflows.options.pixels import parse_mask
from segment_tiles.workflows.output_folder.directory import OutputDirectory
from segment_tiles.workflows.regions import loaded_model
from segment_tiles.workflows.regions.region_task import Progress, RegionReport, RegionTask
from segment_tiles.workflows.run.request import plan_run
from segment_tiles.workflows.run.segment import segment
from segment_tiles.workflows.scenes.mask_area import MaskArea, MaskedClasses, mask_bytes

Call = Callable[..., Any]
SETTINGS: dict[str, Any] = {"precision": "fp32", "device": "cpu", "formats": ("zarr",), "preview": False}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Blocks of a colour: the small model gives all classes."""
    path = tmp_path_factory.mktemp("scene") / "scene.tif"
    coarse = np.random.default_rng(0).integers(0, 255, (3, 8, 10), dtype=np.uint8)
    with rasterio.open(
        path, "w", driver="GTiff", count=3, height=120, width=150, dtype="uint8", crs="EPSG:32633",
        transform=rasterio.Affine(1, 0, 500000, 0, -1, 5600000),
    ) as dataset:  # fmt: skip
        dataset.write(coarse.repeat(16, 1).repeat(16, 2)[:, :120, :150])
    return path


@pytest.fixture(scope="module")
def mask(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a copy of the model calls water is left out."""
    return f"{shutil.copytree(small_model, tmp_path_factory.mktemp('mask') / 'mask')}:water"


@pytest.fixture
def config(scene: Path, small_model: Path, mask: str, tmp_path: Path) -> Call:
    """The run as a configuration."""

    def made(**changes: Any) -> RunConfig:
        settings = {"mask_model": mask, "out": tmp_path / "out", **SETTINGS, **changes}
        return RunConfig(source=str(scene), model=str(small_model), **settings)

    return made


@pytest.fixture(scope="module")
def whole(
    scene: Path, small_model: Path, mask: str, quiet: Any, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Its output directory, never interrupted."""
    out = tmp_path_factory.mktemp("whole") / "out"
    segment(RunConfig(str(scene), str(small_model), out, mask_model=mask, **SETTINGS), quiet)
    return out


def bytes_of(store: Path) -> dict[Path, bytes]:
    return {path.relative_to(store): path.read_bytes() for path in store.rglob("*") if path.is_file()}


class Ends(InProcess):
    """Fails at a Region, by its number, and notes into which store each would go."""

    def __init__(self, at: int | None = None) -> None:
        super().__init__()
        self.stores: list[str] = []
        self._at = at

    def run(
        self, tasks: Sequence[RegionTask], progress: Progress | None, interruption: Interruption
    ) -> list[RegionReport]:
        self.stores += [task.store.parent.parent.name for task in tasks]
        if len(self.stores) == self._at:
            raise KeyboardInterrupt
        return super().run(tasks, progress, interruption)


def test_both_are_taken_up_and_a_mask_that_is_damaged_or_gone_is_computed_again(
    config: Call, quiet: Any, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"

    def stores_of(at: int | None) -> list[str]:
        executor = Ends(at)
        with nullcontext() if at is None else pytest.raises(KeyboardInterrupt):
            segment(config(), quiet, executor)
        return executor.stores

    assert stores_of(1) == ["mask"]
    assert stores_of(2) == ["mask", "out"]
    assert stores_of(1) == ["out"], "the mask is not computed again"
    shard = next(path for path in (out / "mask/classes.zarr/classes/c").rglob("*") if path.is_file())
    content = bytearray(shard.read_bytes())
    content[40] ^= 1
    shard.write_bytes(content)
    assert stores_of(2) == ["mask", "out"]
    shutil.rmtree(out / "mask")
    assert stores_of(None) == ["mask", "out"]
    assert stores_of(None) == [], "it was finished before"
    for store in ("classes.zarr", "mask/classes.zarr"):
        assert bytes_of(out / store) == bytes_of(whole / store)


def test_other_classes_are_another_run(
    config: Call, quiet: Any, mask: str, whole: Path, tmp_path: Path
) -> None:
    shutil.copytree(whole, tmp_path / "out")
    with pytest.raises(ChangedRunError, match=r"mask leaves out was \['water'\], is now \['tree'\]"):
        segment(config(mask_model=mask.replace("water", "tree")), quiet)
    with pytest.raises(ChangedRunError, match=r"mask leaves out was \['water'\], is now None"):
        segment(config(mask_model=None), quiet)
    made = segment(config(mask_model=None, restart=True), quiet).report
    assert not [name for name in made["settings"] if name.startswith("mask")]
    assert "mask_model" not in made
    assert not (tmp_path / "out" / "mask").exists(), "what an earlier run left is thrown away"


def test_report_item_and_plan_tell_of_it(config: Call, whole: Path) -> None:
    report = json.loads((whole / "report.json").read_text())
    codes = open_store(whole / "mask/classes.zarr")["classes"][:]
    assert report["mask_model"]["pixels_left_out"] == (codes == 2).sum() > 1000
    assert (report["mask_model"]["model"]["name"], report["mask_model"]["folder"]) == ("small", "mask")
    assert report["classes"][2]["pixels"] == 0
    item = pystac.Item.from_file(str(whole / "item.json"))
    assert item.properties["processing:lineage"].endswith(
        "with the model small, with water left out by the model small"
    )
    plan, alone = plan_run(config()), plan_run(config(mask_model=None))
    assert (plan.tiles, plan.all_tiles) == (alone.tiles, 2 * alone.tiles)
    assert plan.disk_bytes == 2 * alone.disk_bytes
    assert plan.expected_seconds == pytest.approx(2 * alone.expected_seconds)
    assert plan.memory.computing > alone.memory.computing
    # while either is computed the other is loaded too
    assert plan.mask is not None
    assert plan.memory.program == plan.mask.memory.program > alone.memory.program


def test_a_jobs_file_names_it_in_parts(
    scene: Path, small_model: Path, mask: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And each of both networks is loaded once for all scenes."""
    loaded = []
    monkeypatch.setattr(
        loaded_model, "load_rewritten", lambda *a, **k: (loaded.append(a[0]), load_rewritten(*a, **k))[1]
    )
    shutil.copytree(mask.partition(":")[0], tmp_path / "mask")  # relative to the jobs file
    settings = {
        "model": str(small_model),
        "precision": "fp32",
        "device": "cpu",
        "format": ["zarr"],
        "preview": False,
    }
    of_mask = {"model": "mask", "classes": ["water"]}
    jobs = {
        "jobs": [{"source": str(scene), "out": out, "mask": of_mask, **settings} for out in ("out", "again")]
    }
    (tmp_path / "jobs.yaml").write_text(yaml.safe_dump(jobs))
    assert run_command_line(["batch", str(tmp_path / "jobs.yaml"), "--quiet"]) == 0
    for out in ("out", "again"):
        assert bytes_of(tmp_path / out / "classes.zarr") == bytes_of(whole / "classes.zarr")
    assert sorted(folder.name for folder in loaded) == ["mask", small_model.name]


class Counted:
    """Codes that count how often something of them is read."""

    def __init__(self, codes: Any) -> None:
        self.codes, self.reads = codes, 0

    def __getitem__(self, at: Any) -> Any:
        self.reads += 1
        return self.codes[at]


def test_what_a_high_tile_meets_is_decoded_once_and_counted() -> None:
    """A tile of 12 rows of shards; those beyond what is kept are not read again to tell whether anything stays."""
    codes = np.random.default_rng(1).integers(0, 2, (20 * 512, 32), dtype=np.uint8)
    stored = Counted(codes)
    area = MaskArea(MaskedClasses(Path("unused"), (1,), keeps=True, roi=Window(0, 0, *codes.shape)), stored)  # type: ignore[arg-type]
    tile = Window(100, 0, 11 * 512, 32)
    for _ in range(2):
        assert area.meets(tile)
        np.testing.assert_array_equal(area.mask(tile), codes[100 : 100 + tile.height] == 1)
    assert stored.reads == 12
    for _ in range(2):
        assert all(area.meets(Window(row, 0, 1, 32)) for row in range(0, len(codes), 512))
    assert stored.reads == 20
    assert (
        mask_bytes(32, (tile.height, 32), 1) - mask_bytes(32, (512, 32), 1) == (13 + 1 - 8) * 512 * 512 // 8
    )
    assert mask_bytes(20000, (512, 4096), 1) - mask_bytes(4096, (512, 4096), 1) == 2 * 8 * 512 * 4096 // 8


@pytest.mark.parametrize(
    ("classes", "nodata", "said"),
    [
        ("other,tree,water", None, "every pixel is other or tree or water"),
        ("keep=water", 0, "no pixel is water"),
    ],
)
def test_if_all_is_left_out_nothing_is_computed(
    config: Call, quiet: Any, mask: str, classes: str, nodata: int | None, said: str, tmp_path: Path
) -> None:
    """Also if the mask has no pixel with a class that could be kept."""
    asked = {"mask_model": mask.replace("water", classes)}
    if nodata is not None:
        with rasterio.open(tmp_path / "empty.tif", "w", driver="GTiff", height=20, width=20, count=3, dtype="uint8",
                           nodata=nodata, crs="EPSG:32633", transform=rasterio.Affine(1, 0, 5, 0, -1, 5)):  # fmt: skip
            pass
    made = config(**asked)
    made = made if nodata is None else replace(made, source=str(tmp_path / "empty.tif"))
    report = segment(made, quiet).report
    assert report["tiles"]["computed"] == 0
    assert report["nodata"]["pixels"] == (120 * 150 if nodata is None else 20 * 20)
    assert [text for text in report["warnings"] if f"{said}, so nothing is" in text]


def test_classes_that_overlap_are_left_out_by_the_mask_of_each(
    config: Call, quiet: Any, small_model: Path, tmp_path: Path
) -> None:
    manifest = load_manifest(small_model)
    weights = load_network(small_model, manifest).state_dict()
    several = replace(manifest, name="several", output=OutputGeometry(multi_label=True))
    save_model_package(tmp_path / "several", several, weights)
    made = segment(config(mask_model=f"{tmp_path / 'several'}:tree,water", backend="torch"), quiet).report
    masks = open_store(tmp_path / "out/mask/classes.zarr")["masks"][:]
    left_out = (masks[1] == 1) | (masks[2] == 1)
    assert (masks[1:].sum(0) == 2).any()
    np.testing.assert_array_equal(open_store(tmp_path / "out/classes.zarr")["classes"][:] == 255, left_out)
    assert made["mask_model"]["pixels_left_out"] == left_out.sum() < left_out.size
    kept = json.loads(OutputDirectory(tmp_path / "out").mask_fingerprint.read_text())["pixels"]
    assert kept == [left_out.sum(), (~left_out).sum()], "a start that goes on counts nothing again"


@pytest.mark.parametrize(
    "text", ["clouds", "clouds:", ":cloud", "clouds:cloud,", "clouds:cloud,cloud", "clouds:keep="]
)
def test_a_mask_has_a_model_and_classes(text: str) -> None:
    with pytest.raises(UsageError, match=r"--mask-model is .*such as clouds:cloud,shadow"):
        parse_mask(text)


def test_names_of_classes_may_have_commas_and_colons() -> None:
    text = 'C:\\models\\sky:keep="cloud, thin",cloud: thick'
    assert parse_mask('m:"a, b",c:d') == 'm:"a, b",c:d'
    assert parse_mask(text)
