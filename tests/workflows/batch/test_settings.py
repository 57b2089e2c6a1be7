"""A jobs file takes the options of `run` under the same names, and its schema is the committed one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import jsonschema
import typer
import yaml

from segment_tiles.cli.main import app, run_command_line
from segment_tiles.workflows.batch.jobs import run_config
from segment_tiles.workflows.batch.schema import jobs_schema
from segment_tiles.workflows.batch.settings import RunSettings
from segment_tiles.workflows.config import RunConfig

DOCS = Path(__file__).resolve().parents[3] / "docs"
OF_ONE_RUN = {"help", "source", "out", "restart", "quiet", "json", "-v", "verbose", "log-file", "log-format"}


def test_settings_are_the_options_of_run() -> None:
    commands = getattr(typer.main.get_command(app), "commands", {})
    options = {name.removeprefix("--") for parameter in commands["run"].params for name in parameter.opts}
    keys = {field.alias for field in RunSettings.model_fields.values()}
    assert keys == options - OF_ONE_RUN - {"mask-model"} | {"mask"}, (
        "in a jobs file a mask has keys of its own"
    )


def test_every_setting_reaches_the_run(tmp_path: Path) -> None:
    values = {
        "model": "canopy-rgb,other", "head": "cover", "backend": "torch", "tta": "flips",
        "tile": 256, "overlap": 0.5, "blend": "crop", "batch": 2, "device": "cpu",
        "precision": "fp32", "bands": [3, 2, 1], "roi": [0, 1, 2, 3], "aoi": "a.gpkg", "nodata": 0,
        "nodata-rule": "any", "alpha": "band", "level": 1, "scaling": "z-score:tile",
        "mpp": 0.5, "source-mpp": 0.25, "z": 1, "t": 2,
        "rpc-height": 120.5, "rpc-dem": "dem.tif",
        "tissue": "otsu", "assets": ["red", "nir@2"], "grid-of": "red", "sign": "planetary_computer.sign",
        "resolution": 0.1, "grid": "model", "crs": "EPSG:3857", "like": "like.tif", "warp": "mode",
        "labels-inside": True, "dicom-seg": "labelmap", "axis": "all", "neighbours": 1, "format": ["cog"],
        "scores": True, "preview": False, "item": False,
        "connectivity": 8, "classes": ["a"], "background": "b", "majority": 3, "sieve": 25, "min-hole": "9px",
        "min-area": 1.5, "simplify": "2px", "right-angles": ["a"],
        "objects": ["a:b:6"], "split-by": "distance", "split-reach": 9, "split-depth": 2.0, "max-area": 99,
        "min-confidence": 0.5, "edge": "drop", "measure": "values.tif", "reclass": "a.csv", "split-by-class": True,
        "threshold": ["land=0.4"], "unsure": 0.5, "mask": {"model": "clouds", "classes": ["cloud", "a, b"]},
        "memory": "4GB", "workers": 2, "scheduler": "tcp://host:1", "cluster": "slurm.yaml", "trust": True,
    }  # fmt: skip
    settings = RunSettings.model_validate(values)
    config = run_config(tmp_path, "scene.tif", tmp_path / "out", settings.given(), restart=True)
    plain = RunConfig("", "", Path())
    same = [
        field.name for field in fields(RunConfig) if getattr(config, field.name) == getattr(plain, field.name)
    ]
    assert set(same) <= {
        "tuned",
        "mask_source",
        "lies_on",
        "weights_beside",
    }  # of `tune` and of masks, not from the user
    assert config.mask_model == 'clouds:cloud,"a, b"'
    assert config.formats == ("zarr", "cog")
    assert config.memory == 4 * 10**9
    assert (config.reclass, config.measure) == (tmp_path / "a.csv", str(tmp_path / "values.tif"))
    assert (config.sieve, config.minimum_area) == ("25", "1.5")
    assert config.aoi == tmp_path / "a.gpkg"
    assert (config.view.mpp, config.view.source_mpp, config.view.z, config.view.t) == (0.5, 0.25, 1, 2)


def test_the_committed_schema_is_that_of_the_program(capsys: Callable[..., object]) -> None:
    committed = json.loads((DOCS / "jobs.schema.json").read_text())
    assert committed == jobs_schema(), "run `segment-tiles batch --schema > docs/jobs.schema.json`"
    jsonschema.Draft202012Validator.check_schema(committed)
    assert run_command_line(["batch", "--schema"]) == 0


def test_the_schema_accepts_what_the_documentation_shows_and_refuses_the_rest() -> None:
    checker = jsonschema.Draft202012Validator(jobs_schema())
    pages = (DOCS / "batch.md").read_text()
    examples = [part.split("```")[0] for part in pages.split("```yaml\n")[1:]]
    assert len(examples) > 3
    for example in examples:
        document = yaml.safe_load(example)
        assert not list(checker.iter_errors(document)), example
    assert list(checker.iter_errors({"jobs": [{"source": "a.tif", "tiles": 3}]}))
    assert list(checker.iter_errors({"jobs": []}))
