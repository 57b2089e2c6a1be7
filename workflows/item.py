"""The STAC item of a run: what a catalogue needs to know of the result."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from segment_tiles.pipeline.models.package import MANIFEST_FILE
from segment_tiles.pipeline.outputs.stac_item import Provenance, write_item
from segment_tiles.workflows.output_directory import OutputDirectory
from segment_tiles.workflows.plan import Plan


def write_run_item(directory: OutputDirectory, plan: Plan, report: Mapping[str, Any]) -> None:
    """Write ``item.json`` from a finished report; its assets are the report's outputs."""
    files = [directory.path / name for name in report["outputs"] if name != "item.json"]
    scene = plan.scene
    provenance = Provenance(
        source=scene.uri if "://" in scene.uri else str(Path(scene.uri).absolute()),
        model=str((scene.model_folder / MANIFEST_FILE).absolute()),
        model_name=scene.manifest.name,
        created=datetime.now(UTC),
        software={"segment-tiles": report["version"], **report["versions"]},
    )
    write_item(
        directory.path / "item.json",
        files,
        georef=scene.georef,
        shape=scene.roi.shape,
        table=scene.manifest.classes,
        pixel_counts=[entry["pixels"] for entry in report["classes"]],
        provenance=provenance,
    )
