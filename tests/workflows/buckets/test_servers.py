"""Whole commands with source, model and result on each server, named by the environment alone."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from servers.s3_server import on_every_server

from segment_tiles.pipeline.places.address import place_at


@pytest.mark.slow
@on_every_server
def test_a_command_that_is_killed_and_started_again_makes_the_same_bytes(
    bucket: Callable[[], str],
    scene: Path,
    small_model: Path,
    same_as_in_folder: Callable[[str], None],
) -> None:
    address = bucket()
    place = place_at(address)
    place.put_file("scene.tif", scene)
    for name in ("model.json", "weights.safetensors"):
        place.put_file(f"small/{name}", small_model / name)
    command = [
        *(sys.executable, "-c", "from segment_tiles.cli.start import main; main()"),
        *(
            "run",
            f"{address}/scene.tif",
            "--model",
            f"{address}/small",
            "--out",
            f"{address}/maps",
            "--quiet",
        ),
        *("--precision", "fp32", "--device", "cpu", "--backend", "torch", "--batch", "4"),
        *("--format", "cog,geojson"),
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as first:
        while first.poll() is None and not [key for key in place.list("maps") if "/rows/" in key]:
            time.sleep(0.01)
        first.kill()
        assert first.wait() == -9, first.stderr and first.stderr.read()
    assert "item.json" not in place_at(f"{address}/maps").list()
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    same_as_in_folder(f"{address}/maps")
