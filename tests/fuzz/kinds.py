"""What is damaged, how, and which commands then read it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

import yaml

from fuzz.mutate_bytes import mutate_file
from fuzz.mutate_formats import mutate_dicom, mutate_nifti, mutate_safetensors, mutate_text, mutate_tiff
from fuzz.mutate_trees import mutate_json, mutate_yaml
from fuzz.seeds import RUN_OPTIONS, copy_seeds

Mutator = Callable[[Path, Random], str]
Case = tuple[str, list[list[str]]]
"""What was done, and the commands to start one after the other."""
MakeCase = Callable[[Path, Path, Random | None], Case]
"""Lays a case out in a folder; without a random generator, the undamaged one, whose commands must all succeed."""


def _run(source: str, model: str, *options: str) -> list[str]:
    return [
        "run",
        source,
        "--model",
        model,
        "--out",
        "out",
        "--format",
        "cog,parquet",
        *RUN_OPTIONS,
        *options,
    ]


def _volume_run(source: str) -> list[str]:
    return ["run", source, "--model", "grey", "--out", "out", *RUN_OPTIONS]


def _damaged(
    names: tuple[str, ...], damaged: str, mutators: tuple[Mutator, ...], *commands: list[str]
) -> MakeCase:
    """Return a maker of cases that copies inputs, damages one file, and starts these commands."""

    def make(seeds: Path, folder: Path, rng: Random | None) -> Case:
        copy_seeds(seeds, folder, *names)
        if rng is None:
            return "undamaged", list(commands)
        target = folder / damaged
        files = sorted(path for path in target.rglob("*") if path.is_file()) if target.is_dir() else [target]
        done = [rng.choice(mutators)(rng.choice(files), rng) for _ in range(rng.choice((1, 1, 2)))]
        return "; ".join(done), list(commands)

    return make


def _damaged_zarr(seeds: Path, folder: Path, rng: Random | None) -> Case:
    copy_seeds(seeds, folder, "image.zarr", "colour")
    commands = [["info", "image.zarr", "--json"], _run("image.zarr", "colour")]
    if rng is None:
        return "undamaged", commands
    files = sorted(path for path in (folder / "image.zarr").rglob("*") if path.is_file())
    documents = [path for path in files if path.name.startswith(".z")]
    mutator, chosen = rng.choice(((mutate_json, documents), (mutate_json, documents), (mutate_file, files)))
    done = mutator(rng.choice(chosen), rng)
    return done, commands


def _damaged_result(name: str, *templates: list[str]) -> MakeCase:
    """Return a maker of cases about finished results: any file emptied, gone or damaged."""

    def make(seeds: Path, folder: Path, rng: Random | None) -> Case:
        copy_seeds(seeds, folder, name, "codes.tif", "volume.nii")
        # a run belongs to its source: these are the very files that it was made of
        commands = [[part.replace("SEEDS", str(seeds)) for part in template] for template in templates]
        if rng is None:
            return "undamaged", commands
        files = sorted(path for path in (folder / name).rglob("*") if path.is_file())
        target = rng.choice(files)
        if rng.random() < 0.2:
            target.unlink()
            done = f"{target.relative_to(folder)} removed"
        elif target.suffix == ".json" and rng.random() < 0.7:
            done = mutate_json(target, rng)
        else:
            done = f"{target.parent.relative_to(folder)}/{mutate_file(target, rng)}"
        return done, [rng.choice(commands)]

    return make


def _described_result(seeds: Path, folder: Path, rng: Random | None) -> Case:
    """Damage what a finished result says of itself, and export from it."""
    copy_seeds(seeds, folder, "result")
    commands = [["export", "result", "--format", "geojson"]]
    if rng is None:
        return "undamaged", commands
    target = folder / "result" / rng.choice(("item.json", "report.json"))
    return rng.choice((mutate_json, mutate_json, mutate_json, mutate_file))(target, rng), commands


def _class_vrt(seeds: Path, folder: Path, rng: Random | None) -> Case:
    """Damage a virtual class raster that is traced, scored and trained with."""
    copy_seeds(seeds, folder, "codes.tif", "codes.vrt", "scene.tif", "area.geojson", "training.yaml")
    training = folder / "training.yaml"
    training.write_text(training.read_text().replace("codes.tif", "codes.vrt"))
    commands = [
        ["polygonize", "codes.vrt", "--out", "p.gpkg", "--quiet"],
        ["evaluate", "codes.tif", "codes.vrt", "--classes", "other,tree"],
        ["evaluate", "codes.vrt", *EVALUATE[2:]],
        ["train", "training.yaml", "--out", "trained", "--device", "cpu", "--quiet"],
    ]
    if rng is None:
        return "undamaged", commands
    done = rng.choice((mutate_text, mutate_text, mutate_file))(folder / "codes.vrt", rng)
    return done, rng.sample(commands, 2)


def _shortly_trained(path: Path, rng: Random) -> str:
    """Damage a training file, but let none train for hours: that is no hang."""
    done = rng.choice((mutate_yaml, mutate_yaml, mutate_file))(path, rng)
    try:
        tree = yaml.safe_load(path.read_text())
    except (ValueError, yaml.YAMLError):  # damaged bytes
        return done
    if isinstance(tree, dict):
        steps = tree.get("steps", 2000)
        if isinstance(steps, int) and steps > 3:
            path.write_text(yaml.safe_dump({**tree, "steps": 3}, allow_unicode=True))
    return done


OPTION_VALUES = (
    "0", "-1", "1", "3", "2147483648", "9223372036854775808", "1e400", "nan", "inf", "0.5", "", "a", "auto", "1,2",
    "1,2,3,4", "1e308,1e308,1.1e308,1.1e308", "-inf,0,inf,1", "scene.tif", "nowhere.gpkg", "/", "16", "64", "128",
    "s3://bucket/x", "[x]", "\ud800", "ä", "a" * 5000,
)  # fmt: skip
OPTIONS = (
    "--tile", "--overlap", "--blend", "--batch", "--device", "--precision", "--backend", "--bands", "--roi", "--aoi",
    "--nodata", "--nodata-rule", "--level", "--mpp", "--source-mpp", "--z", "--t", "--tissue", "--axis", "--format",
    "--neighbours", "--memory", "--workers", "--scheduler", "--cluster", "--out", "--model", "--tta",
)  # fmt: skip


def _options(seeds: Path, folder: Path, rng: Random | None) -> Case:
    copy_seeds(seeds, folder, "scene.tif", "colour")
    if rng is None:
        return "undamaged", [["plan", "scene.tif", "--model", "colour"]]
    command = [rng.choice(("plan", "run")), "scene.tif", "--model", "colour"]
    if command[0] == "run":
        command += ["--out", "out", "--quiet"]
    for _ in range(rng.choice((1, 1, 2))):
        value = os.fsdecode(os.fsencode(rng.choice(OPTION_VALUES).replace("\ud800", "\udcff")))
        command += [rng.choice(OPTIONS), value]
    return " ".join(command)[:200], [command]


def _jobs(seeds: Path, folder: Path, rng: Random | None) -> Case:
    copy_seeds(seeds, folder, "scene.tif", "colour", "jobs.yaml")
    commands = [["batch", "jobs.yaml", "--dry-run"], ["batch", "jobs.yaml", "--quiet"]]
    if rng is None:
        return "undamaged", commands
    return rng.choice((mutate_yaml, mutate_yaml, mutate_file))(folder / "jobs.yaml", rng), commands


OF_RESULTS = {"truth raster", "result", "described result", "volume result"}
"""Kinds whose cases begin with finished results, which take the longest to make."""
EVALUATE = ["evaluate", "codes.tif", "area.geojson", "--class-column", "class"]
EVALUATE += ["--class-value", "tree=tree", "--unlabelled", "other", "--classes", "other,tree"]

KINDS: Mapping[str, MakeCase] = {
    "geotiff": _damaged(
        ("scene.tif", "colour"), "scene.tif", (mutate_file, mutate_tiff, mutate_tiff),
        ["info", "scene.tif", "--json"], _run("scene.tif", "colour"),
    ),
    "vrt": _damaged(
        ("scene.tif", "scene.vrt", "colour"), "scene.vrt", (mutate_text, mutate_text, mutate_file),
        ["info", "scene.vrt"], _run("scene.vrt", "colour"),
    ),
    "png": _damaged(("picture.png", "colour"), "picture.png", (mutate_file,), _run("picture.png", "colour")),
    "class raster": _damaged(
        ("codes.tif",), "codes.tif", (mutate_file, mutate_tiff),
        ["polygonize", "codes.tif", "--out", "p.gpkg", "--quiet"],
    ),
    "class vrt": _class_vrt,
    "truth raster": _damaged(
        ("codes.tif", "result"), "codes.tif", (mutate_file, mutate_tiff), ["evaluate", "result", "codes.tif"],
    ),
    "aoi": _damaged(
        ("scene.tif", "colour", "area.geojson"), "area.geojson", (mutate_json, mutate_text, mutate_file),
        _run("scene.tif", "colour", "--aoi", "area.geojson"),
    ),
    "truth polygons": _damaged(
        ("codes.tif", "area.geojson"), "area.geojson", (mutate_json, mutate_text, mutate_file), EVALUATE,
    ),
    "nifti": _damaged(
        ("volume.nii", "grey"), "volume.nii", (mutate_nifti, mutate_nifti, mutate_file),
        ["info", "volume.nii"], _volume_run("volume.nii"),
    ),
    "nifti.gz": _damaged(("volume.nii.gz", "grey"), "volume.nii.gz", (mutate_file,), _volume_run("volume.nii.gz")),
    "nrrd": _damaged(
        ("volume.nrrd", "grey"), "volume.nrrd", (mutate_text, mutate_text, mutate_file),
        ["info", "volume.nrrd"], _volume_run("volume.nrrd"),
    ),
    "dicom": _damaged(
        ("series", "grey"), "series", (mutate_dicom, mutate_dicom, mutate_file),
        ["info", "series"], _volume_run("series"),
    ),
    "ome-zarr": _damaged_zarr,
    "model.json": _damaged(
        ("scene.tif", "colour"), "colour/model.json", (mutate_json, mutate_json, mutate_file),
        ["model", "inspect", "colour"], _run("scene.tif", "colour"),
    ),
    "safetensors": _damaged(
        ("scene.tif", "colour"), "colour/weights.safetensors", (mutate_safetensors, mutate_file),
        _run("scene.tif", "colour"),
    ),
    "onnx": _damaged(
        ("scene.tif", "graph.onnx"), "graph.onnx", (mutate_file,),
        ["model", "import", "graph.onnx", "--out", "graph", "--classes", "a,b", "--tile", "64", "--trust"],
        _run("scene.tif", "graph", "--trust"),
    ),
    "jobs": _jobs,
    "cluster": _damaged(
        ("scene.tif", "colour", "cluster.yaml"), "cluster.yaml", (mutate_yaml, mutate_file),
        _run("scene.tif", "colour", "--cluster", "cluster.yaml"),
    ),
    "training": _damaged(
        ("scene.tif", "codes.tif", "training.yaml"), "training.yaml", (_shortly_trained,),
        ["train", "training.yaml", "--out", "trained", "--device", "cpu", "--quiet"],
    ),
    "options": _options,
    "result": _damaged_result(
        "result",
        ["run", "SEEDS/scene.tif", "--model", "SEEDS/colour", "--out", "result", "--format", "cog,parquet,gpkg",
         *RUN_OPTIONS],
        ["polygonize", "result", "--out", "p.parquet", "--quiet"],
        ["polygonize", "result/classes.tif", "--out", "p.gpkg", "--quiet"],
        ["export", "result", "--format", "geojson"],
        ["evaluate", "result", "codes.tif"],
    ),
    "described result": _described_result,
    "volume result": _damaged_result(
        "volume-result",
        ["run", "SEEDS/volume.nii", "--model", "SEEDS/grey", "--out", "volume-result", "--format", "nifti",
         *RUN_OPTIONS],
        ["export", "volume-result", "--format", "zarr"],
        ["evaluate", "volume-result", "volume.nii"],
    ),
}  # fmt: skip
