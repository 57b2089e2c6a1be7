"""Scheduler, workers and client that are killed all at once: started anew, they go on from what the bucket holds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from servers.machines import Machines, can_hide_folders, started
from servers.processes import kill

from segment_tiles.pipeline.places.address import place_at

ROWS_ONE_AFTER_THE_OTHER = """
import time
from segment_tiles.pipeline.outputs.stores import sent_rows
if not hasattr(sent_rows, "at_once"):  # Dask runs this more than once
    sent_rows.at_once = sent_rows.SentLedger.mark
    def late(self, entry, *more):
        time.sleep(10 * int(entry.name.split("-")[1]))
        sent_rows.at_once(self, entry, *more)
    sent_rows.SentLedger.mark = late
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_all_killed_at_once_are_started_anew_and_go_on(
    tmp_path: Path,
    bucket: Callable[[], str],
    scene: Path,
    small_model: Path,
    same_as_in_folder: Callable[[str], None],
    wait_for_rows: Callable[..., None],
) -> None:
    if not can_hide_folders():
        pytest.skip("this user may not make mount namespaces")
    uploaded, hidden = bucket(), tmp_path / "client"
    place = place_at(uploaded)
    place.put_file("scene.tif", scene)
    for name in ("model.json", "weights.safetensors"):
        place.put_file(f"small/{name}", small_model / name)
    out = f"{uploaded}/maps"
    command = [
        sys.executable, "-c", "from segment_tiles.cli.start import main; main()",
        "run", f"{uploaded}/scene.tif", "--model", f"{uploaded}/small", "--out", out, "--format", "cog,geojson",
        "--precision", "fp32", "--device", "cpu", "--backend", "torch", "--batch", "4", "--scheduler",
    ]  # fmt: skip
    environment = {**os.environ, "TMPDIR": str(hidden)}

    def client(of: Machines) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*command, of.address], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    with started(hidden, ROWS_ONE_AFTER_THE_OTHER) as machines:
        first = client(machines)
        wait_for_rows(out, 1, first)
        kill_at_once([first.pid, *(process.pid for process in machines.all)])
        first.communicate()
    rows = [key for key in place_at(out).list() if "/rows/" in key]
    assert len(rows) == 1
    assert place_at(out).read("item.json") is None
    with started(hidden) as machines:
        again = client(machines)
        _, said = again.communicate(timeout=400)
        assert again.returncode == 0, said
    same_as_in_folder(out)
    report = place_at(out).read("report.json")
    assert report is not None
    tiles = json.loads(report.data)["tiles"]
    assert 0 < tiles["computed"] < tiles["planned"], "the row that was there is not computed again"


def kill_at_once(numbers: list[int]) -> None:
    """Kill processes and all that they have started, by SIGKILL, without waiting for any."""
    trees = [
        process
        for number in numbers
        for process in [psutil.Process(number), *psutil.Process(number).children(True)]
    ]
    kill(trees)
