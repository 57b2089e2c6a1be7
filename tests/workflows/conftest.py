"""What tests of volumes and of DICOM series share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from segment_tiles.cli.main import run_command_line
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.run.segment import segment


@pytest.fixture
def run_on(quiet: Any) -> Callable[..., dict[str, Any]]:
    """Segments a source with a model into a folder, and returns the report."""

    def run(source: Path | str, model: Path, out: Path, **changes: Any) -> dict[str, Any]:
        settings: dict[str, Any] = {"precision": "fp32", "device": "cpu", **changes}
        return dict(segment(RunConfig(str(source), str(model), out, **settings), quiet).report)

    return run


@pytest.fixture(scope="session")
def scan() -> Callable[..., NDArray[np.int16]]:
    """Draws voxels i x j x k: blocks of one grey, with noise."""

    def drawn(shape: tuple[int, int, int] = (40, 36, 6)) -> NDArray[np.int16]:
        rng = np.random.default_rng(0)
        coarse = rng.integers(0, 255, [-(-side // 6) for side in shape])
        smooth = coarse.repeat(6, 0).repeat(6, 1).repeat(6, 2)[: shape[0], : shape[1], : shape[2]]
        return (smooth + rng.integers(0, 15, shape)).astype(np.int16)

    return drawn


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """Asserts that a command ends with status 2 and one line of error, which has all of these words."""

    def check(arguments: list[str], *words: str) -> None:
        assert run_command_line(arguments) == 2
        printed = capsys.readouterr().err.splitlines()
        lines = [line for line in printed if line and not line.startswith("segment-tiles: warning: ")]
        assert len(lines) == 1, printed
        assert lines[0].startswith("segment-tiles: error: ")
        for word in words:
            assert word in lines[0]

    return check
