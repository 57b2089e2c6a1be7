"""The commands that are disturbed: each with its inputs, and the folder in which its results appear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from fuzz.seeds import RUN_OPTIONS, copy_seeds

from faults.bucket import URL, bring, empty


@dataclass(frozen=True, slots=True)
class Scenario:
    """One command."""

    inputs: Sequence[str]
    """Names of seeds that are copied into the folder of an attempt."""
    arguments: Sequence[str]
    results: str
    """Folder of the results, relative to that of the attempt."""
    must_have: Sequence[str]
    """Files that have to be among those compared."""
    weight: int = 4
    """How often it is chosen, compared with the others."""
    resume: Sequence[str] = ()
    """Added when the same command is started again."""
    is_in_bucket: bool = False
    """Whether the results appear in a bucket; they are compared in the folder, when they have been brought there."""

    def results_in(self, folder: Path) -> Path:
        """Return where the results of an attempt lie now."""
        if self.is_in_bucket:
            bring(folder / self.results)
        return folder / self.results


RUN = (
    "run",
    "scene.tif",
    "--model",
    "colour",
    "--out",
    "out",
    "--format",
    "cog,parquet,geojson",
    *RUN_OPTIONS,
)
SCENARIOS: Mapping[str, Scenario] = {
    "run": Scenario(
        ("scene.tif", "colour"), RUN, "out", ("classes.zarr/zarr.json", "classes.tif", "polygons.parquet"), 8
    ),
    "run with scores": Scenario(("scene.tif", "colour"), (*RUN, "--scores"), "out", ("classes.tif",)),
    "run with workers": Scenario(
        ("scene.tif", "colour"), (*RUN, "--workers", "2"), "out", ("classes.tif", "polygons.parquet"), 1
    ),
    "run into a bucket": Scenario(
        ("scene.tif", "colour"), ("run", "scene.tif", "--model", "colour", "--out", URL, *RUN[6:]), "out",
        ("classes.zarr/zarr.json", "classes.tif", "polygons.parquet"), 8, is_in_bucket=True,
    ),
    "workers into a bucket": Scenario(
        ("scene.tif", "colour"), ("run", "scene.tif", "--model", "colour", "--out", URL, *RUN[6:], "--workers", "2"),
        "out", ("classes.tif", "polygons.parquet"), 1, is_in_bucket=True,
    ),
    "volume along three axes": Scenario(
        ("volume.nii", "grey"),
        ("run", "volume.nii", "--model", "grey", "--out", "out", "--axis", "all", *RUN_OPTIONS),
        "out",
        ("classes.nii.gz",),
        6,
    ),
    "slide": Scenario(
        ("image.zarr", "colour"),
        ("run", "image.zarr", "--model", "colour", "--out", "out", "--format", "cog,ome-zarr,qupath", *RUN_OPTIONS),
        "out",
        ("classes.tif",),
    ),
    "polygonize": Scenario(
        ("codes.tif",),
        ("polygonize", "codes.tif", "--out", "out/p.parquet", "--sieve", "4px", "--simplify", "1px",
         "--vector-tile", "32", "--quiet"),
        "out",
        ("p.parquet",),
        6,
    ),
    "batch": Scenario(
        ("scene.tif", "colour"), ("batch", "jobs.yaml", "--quiet"), "maps", ("a/classes.tif", "b/classes.tif")
    ),
    "train": Scenario(
        ("scene.tif", "codes.tif", "training.yaml"),
        ("train", "training.yaml", "--out", "out", "--device", "cpu", "--quiet"),
        "out",
        ("model/weights.safetensors",),
        2,
        ("--resume",),
    ),
}  # fmt: skip


def put_inputs(scenario: Scenario, seeds: Path, folder: Path) -> None:
    """Put the inputs of a command into its folder, or put them there again."""
    copy_seeds(seeds, folder, *scenario.inputs)
    if scenario.results == "maps":
        for name in ("a.tif", "b.tif"):
            (folder / name).write_bytes((seeds / "scene.tif").read_bytes())


def prepare(scenario: Scenario, seeds: Path, folder: Path) -> None:
    """Lay out the inputs of an attempt."""
    folder.mkdir(parents=True)
    put_inputs(scenario, seeds, folder)
    (folder / "out").mkdir()
    if scenario.is_in_bucket:
        empty()
    if scenario.results == "maps":
        options = {"model": "colour", "precision": "fp32", "backend": "torch", "batch": 2, "device": "cpu"}
        jobs = {
            "results": "maps",
            "defaults": {**options, "format": ["cog"]},
            "jobs": [{"source": ["a.tif", "b.tif"]}],
        }
        (folder / "jobs.yaml").write_text(yaml.safe_dump(jobs))
