"""Model packages: what goes in comes out, and what was touched is refused."""

import json
import re
from dataclasses import replace

import pystac
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pystac.validation.stac_validator import JsonSchemaSTACValidator
from safetensors.torch import load_file, save_file

from segment_tiles.pipeline.errors import ModelError, WriteFailedError
from segment_tiles.pipeline.grid.classes import ClassTable, MapClass
from segment_tiles.pipeline.grid.objects import ObjectRule
from segment_tiles.pipeline.models.networks.build import build_network
from segment_tiles.pipeline.models.package import load_manifest, load_network, save_model_package
from segment_tiles.pipeline.models.packages.manifest import Architecture, ModelManifest
from segment_tiles.pipeline.models.packages.stac_item import from_stac_item, to_stac_item
from segment_tiles.pipeline.models.registry import find_model
from segment_tiles.pipeline.models.scaling.scaling import OPERATIONS, Operation, Scaling, z_score

LIGHT = Architecture("deeplabv3plus", "resnet10t", 16, (1, 2), "window", 3, details={"channels": 16})
MANIFEST = ModelManifest(
    name="test-model",
    architecture=LIGHT,
    bands=("red", "nir"),
    dtype="uint16",
    scaling=z_score((100.5, 2000.0), (10.0, 300.25)),
    tile=256,
    overlap=0.25,
    classes=ClassTable((MapClass(0, "Wasser & Eis", (0, 0, 255)), MapClass(1, "land", (1, 2, 3)))),
    pixel_size=0.5,
    extra={"scores": {"miou": 0.5}},
)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build_network(LIGHT, bands=2, classes=2).eval()


@pytest.fixture
def package(tmp_path, network):
    save_model_package(tmp_path, MANIFEST, network.state_dict())
    return tmp_path


def test_a_package_gives_back_manifest_and_network(package, network):
    manifest = load_manifest(package)
    assert manifest == replace(MANIFEST, weights_checksum=manifest.weights_checksum)
    assert re.fullmatch("[0-9a-f]{64}", manifest.weights_checksum)
    image = torch.randn(1, 2, 64, 48)
    loaded = load_network(package, manifest)
    assert not loaded.training
    with torch.inference_mode():
        assert torch.equal(loaded(image), network(image))


def test_the_same_model_is_the_same_bytes(tmp_path, network):
    for name in ("a", "b"):
        save_model_package(tmp_path / name, MANIFEST, network.state_dict())
    for file in ("model.json", "weights.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["model.json", "weights.safetensors"]


def test_half_precision_on_disk_is_float32_in_memory(tmp_path, network):
    save_model_package(tmp_path / "whole", MANIFEST, network.state_dict())
    manifest = save_model_package(tmp_path / "half", MANIFEST, network.state_dict(), half=True)
    whole, half = ((tmp_path / name / "weights.safetensors").stat().st_size for name in ("whole", "half"))
    assert half < 0.55 * whole
    loaded = load_network(tmp_path / "half", manifest)
    assert {t.dtype for t in loaded.state_dict().values() if t.is_floating_point()} == {torch.float32}
    image = torch.randn(1, 2, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(image), network(image), rtol=0.05, atol=1e-3)


names = st.text(st.characters(codec="utf-8", exclude_categories=("C",)), min_size=1, max_size=12)
color = st.tuples(*[st.integers(0, 255)] * 3)
finite = st.floats(-1e6, 1e6)


@st.composite
def scalings(draw, bands):
    per_band = {"min_size": bands, "max_size": bands}
    if draw(st.booleans()):
        deviations = st.lists(st.floats(1e-3, 1e6), **per_band)
        return z_score(tuple(draw(st.lists(finite, **per_band))), tuple(draw(deviations)))
    operation = st.sampled_from(
        [
            Operation("min-max", -0.5, 3000.0),
            Operation("clip", statistics="tile", percentiles=(2.0, 98.5)),
            Operation("z-score", statistics="tile"),
            Operation("clip-min", 3.0),
            Operation("scale", 1e4),
        ]
    )
    chains = st.lists(operation, max_size=3).map(tuple)
    found = draw(st.lists(chains, min_size=1, max_size=1) | st.lists(chains, **per_band))
    return Scaling(tuple(found), draw(st.sampled_from(["stored", "physical"])))


@st.composite
def manifests(draw):
    bands = draw(st.lists(names, min_size=1, max_size=5, unique=True))
    classes = draw(st.lists(names, min_size=1, max_size=6, unique=True))
    pooling = draw(st.sampled_from(["global", "window", "off"]))
    return ModelManifest(
        name="any-model",
        architecture=Architecture(
            draw(st.sampled_from(["deeplabv1", "deeplabv3plus", "unet"])),
            "resnet18",
            draw(st.sampled_from([8, 16, 32])),
            tuple(draw(st.lists(st.integers(1, 40), min_size=1, max_size=4))),
            pooling,
            33 if pooling == "window" else None,
            draw(st.booleans()),
            draw(st.dictionaries(names, st.integers() | st.text(), max_size=3)),
        ),
        bands=tuple(bands),
        dtype=draw(st.sampled_from(["uint8", "uint16", "float32"])),
        scaling=draw(scalings(len(bands))),
        tile=draw(st.integers(1, 4096)),
        overlap=draw(st.floats(0, 0.99)),
        classes=ClassTable(
            tuple(MapClass(i, name, draw(color)) for i, name in enumerate(classes)),
            draw(object_rules(classes)),
        ),
        pixel_size=draw(st.none() | st.floats(1e-3, 1e3)),
        pixel_unit=draw(st.sampled_from(["m", "micrometer", "millimeter"])),
        description=draw(st.text(max_size=20)),
        extra=draw(st.dictionaries(names, st.integers() | st.lists(finite, max_size=3), max_size=3)),
        weights_checksum="ab" * 32,
    )


def object_rules(classes):
    """Rules of a class with a border, of one split by distance, of one with a sheath, and of one that is as it is."""
    made = [ObjectRule(classes[-1], None, 9, "distance", 0.5), ObjectRule(classes[0], min_pixels=3)]
    if len(classes) > 2:
        made.append(ObjectRule(classes[1], classes[2], 6, min_pixels=20))
        made = [rule for rule in made if rule.name != classes[2]]
        made.append(ObjectRule(classes[1], reach=30, min_pixels=20, sheath=classes[2]))
    return st.lists(st.sampled_from(made), unique_by=lambda rule: rule.name, max_size=3).map(tuple)


def test_objects_change_no_map_and_are_refused_without_their_classes():
    rules = (ObjectRule("land", "Wasser & Eis", 6),)
    with_objects = replace(MANIFEST, classes=ClassTable(MANIFEST.classes.classes, rules))
    assert with_objects.map_checksum == MANIFEST.map_checksum
    item = to_stac_item(with_objects, "weights.safetensors", 1, 7, "PyTorch").to_dict(include_self_link=False)
    assert item["properties"]["segment_tiles:objects"] == {"land": {"border": "Wasser & Eis", "reach": 6}}
    for objects, told in (
        (
            {"land": {"border": "wall", "reach": 6}},
            "border 'wall', which is none of its classes: Wasser & Eis, land",
        ),
        ({"cat": {}}, "objects of 'cat', which is none of its classes"),
        ({"land": {"border": "Wasser & Eis"}}, "a reach of 0 px; it must be 1 to 1024"),
        ({"land": {"border": "land", "reach": 2}}, "the same class as border"),
        (
            {"land": {"sheath": "wall", "reach": 6}},
            "sheath 'wall', which is none of its classes: Wasser & Eis, land",
        ),
        ({"land": {"sheath": "Wasser & Eis", "border": "Wasser & Eis", "reach": 2}}, "are split; give one"),
        (
            {"land": {"reach": "far"}},
            r"segment_tiles:objects.land.reach is 'far': it must be a valid integer",
        ),
    ):
        item["properties"]["segment_tiles:objects"] = objects
        with pytest.raises(ModelError, match=told):
            from_stac_item(item)


@given(manifests())
def test_every_manifest_survives_the_stac_item(manifest):
    item = to_stac_item(manifest, "weights.safetensors", 123, 7, "PyTorch")
    document = json.loads(json.dumps(item.to_dict(include_self_link=False, transform_hrefs=False)))
    assert from_stac_item(document) == manifest


@given(manifests())
def test_every_manifest_is_a_valid_stac_item_of_the_mlm_extension(manifest):
    item = to_stac_item(manifest, "weights.safetensors", 123, 7, "PyTorch")
    document = item.to_dict(include_self_link=False, transform_hrefs=False)
    JsonSchemaSTACValidator().validate_core(document, pystac.STACObjectType.ITEM, document["stac_version"])
    check_mlm(document)


def check_mlm(document):
    """What the schema of MLM 1.5 asks of an item, field by field (its file is not at hand offline)."""
    assert "https://stac-extensions.github.io/mlm/v1.5.0/schema.json" in document["stac_extensions"]
    properties = document["properties"]
    assert {"mlm:name", "mlm:architecture", "mlm:tasks", "mlm:input", "mlm:output"} <= set(properties)
    assert re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_.\-\s]+[a-zA-Z0-9]", properties["mlm:name"])
    assert all(re.fullmatch("[0-9a-zA-Z_.-]+", key) for key in properties["mlm:hyperparameters"])
    # named bands must be described by STAC 1.1 bands
    assert [band["name"] for band in properties["bands"]] == properties["mlm:input"][0]["bands"]
    (tile,), (output,) = properties["mlm:input"], properties["mlm:output"]
    for scaling in tile["value_scaling"]:
        needed = {**OPERATIONS, "processing": ("format", "expression"), None: ()}[scaling["type"]]
        assert set(scaling) == {"type", *needed}
    for part in (tile["input"], output["result"]):
        assert len(part["shape"]) == len(part["dim_order"]) == len(set(part["dim_order"]))
        assert all(re.fullmatch("[a-z-_]+", name) for name in part["dim_order"])
    assert all(
        re.fullmatch("[0-9A-Za-z-_]+", c["name"]) and re.fullmatch("[0-9A-F]{6}", c["color_hint"])
        for c in output["classification:classes"]
    )
    asset = document["assets"]["model"]
    assert "mlm:model" in asset["roles"]
    assert asset["mlm:artifact_type"]
    assert re.fullmatch("1220[0-9a-f]{64}", asset["file:checksum"])


def test_stac_models_own_classes_read_the_manifest():
    schema = pytest.importorskip("stac_model.schema")
    properties = to_stac_item(MANIFEST, "weights.safetensors", 1, 7, "PyTorch").properties
    parsed = schema.MLModelProperties.model_validate(
        {key: value for key, value in properties.items() if key.startswith("mlm:")}
    )
    assert parsed.name == "test-model"
    assert parsed.input[0].value_scaling[1].mean == 2000.0
    mixed = Scaling(
        ((Operation("clip-max", 5.0),), (Operation("offset", 1.0), Operation("z-score", statistics="tile")))
    )
    manifest = replace(MANIFEST, scaling=mixed)
    properties = to_stac_item(manifest, "weights.safetensors", 1, 7, "PyTorch").properties
    first, second = (
        schema.MLModelProperties.model_validate(
            {key: value for key, value in properties.items() if key.startswith("mlm:")}
        )
        .input[0]
        .value_scaling
    )
    assert (first.maximum, second.format, len(second.expression)) == (5.0, "segment-tiles", 2)


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        (("type",), 1e308, r"type is 1e\+308: it must be 'Feature'"),
        (("type",), "Collection", "type is 'Collection'"),
        (("properties", "mlm:name"), True, "mlm:name is True: it must be a valid string"),
        (("properties", "mlm:architecture"), [[]], "mlm:architecture is"),
        (("properties", "mlm:hyperparameters", "output_stride"), 16.5, "output_stride is 16.5"),
        (
            ("properties", "mlm:hyperparameters", "output_stride"),
            2**63,
            "output_stride is 9223372036854775808",
        ),
        (("properties", "mlm:hyperparameters", "backbone"), [None], "backbone is"),
        (("properties", "mlm:hyperparameters", "atrous_rates"), {"a": None}, "atrous_rates is"),
        (
            ("properties", "mlm:hyperparameters", "details"),
            "words",
            "details is 'words': it must be a valid dict",
        ),
        (("properties", "mlm:hyperparameters", "align_corners"), "no", "align_corners is 'no'"),
        (("properties", "mlm:input", 0, "bands", 1), True, "bands.1 is True"),
        (
            ("properties", "mlm:input", 0, "input", "data_type"),
            "many",
            "data_type is 'many': the name of a number",
        ),
        (("properties", "mlm:input", 0, "input", "shape"), [], "shape is"),
        (("properties", "mlm:input", 0, "value_scaling", 0, "mean"), "3.5", "mean is '3.5'"),
        (("properties", "mlm:output", 0, "classification:classes", 0, "description"), 7, "description is 7"),
        (
            ("properties", "mlm:output", 0, "classification:classes", 0, "color_hint"),
            "ä",
            "color_hint is 'ä'",
        ),
        (("properties", "mlm:output", 0, "classification:classes"), [], "classes is"),
        (("properties", "segment_tiles:pixel_size", "value"), "3.5", "pixel_size.value is '3.5'"),
        (("properties", "segment_tiles:pixel_size", "value"), -1, "pixel_size.value is -1"),
        (("properties", "segment_tiles:pixel_size", "unit"), "ell", "unit is 'ell': it must be 'm'"),
        (("properties", "segment_tiles:extra"), [], "extra is"),
        (("assets", "model", "file:size"), "many", "file:size is 'many'"),
        (("assets", "model", "href"), "a\0", "href is"),
    ],
)
def test_a_wrong_type_in_model_json_is_named(package, path, value, text):
    def change(document):
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = value

    edit(change)(package)
    with pytest.raises(ModelError, match=text) as raised:
        load_manifest(package)
    assert str(package / "model.json") in str(raised.value)


@pytest.mark.parametrize("text", ['{"a": NaN}', '{"a": -Infinity}', "[" * 100_000])
def test_what_json_has_not_is_not_read(package, text):
    (package / "model.json").write_text(text)
    with pytest.raises(ModelError, match="is not JSON"):
        load_manifest(package)


def flip_a_byte(folder):
    path = folder / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def truncate(folder):
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def edit(change):
    def apply(folder):
        path = folder / "model.json"
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))

    return apply


def reseal_with(change):
    """Change the weights and make the manifest vouch for them."""

    def apply(folder):
        path = folder / "weights.safetensors"
        state = load_file(path)
        change(state)
        save_file(state, path)
        from segment_tiles.pipeline.models.packages.checksum import sha256_of_file  # noqa: PLC0415

        def vouch(document):
            asset = document["assets"]["model"]
            asset["file:checksum"], asset["file:size"] = "1220" + sha256_of_file(path), path.stat().st_size

        edit(vouch)(folder)

    return apply


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (flip_a_byte, "checksum"),
        (truncate, "bytes"),
        (lambda folder: (folder / "weights.safetensors").unlink(), "cannot be read"),
        (lambda folder: (folder / "model.json").unlink(), "not a model package"),
        (lambda folder: (folder / "model.json").write_text("{"), "not JSON"),
        (lambda folder: (folder / "model.json").write_text("[]"), "list"),
        (edit(lambda d: d["properties"].pop("mlm:input")), "mlm:input"),
        (edit(lambda d: d["properties"]["mlm:hyperparameters"].pop("backbone")), "backbone"),
        (edit(lambda d: d["assets"].clear()), "no weights"),
        (edit(lambda d: d["assets"]["model"].update(href="../weights.safetensors")), "beside"),
        (edit(lambda d: d["properties"]["mlm:input"][0]["bands"].append("blue")), "3 bands"),
        (edit(lambda d: d["properties"].update({"segment_tiles:overlap": 1.0})), "overlap"),
        (
            edit(lambda d: d["properties"]["mlm:hyperparameters"].update(output_stride=5)),
            "output stride is 5",
        ),
        (reseal_with(lambda state: state.pop("head.classifier.bias")), "1 missing: head.classifier.bias"),
        (reseal_with(lambda state: state.update(more=torch.zeros(1))), "1 unexpected: more"),
        (reseal_with(lambda state: state.update({"head.classifier.bias": torch.zeros(5)})), "another shape"),
    ],
)
def test_damage_is_named_and_refused(package, damage, text):
    damage(package)
    with pytest.raises(ModelError, match=text):
        load_network(package, load_manifest(package))


def test_weights_that_change_after_the_manifest_was_read_are_refused(package, network):
    manifest = load_manifest(package)
    other = build_network(LIGHT, 2, 2)
    save_model_package(package, MANIFEST, other.state_dict())
    with pytest.raises(ModelError, match="changed"):
        load_network(package, manifest)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"name": "a b"}, "model name"),
        ({"scaling": z_score((1.0,) * 3, (1.0,) * 3)}, "has 3 entries, but there are 2 bands"),
        ({"tile": 0}, "tile 0"),
        ({"architecture": replace(LIGHT, details={"multi_grid": (1, 2)})}, "multi_grid"),
        ({"bands": ("a",), "scaling": z_score((0.0,), (1.0,))}, "another shape"),
    ],
)
def test_a_manifest_that_does_not_fit_is_never_written(tmp_path, network, change, text):
    with pytest.raises(ModelError, match=text):
        save_model_package(tmp_path / "out", replace(MANIFEST, **change), network.state_dict())
    assert not (tmp_path / "out").exists()


def test_who_may_read_the_folder_may_read_the_model(tmp_path, network):
    shared, own = tmp_path / "shared", tmp_path / "own"
    for folder, mode in ((shared, 0o750), (own, 0o700)):
        folder.mkdir()
        folder.chmod(mode)
        save_model_package(folder, MANIFEST, network.state_dict())
    assert (shared / "weights.safetensors").stat().st_mode & 0o777 == 0o640
    assert (own / "weights.safetensors").stat().st_mode & 0o777 == 0o600


def test_a_folder_that_cannot_be_made_is_named(tmp_path, network):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(WriteFailedError, match="taken"):
        save_model_package(tmp_path / "taken", MANIFEST, network.state_dict())


def test_models_are_found_by_folder_and_unknown_ones_are_named(package, tmp_path):
    assert find_model(str(package)) == package
    with pytest.raises(ModelError, match="no-such-model"):
        find_model("no-such-model")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="holds no model"):
        find_model(str(tmp_path / "empty"))
    (tmp_path / "weights.pth").write_bytes(b"x")
    with pytest.raises(ModelError, match="model import"):
        find_model(str(tmp_path / "weights.pth"))
