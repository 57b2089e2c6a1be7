"""An option is declared once: the command line, Python and jobs files read the same text in the same way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.accepted import BLENDS
from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.models.backends.known import BACKENDS as KNOWN_BACKENDS
from segment_tiles.workflows.config import BACKENDS, RunConfig, plan_config_from, run_config_from
from segment_tiles.workflows.options.batch import batch_config_from, schedule_config_from
from segment_tiles.workflows.options.declare import options_of
from segment_tiles.workflows.options.evaluation import evaluate_config_from
from segment_tiles.workflows.options.model_import import import_request_from
from segment_tiles.workflows.options.polygons import polygonize_config_from
from segment_tiles.workflows.options.training import train_config_from

NEEDED = {"source": "scene.tif", "model": "canopy-rgb", "out": "map"}
WRONG: dict[str, Any] = {
    "tile": "large", "overlap": "half", "blend": "cosine", "batch": "many", "device": "tpu", "precision": "fp8",
    "backend": "tensorflow", "tta": "mirrors", "bands": "0,1", "roi": "3,0,1,1", "nodata": "none",
    "nodata_rule": "some", "alpha": "yes", "level": "0.5", "mpp": "-1", "source_mpp": "fine", "z": "-1", "t": "x",
    "resolution": "fine", "grid": "mine", "warp": "cubic",
    "neighbours": "two", "format": "dwg", "dicom_seg": "bits", "memory": "lots", "workers": "all", "model": "a,a",
}  # fmt: skip


@pytest.mark.parametrize("keyword", WRONG)
def test_a_wrong_value_is_refused_in_python_as_on_the_command_line(
    keyword: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError) as found:
        run_config_from(**{**NEEDED, keyword: WRONG[keyword]})
    options = {"model": "canopy-rgb", "out": str(tmp_path / "map"), keyword.replace("_", "-"): WRONG[keyword]}
    assert (
        run_command_line(["run", "scene.tif", *(f"--{key}={value}" for key, value in options.items())]) == 2
    )
    assert capsys.readouterr().err == f"segment-tiles: error: {found.value}\n"
    assert f"--{keyword.replace('_', '-')}" in str(found.value)


def test_values_and_their_texts_give_one_configuration() -> None:
    texts = run_config_from(
        **NEEDED, bands="3,2,1", roi="0,0.5,10,20", format="cog,gpkg", memory="2GB", batch="4", tile="256",
        nodata="nan", aoi="a.gpkg:parts",
    )  # fmt: skip
    values = run_config_from(
        **{**NEEDED, "out": Path("map")}, bands=[3, 2, 1], roi=(0, 0.5, 10, 20), format=["cog", "gpkg"],
        memory=2 * 10**9, batch=4, tile=256, nodata=float("nan"), aoi=Path("a.gpkg:parts"), level=None,
    )  # fmt: skip
    assert repr(texts) == repr(values)  # NaN is not itself
    assert (texts.bands, texts.formats, texts.batch) == ((3, 2, 1), ("zarr", "cog", "gpkg"), 4)
    assert run_config_from(**NEEDED) == RunConfig("scene.tif", "canopy-rgb", Path("map"))
    several = run_config_from(**{**NEEDED, "model": ["one", "two"]})
    assert (several.model, several.companions) == ("one", ("two",))


@pytest.mark.parametrize(("given", "message"), [
    ({"overlab": 0.5}, r"'overlab' is no option; did you mean 'overlap'\?"),
    ({"qqq": 1}, r"'qqq' is no option; known are source, model, out, tile"),
    ({"formats": "cog"}, r"did you mean 'format'\?"),
    ({"model": None}, r"the option 'model' is missing"),
])  # fmt: skip
def test_a_wrong_keyword_names_the_nearest(given: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        run_config_from(**{**NEEDED, **given})


@pytest.mark.parametrize(("given", "message"), [
    ({"tile": True}, "--tile is 'True'; give a whole number"),
    ({"tile": 0.5}, "--tile is '0.5'; give a whole number"),
    ({"scores": "yes"}, "--scores is 'yes'; give True or False"),
    ({"overlap": [0.5]}, r"--overlap is '\[0.5\]'; give a number"),
    ({"aoi": 3}, "--aoi is '3'; give a path"),
])  # fmt: skip
def test_values_of_another_type_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run_config_from(**NEEDED, **given)


def test_other_commands_have_their_doors_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = polygonize_config_from(
        raster="a.tif",
        out=["a.parquet", "b.gpkg"],
        classes=["trees, tall", "water"],
        connectivity=8,
        min_area="4px",
    )
    assert wanted.out == (Path("a.parquet"), Path("b.gpkg"))
    assert (wanted.classes, wanted.connectivity, wanted.minimum_area) == (("trees, tall", "water"), 8, "4px")
    assert polygonize_config_from(raster="a.tif", out="a.parquet").out == (Path("a.parquet"),)
    scored = evaluate_config_from(class_map="map", truth="truth.gpkg", boundary_width=[1, 3], slices="3,9")
    assert (scored.boundary_widths, scored.trimap_widths, scored.slices) == ((1, 3), (1, 2, 5), (3, 9))
    assert train_config_from(config="c.yaml", out="m", resume=True).resume
    asked = import_request_from(
        path="a.pth", out="m", classes=["trees, tall", "water"], mean=[1, 2.5], tile="64"
    )
    assert (asked.classes, asked.mean, asked.tile) == (("trees, tall", "water"), (1.0, 2.5), 64)
    assert batch_config_from(jobs="jobs.yaml", part="2/3").part == "2/3"
    for make, command, given in [
        (polygonize_config_from, "polygonize", {"raster": "a.tif", "out": "a.gpkg", "workers": "two"}),
        (evaluate_config_from, "evaluate", {"class_map": "m", "truth": "t", "class_value": "tree"}),
        (evaluate_config_from, "evaluate", {"class_map": "m", "truth": "t", "trimap_width": "wide"}),
        (evaluate_config_from, "evaluate", {"class_map": "m", "truth": "t", "polygon_shape": "round"}),
        (train_config_from, "train", {"config": "c.yaml", "out": str(tmp_path), "device": "tpu"}),
        (import_request_from, "model import", {"path": "a.pth", "out": "m", "dtype": "text"}),
        (import_request_from, "model import", {"path": "a.pth", "out": "m", "output_stride": "7"}),
        (import_request_from, "model import", {"path": "a.pth", "out": "m", "tile": "wide"}),
        (schedule_config_from, "schedule", {"jobs": "jobs.yaml", "cron": "0 3 * * *", "retries": "-1"}),
        (schedule_config_from, "schedule", {"jobs": "jobs.yaml", "cron": "0 3 * * *", "retry_seconds": "soon"}),
        (schedule_config_from, "schedule", {"jobs": "jobs.yaml"}),
    ]:  # fmt: skip
        with pytest.raises(UsageError) as found:
            make(**given)
        words = [
            value
            if key in {"raster", "class_map", "truth", "config", "path", "jobs"}
            else f"--{key.replace('_', '-')}={value}"
            for key, value in given.items()
        ]
        assert run_command_line([*command.split(), *words]) == 2
        assert capsys.readouterr().err == f"segment-tiles: error: {found.value}\n"
    with pytest.raises(TypeError, match=r"'sive' is no option; did you mean 'sieve'\?"):
        polygonize_config_from(raster="a.tif", out="a.gpkg", sive="3px")


def test_a_plan_needs_no_output_directory() -> None:
    assert plan_config_from(source="a.tif", model="m").out == Path()
    assert plan_config_from(source="a.tif", model="m", out="map").out == Path("map")
    with pytest.raises(TypeError, match="'restart' is no option"):
        plan_config_from(source="a.tif", model="m", restart=True)


def test_what_is_declared_is_what_the_program_has() -> None:
    options = {entry.field: entry for entry in options_of(RunConfig)}
    assert {entry.name for entry in RunConfig.__dataclass_fields__.values()} - set(options) == {
        "companions",
        "tuned",
        "mask_source",
        "lies_on",
        "weights_beside",
    }
    assert options["blend"].choices == BLENDS
    assert options["nodata_rule"].choices == ("all", "any")
    assert set(BACKENDS) == {"auto", *KNOWN_BACKENDS}
    assert all(entry.help.endswith((".", ")")) for entry in options.values())


def test_choices_are_checked_however_a_configuration_is_made() -> None:
    with pytest.raises(UsageError, match=r"--tta is 'mirrors'; it must be one of none, flips, rotations"):
        RunConfig("a.tif", "m", Path("map"), augmentation="mirrors")
    with pytest.raises(UsageError, match="--device is 'tpu'"):
        RunConfig("a.tif", "m", Path("map"), device="tpu")
