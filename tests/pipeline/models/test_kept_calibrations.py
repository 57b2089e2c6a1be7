"""What is said of a kept calibrated network is what its file holds now."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from segment_tiles.pipeline.models.calibration.calibrated import pack
from segment_tiles.pipeline.models.calibration.kept import NOT_CALIBRATED, kept_calibrations, path_of
from segment_tiles.pipeline.models.package import load_manifest

SIDE = 64


def test_a_file_is_read_once_for_each_state_of_it(
    small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    manifest, read = load_manifest(small_model), []
    path, original = path_of(manifest, SIDE), zipfile.ZipFile.testzip

    def counting(packed: zipfile.ZipFile) -> str | None:
        read.append(packed)
        return original(packed)

    monkeypatch.setattr(zipfile.ZipFile, "testzip", counting)
    assert kept_calibrations([manifest], SIDE) is NOT_CALIBRATED
    for tiles in (9, 7):
        made = pack({"graph": bytes(100)}, {"made": "2026-11-30", "tiles": tiles})
        made.write(path)
        for _ in range(3):
            found = kept_calibrations([manifest], SIDE)
            assert (found.checksums, found.made, found.tiles) == ((made.checksum,), "2026-11-30", tiles)
    assert len(read) == 2
    path.write_bytes(path.read_bytes()[:-1])
    assert kept_calibrations([manifest], SIDE) is NOT_CALIBRATED
    path.unlink()
    assert kept_calibrations([manifest], SIDE) is NOT_CALIBRATED
