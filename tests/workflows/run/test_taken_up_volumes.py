"""Volumes that are taken up: averages only of directions that are whole, copies of voxels only as they were written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.executors import InProcess
from segment_tiles.workflows.regions.region_task import RegionReport, RegionTask
from segment_tiles.workflows.regions.region_work import do_region
from segment_tiles.workflows.run.segment import segment

OWN = ".segment-tiles"


class WithoutOneSlab(InProcess):
    """Does everything but the first Slab along the second axis, which it lists as failed."""

    def run(self, tasks: Sequence[RegionTask], progress: Any, interruption: Any) -> list[RegionReport]:
        reports = []
        for task in tasks:
            if task.store.name == "coronal.zarr" and task.planes[0] == 0:
                failure = {"window": asdict(task.region), "reason": "the worker was lost"}
                reports.append(RegionReport(failures=[failure]))
            else:
                reports.append(do_region(task, progress))
        return reports


@pytest.fixture(autouse=True)
def sketch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A preview that takes no time."""

    def drawn(path: Path, *_: object) -> None:
        path.write_bytes(b"picture")

    monkeypatch.setattr("segment_tiles.workflows.scenes.volumes.picture.write_volume_preview", drawn)


@pytest.fixture(scope="module")
def scan_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scan") / "scan.nii"
    voxels = np.random.default_rng(0).integers(0, 255, (2, 2, 3)).repeat(8, 0).repeat(8, 1).repeat(2, 2)
    nibabel.save(nibabel.Nifti1Image(voxels.astype(np.int16), np.eye(4)), path)
    return path


@pytest.fixture(scope="module")
def asked(scan_file: Path, grey_model: Path) -> Callable[..., RunConfig]:
    def config(out: Path) -> RunConfig:
        return RunConfig(
            str(scan_file),
            str(grey_model),
            out,
            precision="fp32",
            device="cpu",
            formats=("zarr",),
            axis="all",
        )

    return config


@pytest.fixture(scope="module")
def whole(asked: Any, quiet: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole") / "out"
    segment(asked(out), quiet)
    return files_of(out / "classes.zarr")


def files_of(store: Path) -> dict[str, bytes]:
    return {str(p.relative_to(store)): p.read_bytes() for p in store.rglob("*") if p.is_file()}


def test_a_slab_that_failed_is_no_hole_for_ever(
    asked: Any, quiet: Any, whole: dict[str, bytes], tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """And the copy of the voxels that the first start left is made again where it is damaged."""
    first = segment(asked(tmp_path / "out"), quiet, WithoutOneSlab())
    assert first.report["status"] == "incomplete"
    assert not (tmp_path / "out" / "classes.zarr").exists()
    assert not list((tmp_path / "out" / OWN / "ledger").glob("row-*")), "nothing was averaged"
    copy = tmp_path / "out" / OWN / "voxels.zarr"
    damage(next(path for path in sorted((copy / "c").rglob("*")) if path.is_file()))
    second = segment(asked(tmp_path / "out"), quiet)
    assert second.report["status"] == "complete"
    assert 0 < second.report["tiles"]["computed"] < second.report["tiles"]["planned"]
    assert files_of(tmp_path / "out" / "classes.zarr") == whole
    left = {path.name for path in (tmp_path / "out" / OWN).iterdir()}
    assert left == {"computed.json", "ledger", "lock", "run.json", "store.json"}
