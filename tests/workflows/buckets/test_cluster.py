"""Scheduler and workers that see neither the folders of the client nor each other's: all that is shared is a bucket."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from servers.machines import WORKERS, Machines
from servers.processes import kill, started_by
from servers.s3_server import on_every_server

from segment_tiles.pipeline.places.address import place_at
from segment_tiles.workflows.results.formats import vectors


@pytest.mark.slow  # test_elsewhere.py has three such workers in every run of the suite
@on_every_server
@pytest.mark.parametrize("loses", ["a worker", "nothing"])
def test_source_model_and_result_in_buckets_are_all_that_is_shared(
    loses: str,
    machines: Machines,
    run_into: Callable[..., Any],
    same_as_in_folder: Callable[[str], None],
    bucket: Callable[[], str],
    scene: Path,
    small_model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address = bucket()
    place = place_at(address)
    place.put_file("scene.tif", scene)
    for name in ("model.json", "weights.safetensors"):
        place.put_file(f"small/{name}", small_model / name)
    monkeypatch.setattr(tempfile, "tempdir", str(machines.hidden))

    monkeypatch.setattr(vectors, "VECTOR_TILE", 64)
    monkeypatch.setattr(vectors, "TILES_OF_A_PROCESS", 1)
    traced: list[str] = []

    class Kills:
        warn = planned = staticmethod(lambda *_: None)
        killed = loses == "nothing"

        def stage(self, name: str) -> None:
            if name == "polygons":
                traced.extend(key for key in place.list("maps") if "/tiles-" in key)

        def tiles(self, computed: int, skipped: int) -> None:
            if not self.killed:
                self.killed = True
                kill(started_by(psutil.Process(machines.workers[0].pid)))

    out, changes = f"{address}/maps", {"source": f"{address}/scene.tif", "model": f"{address}/small"}
    asked = {"scheduler": machines.address, **changes}
    result = run_into(out, Kills(), **asked)
    assert not result.failures
    assert result.report["workers"] == WORKERS
    same_as_in_folder(out)
    # 18 x 2 vector tiles of 64 px, in strips of 8 rows
    assert [key.rpartition("/")[2] for key in traced] == [
        f"strip-{first:07d}-{stop:07d}.zip" for first, stop in ((0, 8), (8, 16), (16, 18))
    ]
    assert result.report["place"]["requests"] > 4
