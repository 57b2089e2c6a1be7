"""The demo: a crop of a NEON aerial scene that ships with the program, and the canopy model."""

from __future__ import annotations

from pathlib import Path

import segment_tiles.pipeline.sources as sources_package
from segment_tiles.workflows.config import DEFAULT_FORMATS, RunConfig

DEMO_SCENE = Path(sources_package.__file__).parent / "samples" / "yellowstone_crop.tif"
"""NEON airborne RGB at 0.1 m, Yellowstone; see NOTICE."""
DEMO_MODEL = "canopy-rgb"


def demo_config(out: Path, device: str = "auto", *, restart: bool = False) -> RunConfig:
    """Return the run that ``segment-tiles demo`` makes."""
    return RunConfig(
        source=str(DEMO_SCENE),
        model=DEMO_MODEL,
        out=out,
        device=device,
        formats=(*DEFAULT_FORMATS, "gpkg"),
        restart=restart,
    )
