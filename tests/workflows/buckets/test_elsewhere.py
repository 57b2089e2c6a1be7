"""Runs whose workers need more than source, model and bucket: masks, calibrated networks, copies of voxels."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import geopandas
import nibabel
import numpy as np
import pytest
from servers.machines import WORKERS, Machines
from shapely import Polygon

from segment_tiles.pipeline.models.backends import int8
from segment_tiles.pipeline.models.calibration.calibrated import Calibrated
from segment_tiles.pipeline.models.calibration.kept import path_of
from segment_tiles.pipeline.models.package import load_manifest
from segment_tiles.pipeline.outputs.stores.sent_folder import SentFile, SentFolder
from segment_tiles.pipeline.places.address import place_at
from segment_tiles.workflows.buckets.segment import segment
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.executors import Capacity, InProcess
from segment_tiles.workflows.executors.interruption import Interruption
from segment_tiles.workflows.regions.loaded_model import forget_segmenters
from segment_tiles.workflows.regions.region_task import Progress, RegionReport, RegionTask

AREA = Polygon([(4e5, 5.6e6), (400_110, 5.6e6), (400_110, 5_598_900), (4e5, 5_598_950)])
COMMON: dict[str, Any] = {"precision": "fp32", "device": "cpu", "backend": "torch", "batch": 4}


@dataclass
class Elsewhere:
    """A bucket with a model, and workers that see it and no folder of the client."""

    address: str
    machines: Machines

    def put(self, name: str, *files: Path) -> str:
        """Put files into the bucket; return their URL, or that of a file alone."""
        place = place_at(self.address)
        for file in files:
            place.put_file(f"{name}/{file.name}", file)
        return f"{self.address}/{name}" + (f"/{files[0].name}" if len(files) == 1 else "")

    def model(self, folder: Path, name: str = "model") -> str:
        """Put a model package there."""
        return self.put(name, folder / "model.json", folder / "weights.safetensors")

    def keys(self, of: str = "") -> list[str]:
        """Return what is there of the result."""
        return [key for key in place_at(f"{self.address}/maps").list() if of in key]


@pytest.fixture
def elsewhere(
    machines: Machines, bucket: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Elsewhere]:
    """What the client has under ``TMPDIR`` is hidden from all workers."""
    monkeypatch.setattr(tempfile, "tempdir", str(machines.hidden))
    yield Elsewhere(bucket(), machines)
    assert not list(machines.hidden.iterdir()), "nothing of the client is left"


class Stops:
    """Stops a run once so many rows of its own are in the bucket, and keeps what lay there then."""

    warn = planned = staticmethod(lambda *_: None)

    def __init__(self, elsewhere: Elsewhere, rows: int) -> None:
        self._elsewhere, self._rows, self.seen = elsewhere, rows, [""]
        self.stages: list[str] = []

    def stage(self, name: str) -> None:
        self.stages.append(name)

    def tiles(self, computed: int, skipped: int) -> None:
        if len(self._elsewhere.keys("/rows/")) >= self._rows:
            self.seen = self._elsewhere.keys(".segment-tiles/files/")
            raise KeyboardInterrupt


def stopped_and_continued(elsewhere: Elsewhere, listener: Any, rows: int, **asked: Any) -> Any:
    """Do a run in two starts, of which nothing but the bucket tells the second one what the first one did."""
    config = RunConfig(**{"out": Path(f"{elsewhere.address}/maps"), **asked})
    first = Stops(elsewhere, rows)
    with pytest.raises(KeyboardInterrupt):
        segment(config, first)
    assert any(key.endswith("/index.json") for key in first.seen)
    result = segment(config, listener)
    assert not result.failures
    assert not [key for key in elsewhere.keys(".segment-tiles/") if "/rows/" in key or "/files/" in key]
    assert result.report["workers"] == WORKERS
    return first, result


@pytest.mark.slow
def test_a_mask_of_another_model_and_an_area_that_only_the_client_sees(
    elsewhere: Elsewhere,
    scene: Path,
    small_model: Path,
    quiet: Any,
    same_as: Callable[[str, Path], None],
    tmp_path: Path,
) -> None:
    aoi = elsewhere.machines.hidden / "area.gpkg"
    geopandas.GeoDataFrame(geometry=[AREA], crs=32631).to_file(aoi)
    asked = {
        **COMMON,
        "formats": ("cog", "geojson"),
        "source": str(scene),
        "model": str(small_model),
        "aoi": aoi,
    }
    folder = tmp_path / "in-folder"
    segment(RunConfig(out=folder, mask_model=f"{small_model}:water", **asked), quiet)
    model = elsewhere.model(small_model)
    asked |= {"source": elsewhere.put("scene", scene), "model": model, "mask_model": f"{model}:water"}
    # three rows of shards of the mask, and one of the map
    first, result = stopped_and_continued(elsewhere, quiet, 4, scheduler=elsewhere.machines.address, **asked)
    assert not [key for key in first.seen if "confidence" in key], "what workers read, and no more"
    same_as(f"{elsewhere.address}/maps", folder)
    assert result.report["mask_model"]["pixels_left_out"] > 0
    assert result.report["tiles"]["computed"] < result.report["tiles"]["planned"]
    aoi.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("axis", ["axial", "all"])
def test_a_volume_that_only_the_client_sees(
    axis: str,
    elsewhere: Elsewhere,
    grey_model: Path,
    quiet: Any,
    same_as: Callable[[str, Path], None],
    scan: Callable[..., Any],
    tmp_path: Path,
) -> None:
    scan_file = elsewhere.machines.hidden / "scan.nii.gz"
    nibabel.save(nibabel.Nifti1Image(scan((40, 36, 12)), np.eye(4)), scan_file)
    asked = {**COMMON, "axis": axis, "source": str(scan_file), "scores": True}
    folder = tmp_path / "in-folder"
    segment(RunConfig(out=folder, model=str(grey_model), **asked), quiet)
    asked |= {"model": elsewhere.model(grey_model), "scheduler": elsewhere.machines.address}
    stopped_and_continued(elsewhere, quiet, 5, **asked)
    same_as(f"{elsewhere.address}/maps", folder)
    scan_file.unlink()


@pytest.mark.slow
@pytest.mark.skipif(find_spec("nncf") is None or find_spec("openvino") is None, reason="needs the extra int8")
@pytest.mark.parametrize("with_workers", [True, False])
def test_a_calibrated_network(
    with_workers: bool,
    elsewhere: Elsewhere,
    scene: Path,
    small_model: Path,
    quiet: Any,
    same_as: Callable[[str, Path], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(int8, "LEFT_AT_MOST", 2)  # drawn weights never agree: all steps would be tried
    asked = {**COMMON, "precision": "int8", "backend": "openvino", "formats": ("cog",)}
    config = RunConfig(
        elsewhere.put("scene", scene),
        elsewhere.model(small_model),
        Path(f"{elsewhere.address}/maps"),
        scheduler=elsewhere.machines.address if with_workers else None,
        **asked,
    )
    forget_segmenters()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache-of-one-machine"))
    with pytest.raises(KeyboardInterrupt):
        segment(config, Stops(elsewhere, 1))
    (key,) = [key for key in elsewhere.keys("/files/") if key.endswith(".zip")]
    network = place_at(f"{elsewhere.address}/maps").read(key)
    assert network is not None
    forget_segmenters()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache-of-another"))
    result = segment(config, quiet)
    assert not result.failures
    assert f"/int8/files/int8/{result.report['choices']['calibrations'][0]}.zip" in key
    assert not elsewhere.keys("/files/")

    forget_segmenters()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache-of-a-folder"))
    Calibrated(network.data).write(path_of(load_manifest(small_model), 64))
    folder = tmp_path / "in-folder"
    segment(RunConfig(str(scene), str(small_model), folder, **asked), quiet)
    same_as(f"{elsewhere.address}/maps", folder)
    forget_segmenters()


class SeesNothing(InProcess):
    """Does Regions in this process as a worker elsewhere does them, and keeps what they were told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[RegionTask] = []

    def start(self) -> Capacity:
        return Capacity(is_elsewhere=True)

    def run(
        self, tasks: Sequence[RegionTask], progress: Progress | None, interruption: Interruption
    ) -> list[RegionReport]:
        self.told += tasks
        return super().run(pickle.loads(pickle.dumps(tasks)), progress, interruption)


@pytest.mark.slow
def test_a_worker_reads_a_mask_and_an_area_from_the_bucket(
    run_into: Callable[..., Any],
    same_as: Callable[[str, Path], None],
    small_model: Path,
    tmp_path: Path,
    bucket: Callable[[], str],
) -> None:
    aoi = tmp_path / "area.gpkg"
    geopandas.GeoDataFrame(geometry=[AREA], crs=32631).to_file(aoi)
    address, folder, executor = f"{bucket()}/maps", tmp_path / "in-folder", SeesNothing()
    asked = {"mask_model": f"{small_model}:water", "aoi": aoi, "formats": ("zarr",)}
    run_into(str(folder), **asked)
    result = run_into(address, executor=executor, **asked)
    same_as(address, folder)
    told = executor.told[-1]
    assert isinstance(told.aoi, SentFile)
    assert told.mask is not None
    assert isinstance(told.mask.store, SentFolder)
    assert result.report["mask_model"]["pixels_left_out"] > 0


def test_a_worker_reads_voxels_from_the_bucket(
    run_into: Callable[..., Any],
    same_as: Callable[[str, Path], None],
    grey_model: Path,
    scan: Callable[..., Any],
    tmp_path: Path,
    bucket: Callable[[], str],
) -> None:
    nibabel.save(nibabel.Nifti1Image(scan((12, 10, 6)), np.eye(4)), tmp_path / "scan.nii")
    address, folder, executor = f"{bucket()}/maps", tmp_path / "in-folder", SeesNothing()
    asked = {
        "source": str(tmp_path / "scan.nii"), "model": str(grey_model), "axis": "all", "formats": ("zarr",),
        "preview": False,
    }  # fmt: skip
    run_into(str(folder), **asked)
    run_into(address, executor=executor, **asked)
    same_as(address, folder)
    assert {type(task.cut.opener.voxels) for task in executor.told} == {SentFolder}  # type: ignore[attr-defined]
