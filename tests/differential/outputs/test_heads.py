"""A graph with several class maps: each head is the map of a package that has its output alone, and a plain loop's."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import rasterio
import yaml

import segment_tiles as st
from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.errors import ModelError, UsageError
from segment_tiles.pipeline.grid.objects import ObjectRule
from segment_tiles.pipeline.models.package import load_manifest
from segment_tiles.pipeline.models.packages.stac_item import to_stac_item
from segment_tiles.workflows.batch import heads
from segment_tiles.workflows.model_packages.weights_import import import_model
from segment_tiles.workflows.options.model_import import import_request_from

ort = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")
HEADS = ["cover=auxiliary:water,land,ice", "crop=scores:wheat,maize,rye"]
FIXED: dict[str, Any] = {
    "device": "cpu",
    "precision": "fp32",
    "backend": "torch",
    "blend": "crop",
    "preview": False,
}


def imported(path: Path, out: Path, **asked: Any) -> Path:
    import_model(
        import_request_from(
            path=path, out=out, mean="100,110,90", std="50,60,70", constants="gain=2", tile=64, **asked
        )
    )
    return out


@pytest.fixture(scope="module")
def graph(graphs: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolution with two outputs: its maps negated, and times a constant input."""
    folder = tmp_path_factory.mktemp("heads")
    path: Path = graphs.write_graph(
        folder / "net.onnx", sides=("h", "w"), out="o", pad=1, batch="n", extra=True
    )
    return path


@pytest.fixture(scope="module")
def model(graph: Path) -> Path:
    return imported(graph, graph.parent / "two", head=HEADS)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scene") / "scene.tif"
    image = np.random.default_rng(0).integers(1, 255, (3, 31, 29), dtype=np.uint8)
    image = image.repeat(5, axis=1).repeat(5, axis=2)
    with rasterio.open(
        path, "w", driver="GTiff", width=145, height=155, count=3, dtype="uint8", crs="EPSG:32633",
        transform=rasterio.Affine(1, 0, 4e5, 0, -1, 5e6),
    ) as file:  # fmt: skip
        file.write(image)
    return path


@pytest.mark.parametrize(("head", "output", "names"), [
    ("cover", "auxiliary", ("water", "land", "ice")), ("crop", "scores", ("wheat", "maize", "rye")),
])  # fmt: skip
def test_a_head_is_the_package_of_its_output_alone(
    graphs: ModuleType,
    graph: Path,
    model: Path,
    scene: Path,
    tmp_path: Path,
    head: str,
    output: str,
    names: tuple[str, ...],
) -> None:
    alone = imported(graph, tmp_path / "alone", classes=",".join(names), use_output=output)
    chosen = load_manifest(model).with_head(head)
    assert chosen.map_checksum == load_manifest(alone).map_checksum
    assert load_manifest(model).of_checksum(chosen.map_checksum) == chosen
    found = st.segment(scene, model=model, head=head, out=tmp_path / "head", format="cog", **FIXED)
    st.segment(scene, model=alone, out=tmp_path / "out", format="cog", **FIXED)
    maps = [(tmp_path / name / "classes.tif").read_bytes() for name in ("head", "out")]
    assert maps[0] == maps[1]
    assert tuple(entry["name"] for entry in found.report["classes"]) == names
    with rasterio.open(scene) as file:
        image = file.read()
    session = ort.InferenceSession(str(graph), providers=["CPUExecutionProvider"])

    def answer(window: Any) -> Any:
        mean, std = (np.array(row, np.float32)[:, None, None] for row in ((100, 110, 90), (50, 60, 70)))
        fed = {"image": ((window - mean) / std)[None], "gain": np.array([2], np.float32)}
        return session.run([output], fed)[0][0]

    manifest = load_manifest(model)
    overlap = manifest.overlap_of(64)
    logits = graphs.plain_reference(answer, image, tile=64, margin=0, overlap=overlap)
    best = np.sort(logits, axis=0)
    decided = best[-1] - best[-2] > 1e-4
    np.testing.assert_array_equal(np.asarray(found.classes)[decided], logits.argmax(0)[decided])
    of_array = st.segment_array(
        image, model=model, head=head, device="cpu", precision="fp32", backend="torch", blend="crop"
    )
    np.testing.assert_array_equal(of_array, found.classes)


def test_without_a_head_the_first_is_computed_and_said(model: Path, scene: Path) -> None:
    plan = st.plan(scene, model=model).document
    assert "model two has several heads: cover is computed; --head gives crop" in plan["warnings"]


def test_what_is_no_head_is_refused_before_anything_is_computed(
    model: Path, scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "--head is 'lake'; model two has the heads cover, crop"
    for command in ("run", "plan"):
        asked = [command, str(scene), "--model", str(model), "--head", "lake", "--out", str(tmp_path / "out")]
        assert run_command_line(asked) == 2
        assert text in capsys.readouterr().err
    with pytest.raises(UsageError, match="--head is 'lake'; model canopy-rgb has one output"):
        st.plan(scene, model="canopy-rgb", head="lake")
    assert not (tmp_path / "out").exists()


def words(**options: Any) -> list[str]:
    """Return options as the command line spells them."""
    return [
        word
        for name, value in options.items()
        for word in ([f"--no-{name}"] if value is False else [f"--{name}", str(value)])
    ]


def files_of(folder: Path) -> dict[str, bytes]:
    """Return class map and polygons of a run."""
    return {name: (folder / name).read_bytes() for name in ("classes.tif", "polygons.geojson")}


def test_all_heads_are_the_runs_of_each(
    model: Path,
    scene: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = [*words(**FIXED, model=model, format="cog,geojson"), "--quiet"]
    alone = {}
    for head in ("cover", "crop"):
        assert (
            run_command_line(["run", str(scene), "--head", head, "--out", str(tmp_path / head), *options])
            == 0
        )
        alone[head] = files_of(tmp_path / head)
    assert alone["cover"]["classes.tif"] != alone["crop"]["classes.tif"]
    out = tmp_path / "both"
    asked = ["run", str(scene), "--head", "all", "--out", str(out), *options]
    assert run_command_line(asked) == 0
    assert {head: files_of(out / head) for head in alone} == alone
    with (out / "jobs.csv").open() as file:
        assert [(row["job"], row["state"]) for row in csv.DictReader(file)] == [
            (f"{out}/cover", "done"), (f"{out}/crop", "done"),
        ]  # fmt: skip
    # a folder of pictures, and a jobs file
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name in ("a.tif", "scene.tif"):
        shutil.copy(scene, pictures / name)
    read: list[Path] = []
    monkeypatch.setattr(
        heads, "load_manifest", lambda folder: (read.append(folder), load_manifest(folder))[1]
    )
    assert (
        run_command_line(["run", str(pictures), *asked[2:4], "--out", str(tmp_path / "many"), *options]) == 0
    )
    assert read == [model], "once for all pictures"
    for name in ("a", "scene"):
        assert {head: files_of(tmp_path / "many" / name / head) for head in alone} == alone
    jobs = tmp_path / "jobs.yaml"
    defaults = {**FIXED, "model": str(model), "format": ["cog", "geojson"], "head": "all"}
    entry = {"source": str(scene), "name": "fields"}
    jobs.write_text(
        yaml.safe_dump({"defaults": defaults, "out": "{results}/{name}-{number}", "jobs": [entry]})
    )
    assert run_command_line(["batch", str(jobs), "--quiet"]) == 0
    assert {head: files_of(tmp_path / "jobs-results" / "fields-1" / head) for head in alone} == alone
    capsys.readouterr()
    assert run_command_line(["plan", *asked[1:-1], "--json"]) == 0
    assert [job["state"] for job in json.loads(capsys.readouterr().out)["jobs"]] == ["skipped", "skipped"]


def test_all_heads_where_they_cannot_be(
    model: Path, scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    asked = ["run", str(scene), "--model", "canopy-rgb", "--head", "all", "--out", str(out)]
    assert run_command_line(asked) == 2
    assert "--head is all; model canopy-rgb has one output, leave --head out" in capsys.readouterr().err
    with pytest.raises(
        UsageError, match="heads cover, crop; all of them are runs of the commands run and batch"
    ):
        st.segment(scene, model=model, head="all", out=out)
    jobs = tmp_path / "jobs.yaml"
    entry = {"mosaic": {"resampling": "nearest"}, "source": str(scene), "name": "fields"}
    jobs.write_text(yaml.safe_dump({"defaults": {"model": str(model), "head": "all"}, "jobs": [entry]}))
    assert run_command_line(["batch", str(jobs)]) == 2
    assert "a mosaic is mapped by one; give a job to each of cover, crop" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(("asked", "text"), [
    ({"head": ["cover=auxiliary"]}, "--head is 'cover=auxiliary'; give NAME=OUTPUT:A,B"),
    ({"head": ["a b=auxiliary:x,y"]}, "--head is 'a b=auxiliary:x,y'"),
    ({"head": [HEADS[0], HEADS[0]]}, "--head names cover, cover; give each head another name"),
    ({"head": ["all=auxiliary:x,y,z"]}, "names a head 'all', which is what a run spells for every head"),
    ({"head": HEADS, "classes": "a,b"}, "--classes is of a graph with one class map"),
    ({"head": ["cover=auxiliary:x,y"]}, "has 3 outputs, but --classes names 2"),
    ({"head": ["cover=nothing:x,y,z"]}, "has no output 'nothing'; it has auxiliary, scores"),
])  # fmt: skip
def test_heads_that_cannot_be_are_no_model(graph: Path, tmp_path: Path, asked: Any, text: str) -> None:
    with pytest.raises((UsageError, ModelError), match=text):
        imported(graph, tmp_path / "model", **asked)
    assert not (tmp_path / "model").exists()


def test_the_manifest_names_each_output_with_its_classes(model: Path, tmp_path: Path) -> None:
    document = json.loads((model / "model.json").read_text())
    outputs = document["properties"]["mlm:output"]
    assert [one["name"] for one in outputs] == ["cover", "crop"]
    assert [[c["description"] for c in one["classification:classes"]] for one in outputs] == [
        ["water", "land", "ice"], ["wheat", "maize", "rye"],
    ]  # fmt: skip
    (tmp_path / "graph.onnx").write_bytes((model / "graph.onnx").read_bytes())
    document["properties"]["segment_tiles:objects"] = {"land": {}, "maize": {"border": "rye", "reach": 3}}
    (tmp_path / "model.json").write_text(json.dumps(document))
    manifest = load_manifest(tmp_path)
    rules = {name: manifest.with_head(name).classes.objects for name in (None, "cover", "crop")}
    assert rules[None] == rules["cover"] == (ObjectRule("land"),)
    assert rules["crop"] == (ObjectRule("maize", "rye", 3),)
    assert to_stac_item(manifest, "graph.onnx", 1, None, "ONNX").properties["segment_tiles:objects"] == {
        "land": {}, "maize": {"border": "rye", "reach": 3},
    }  # fmt: skip
    for rule, text in (
        ({"border": "ice", "reach": 3}, "no head has both"),
        ({"border": "mud"}, "reach of 0"),
    ):
        document["properties"]["segment_tiles:objects"] = {"maize": rule}
        (tmp_path / "model.json").write_text(json.dumps(document))
        with pytest.raises(ModelError, match=text):
            load_manifest(tmp_path)
    document["properties"]["segment_tiles:objects"] = {"pear": {}}
    (tmp_path / "model.json").write_text(json.dumps(document))
    with pytest.raises(ModelError, match="none of its classes: water, land, ice, wheat, maize, rye"):
        load_manifest(tmp_path)
    document["properties"]["segment_tiles:heads"].reverse()
    (tmp_path / "model.json").write_text(json.dumps(document))
    with pytest.raises(ModelError, match="mlm:output must name the same, each once, in this order"):
        load_manifest(tmp_path)
