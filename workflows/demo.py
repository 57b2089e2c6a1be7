"""The demos: small real data that ships with the program, through its bundled models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import segment_tiles.pipeline.sources as sources_package
from segment_tiles.pipeline.errors import UsageError
from segment_tiles.workflows.config import RunConfig

SAMPLES: Final = Path(sources_package.__file__).parent / "samples"
DEMO_SCENE: Final = SAMPLES / "yellowstone_crop.tif"
"""NEON airborne RGB at 0.1 m, Yellowstone; see NOTICE."""
DEMO_MODEL: Final = "canopy-rgb"
DEMO_VOLUME: Final = SAMPLES / "mni_icbm152_t1_slab.nii.gz"
"""64 axial slices of the MNI ICBM 152 T1 template, 1 mm; its notice lies beside it and in NOTICE."""
DEMO_VOLUME_MODEL: Final = "brain-tissue"
DEMOS: Final[Mapping[str, str]] = {
    "canopy": "segment-tiles-demo",
    "brain": "segment-tiles-demo-brain",
}
"""Name of a demo -> its output directory unless told."""


def demo_config(
    out: Path | None = None, device: str = "auto", *, name: str = "canopy", restart: bool = False
) -> RunConfig:
    """Return the run that ``segment-tiles demo`` makes.

    Raises
    ------
    UsageError
        If there is no demo of this name.
    """
    if name not in DEMOS:
        msg = f"there is no demo {name!r}; give one of {', '.join(DEMOS)}"
        raise UsageError(msg)
    is_canopy = name == "canopy"
    return RunConfig(
        source=str(DEMO_SCENE if is_canopy else DEMO_VOLUME),
        model=DEMO_MODEL if is_canopy else DEMO_VOLUME_MODEL,
        out=Path(DEMOS[name]) if out is None else out,
        device=device,
        formats=("zarr", "cog", "parquet", "gpkg") if is_canopy else (),
        restart=restart,
    )
