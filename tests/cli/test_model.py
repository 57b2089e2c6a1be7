"""`segment-tiles model`: what users bring becomes a model, or is refused in one line."""

import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from torch import nn

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.models.networks.build import build_network
from segment_tiles.pipeline.models.networks.settings import default_rates
from segment_tiles.pipeline.models.package import load_manifest, load_network, save_model_package
from segment_tiles.pipeline.models.packages.manifest import Architecture, ModelManifest
from segment_tiles.pipeline.models.scaling.scaling import z_score
from segment_tiles.workflows.model_packages.weights_import import class_table

smp = pytest.importorskip("segmentation_models_pytorch")


@pytest.fixture(scope="module")
def smp_network():
    torch.manual_seed(0)
    return smp.DeepLabV3Plus("resnet18", encoder_weights=None, classes=3).eval()


@pytest.fixture(scope="module")
def bare(smp_network, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "bare.pth"
    torch.save(smp_network.state_dict(), path)
    return path


def run(*words: object) -> int:
    return run_command_line([str(word) for word in words])


def answer(capsys, *words):
    assert run(*words, "--json") == 0
    return json.loads(capsys.readouterr().out)


def complaint(capsys, *words):
    """Return the one line that a refusal prints."""
    capsys.readouterr()
    assert run(*words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    return line


def test_import_inspect_and_list(tmp_path, capsys, smp_network):
    smp_network.save_pretrained(tmp_path / "smp")
    out = tmp_path / "from-smp"
    imported = answer(
        capsys, "model", "import", tmp_path / "smp", "--out", out, "--classes", "a,b,c", "--tile", 96
    )
    assert imported["source"] == "segmentation_models_pytorch"
    assert imported["assumptions"] == ["mean and std: ImageNet's, times 255"]
    manifest = load_manifest(out)
    assert manifest.mean == (123.675, 116.28, 103.53)  # ImageNet's, times 255
    assert manifest.classes.names == ("a", "b", "c")
    image = torch.randn(1, 3, 96, 96)
    with torch.inference_mode():
        expected, found = smp_network(image), load_network(out, manifest)(image)
    assert (found - expected).abs().max() <= 1e-4 * (expected.max() - expected.min())

    inspected = answer(capsys, "model", "inspect", out)
    assert inspected["architecture"]["backbone"] == "resnet18"
    assert inspected["parameters"] == sum(p.numel() for p in smp_network.parameters())
    assert inspected["halo"] == 24
    assert inspected["reach"]["furthest"] > inspected["reach"]["effective"] > inspected["halo"]
    assert any("global image pooling" in warning for warning in inspected["warnings"])

    again = ("model", "import", tmp_path / "smp", "--out", tmp_path / "new", "--classes", "a,b,c")
    line = complaint(capsys, *again, "--output-stride", 8)
    assert "config.json says" in line

    listed = answer(capsys, "model", "list", out)
    assert listed[-1]["architecture"] == "deeplabv3plus"
    assert run("model", "inspect", out) == 0
    assert "multiply-adds" in capsys.readouterr().out


def test_mean_std_and_bands_are_the_users(tmp_path, capsys):
    torch.manual_seed(0)
    network = smp.DeepLabV3("resnet18", encoder_weights=None, in_channels=4, classes=1)
    torch.save(network.state_dict(), tmp_path / "four.pth")
    answer(
        capsys, "model", "import", tmp_path / "four.pth", "--out", tmp_path / "four", "--classes", "rest,tree",
        "--bands", "red,green,blue,nir", "--dtype", "uint16", "--mean", "1,2,3,4", "--std", "5,6,7,8.5",
        "--output-stride", "16", "--atrous-rates", "6,12,18",
    )  # fmt: skip
    manifest = load_manifest(tmp_path / "four")
    assert (manifest.mean, manifest.std) == ((1, 2, 3, 4), (5, 6, 7, 8.5))
    assert (manifest.bands, manifest.dtype) == (("red", "green", "blue", "nir"), "uint16")
    assert (manifest.architecture.output_stride, manifest.architecture.atrous_rates) == (16, (6, 12, 18))
    out = tmp_path / "by-tile"
    words = (
        "--classes",
        "rest,tree",
        "--dtype",
        "uint16",
        "--output-stride",
        "16",
        "--atrous-rates",
        "6,12,18",
    )
    answer(
        capsys,
        "model",
        "import",
        tmp_path / "four.pth",
        "--out",
        out,
        *words,
        "--scaling",
        "physical+z-score:tile",
    )
    inspected = answer(capsys, "model", "inspect", out)
    assert inspected["scaling"] == "physical values, z-score of each tile, band by band"
    assert (inspected["mean"], inspected["values"]) == (None, "physical")
    assert run("model", "inspect", out) == 0
    assert "z-score of each tile" in capsys.readouterr().out
    ours = load_network(tmp_path / "four", manifest)
    image = torch.randn(1, 4, 64, 64)
    with torch.inference_mode():
        # one sigmoid became two classes
        assert ours(image)[:, 0].abs().max() == 0


def test_the_same_weights_at_a_finer_output_stride(tmp_path, capsys, bare):
    coarse, fine = tmp_path / "at-16", tmp_path / "at-8"
    answer(capsys, "model", "import", bare, "--out", coarse, "--classes", "a,b,c")
    changed = answer(capsys, "model", "stride", coarse, "--out", fine, "--output-stride", 8)
    assert changed["atrous_rates"] == [24, 48, 72]
    before, after = (load_network(folder, load_manifest(folder)) for folder in (coarse, fine))
    assert all(torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True))
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert before.backbone(image)[-1].shape[-1] == 4
        assert after.backbone(image)[-1].shape[-1] == 8
    assert "--output-stride 7" in complaint(
        capsys, "model", "stride", coarse, "--out", tmp_path / "x", "--output-stride", 7
    )
    assert "is a model package already" in complaint(
        capsys, "model", "stride", coarse, "--out", coarse, "--output-stride", 8
    )


class Evil:
    def __reduce__(self):
        return (Path("ran").touch, ())


def truncated(path, source):
    path.write_bytes(source.read_bytes()[: source.stat().st_size // 2])


def test_bad_checkpoints_are_refused_in_one_line(tmp_path, capsys, bare, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {}, "hook": Evil()}, "evil.pth")
    torch.save({"state_dict": {}, "hook": Evil()}, "evil_old.pth", _use_new_zipfile_serialization=False)
    truncated(tmp_path / "half.pth", bare)
    torch.save({"epoch": 3}, "empty.pth")
    torch.save(nn.Conv2d(3, 2, 1).state_dict(), "conv.pth")
    state = torch.load(bare)
    torch.save({k: v for k, v in state.items() if k != "decoder.block1.0.weight"}, "missing.pth")
    torch.save({**state, "decoder.extra.weight": torch.zeros(1)}, "more.pth")
    (tmp_path / "half.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    (tmp_path / "text.pth").write_text("hello")
    (tmp_path / "folder").mkdir()
    cases = {
        "evil.pth": "would execute code",
        "evil_old.pth": "would execute code",
        "half.pth": "not a complete checkpoint",
        "empty.pth": "holds no weights",
        "conv.pth": "is no DeepLabv3 or v3+",
        "missing.pth": "1 missing: head.project_low.conv.weight",
        "more.pth": "1 unexpected: decoder.extra.weight",
        "half.safetensors": "not a complete safetensors file",
        "text.pth": "text.pth",
        "folder": "config.json",
        "absent.pth": "does not exist",
    }
    for name, text in cases.items():
        line = complaint(capsys, "model", "import", name, "--out", "out", "--classes", "a,b,c")
        assert name in line
        assert text in line
    assert not Path("ran").exists()
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("words", "texts"),
    [
        (["--classes", "a,b"], ["3 outputs", "--classes names 2"]),
        (["--classes", "a,b,c", "--bands", "r,g"], ["3 input bands", "--bands names 2"]),
        (["--classes", "a,b,a"], ["repeat"]),
        (["--classes", "a,,b"], ["--classes", "empty"]),
        (["--classes", "a,b,c", "--mean", "1,2"], ["--mean", "2 values for 3 bands"]),
        (["--classes", "a,b,c", "--mean", "1,2,x"], ["--mean", "'1,2,x'"]),
        (["--classes", "a,b,c", "--std", "0,1,1"], ["above 0"]),
        (["--classes", "a,b,c", "--dtype", "uint16"], ["--mean is needed"]),
        (["--classes", "a,b,c", "--scaling", "log"], ["--scaling is 'log'", "is not known"]),
        (["--classes", "a,b,c", "--scaling", "scale:2", "--std", "1,1,1"], ["give either it or them"]),
        (["--classes", "a,b,c", "--dtype", "text"], ["--dtype"]),
        (["--classes", "a,b,c", "--tile", "0"], ["--tile 0"]),
        (["--classes", "a,b,c", "--tile", "500"], ["--tile 500", "multiple of the output stride 16"]),
        (["--classes", "a,b,c", "--output-stride", "7"], ["--output-stride 7"]),
        (["--classes", "a,b,c", "--atrous-rates", "6,0"], ["--atrous-rates"]),
    ],
)
def test_words_that_do_not_fit_are_refused_in_one_line(tmp_path, capsys, bare, words, texts):
    line = complaint(capsys, "model", "import", bare, "--out", tmp_path / "out", *words)
    assert all(text in line for text in texts), line
    assert not (tmp_path / "out").exists()


def test_a_fixed_onnx_file_has_its_own_tile_and_a_script_needs_trust(tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    network = nn.Conv2d(3, 2, 1)
    image = torch.zeros(1, 3, 32, 32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (image,), str(tmp_path / "fixed.onnx"), dynamo=True, verbose=False)
        torch.jit.save(torch.jit.trace(network, image), str(tmp_path / "script.pt"))
    out, words = tmp_path / "out", ("--classes", "a,b", "--tile", 64)
    capsys.readouterr()
    assert "images of 32 x 32 alone" in complaint(
        capsys, "model", "import", tmp_path / "fixed.onnx", "--out", out, *words
    )
    fixed = answer(capsys, "model", "import", tmp_path / "fixed.onnx", "--out", tmp_path / "own", *words[:2])
    assert fixed["tile"] == 32
    assert answer(capsys, "model", "inspect", tmp_path / "own")["output"]["fixed_side"] is True
    assert "--trust" in complaint(capsys, "model", "import", tmp_path / "script.pt", "--out", out, *words)
    assert not out.exists()
    imported = answer(capsys, "model", "import", tmp_path / "script.pt", "--out", out, *words, "--trust")
    assert imported["architecture"] == "torchscript"
    assert "--trust" in complaint(capsys, "model", "inspect", out)
    assert answer(capsys, "model", "inspect", out, "--trust")["parameters"] is None


def test_list_and_inspect_say_scores_and_limits(capsys, monkeypatch):
    listed = {model["name"]: model for model in answer(capsys, "model", "list")}
    canopy, nuclei = listed["canopy-rgb"], listed["nuclei"]
    assert set(canopy["scores"]["left_out"]) == {"yellowstone", "soaproot", "ordway"}
    left_out = [place["mean_iou"] for place in canopy["scores"]["left_out"].values()]
    assert canopy["scores"]["held_out"]["mean_iou"] > max(left_out)
    assert nuclei["scores"]["held_out"]["object_f1"]["nucleus"] > 0.8
    assert all(model["scores"]["held_out"] and model["limits"] for model in listed.values())
    monkeypatch.setenv("COLUMNS", "300")
    assert run("model", "list") == 0
    printed = capsys.readouterr().out
    assert "mean IoU 0.77 held out, 0.44 to 0.48 at a place left out" in printed
    assert "F1 of nucleus 0.85 (0.78 to 0.86 by area) held out" in printed
    assert "seen from above. It knows three places only" in printed
    assert run("model", "inspect", "canopy-rgb") == 0
    printed = capsys.readouterr().out
    assert "It knows three places only" in printed
    assert "0.44 to 0.48 at a place left out" in printed


def test_a_model_without_scores_is_listed_without(tmp_path, capsys, bare):
    assert run("model", "import", bare, "--out", tmp_path / "bare", "--classes", "a,b,c") == 0
    capsys.readouterr()
    model = answer(capsys, "model", "list", tmp_path / "bare")[-1]
    assert (model["scores"], model["limits"]) == ({}, [])


def test_list_as_a_process_is_one_json_document():
    done = subprocess.run(
        [str(Path(sys.executable).with_name("segment-tiles")), "model", "list", "--json"],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert isinstance(json.loads(done.stdout), list)
    assert done.stderr == ""


def write_scene(path):
    values = np.random.default_rng(0).integers(0, 255, (3, 70, 100), dtype=np.uint8)
    with rasterio.open(
        path, "w", driver="GTiff", width=100, height=70, count=3, dtype="uint8",
        crs="EPSG:32633", transform=rasterio.Affine(1, 0, 1000, 0, -1, 2000),
    ) as dataset:  # fmt: skip
        dataset.write(values)
    return path


def test_an_imported_onnx_file_runs(tmp_path, capsys):
    """Brighter than the mean is class 1: a 1x1 convolution whose answer is known."""
    pytest.importorskip("onnxruntime")
    conv = nn.Conv2d(3, 1, 1)
    with torch.no_grad():
        conv.weight.fill_(1.0)
        conv.bias.fill_(0.0)
    free = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            conv, (torch.zeros(2, 3, 32, 48),), str(tmp_path / "m.onnx"), dynamo=True, verbose=False,
            dynamic_shapes=(free,),
        )  # fmt: skip
    capsys.readouterr()
    answer(
        capsys, "model", "import", tmp_path / "m.onnx", "--out", tmp_path / "bright", "--classes", "dark,bright",
        "--mean", "127,127,127", "--std", "1,1,1", "--tile", 64,
    )  # fmt: skip
    scene = write_scene(tmp_path / "scene.tif")
    answer(
        capsys, "run", scene, "--model", tmp_path / "bright", "--out", tmp_path / "out", "--format", "zarr,cog",
        "--device", "cpu", "--batch", 2,
    )  # fmt: skip
    with rasterio.open(scene) as source, rasterio.open(tmp_path / "out" / "classes.tif") as found:
        bright = source.read().astype(int).sum(0) > 3 * 127
        assert np.array_equal(found.read(1), bright.astype(np.uint8))


@pytest.mark.parametrize("kind", ["script.pt", "program.pt2"])
def test_a_graph_that_may_execute_code_runs_with_trust(tmp_path, capsys, kind):
    """The same known answer as above, through TorchScript and torch.export."""
    conv = nn.Conv2d(3, 1, 1)
    with torch.no_grad():
        conv.weight.fill_(1.0)
        conv.bias.fill_(0.0)
    image = torch.zeros(2, 3, 64, 64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == "script.pt":
            torch.jit.save(torch.jit.trace(conv, image), str(tmp_path / kind))
        else:
            free = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
            torch.export.save(torch.export.export(conv, (image,), dynamic_shapes=(free,)), tmp_path / kind)
    model = tmp_path / "bright"
    words = ("--classes", "dark,bright", "--mean", "127,127,127", "--std", "1,1,1", "--tile", 64, "--trust")
    answer(capsys, "model", "import", tmp_path / kind, "--out", model, *words)
    scene, out = write_scene(tmp_path / "scene.tif"), tmp_path / "out"
    run = ("run", scene, "--model", model, "--out", out, "--format", "zarr,cog", "--device", "cpu")
    assert "--trust" in complaint(capsys, *run)
    answer(capsys, *run, "--trust")
    with rasterio.open(scene) as source, rasterio.open(out / "classes.tif") as found:
        bright = source.read().astype(int).sum(0) > 3 * 127
        assert np.array_equal(found.read(1), bright.astype(np.uint8))


@pytest.mark.parametrize(
    ("arch", "backbone", "stride", "crf", "backend"),
    [
        ("deeplabv1", "vgg16", 8, True, "torch"),
        ("deeplabv2", "resnet18", 8, True, "torch"),
        ("deeplabv3", "resnet10t", 16, False, "torch"),
        ("deeplabv3plus", "resnet10t", 16, False, "auto"),
        ("unet", "basic", 16, False, "torch"),
        ("segformer", "mit_b0", 32, False, "torch"),
    ],
)
def test_every_version_runs(tmp_path, capsys, arch, backbone, stride, crf, backend):
    """v1, v2 (both with the fully connected CRF), v3, v3+ and what they compare with, from scene to class map."""
    if crf:
        pytest.importorskip("pydensecrf.densecrf")
    rates = default_rates(arch, stride) if arch.startswith("deeplab") else (1,)
    architecture = Architecture(arch, backbone, stride, rates)
    torch.manual_seed(0)
    state = build_network(architecture, 3, 2).state_dict()
    manifest = ModelManifest(
        arch, architecture, ("red", "green", "blue"), "uint8", z_score((120.0,) * 3, (60.0,) * 3), 64, 0.25,
        class_table(("dark", "bright")), extra={"crf": {"iterations": 2}} if crf else {},
    )  # fmt: skip
    save_model_package(tmp_path / "model", manifest, state)
    scene = write_scene(tmp_path / "scene.tif")
    report = answer(
        capsys, "run", scene, "--model", tmp_path / "model", "--out", tmp_path / "out",
        "--format", "zarr,cog", "--device", "cpu", "--batch", 2, "--backend", backend,
    )  # fmt: skip
    assert report["was_finished"] is False
    with rasterio.open(tmp_path / "out" / "classes.tif") as dataset:
        classes = dataset.read(1)
    assert classes.shape == (70, 100)
    assert set(np.unique(classes)) <= {0, 1}


def test_inspect_measures_the_seams_of_a_scene(small_model, tmp_path, capsys):
    place = {"crs": "EPSG:32612", "transform": rasterio.Affine(1, 0, 5e5, 0, -1, 4e6)}
    profile = {"driver": "GTiff", "count": 3, "dtype": "uint8", **place}
    values = np.random.default_rng(0).integers(0, 255, (3, 100, 100), dtype=np.uint8)
    for side, path in ((100, tmp_path / "scene.tif"), (40, tmp_path / "small.tif")):
        with rasterio.open(path, "w", height=side, width=side, **profile) as file:
            file.write(values[:, :side, :side])
    seams = answer(capsys, "model", "inspect", small_model, "--scene", tmp_path / "scene.tif")["seams"]
    # two by two tiles of 64 px, 16 of them shared, and 52 of the second ones inside
    assert seams["pixels"] == 2 * 16 * (64 + 52)
    assert 0 < seams["score_difference"] < 1
    assert 0 <= seams["class_share"] < 1
    assert run("model", "inspect", small_model, "--scene", tmp_path / "scene.tif") == 0
    assert "neighbouring tiles give" in " ".join(capsys.readouterr().out.split())
    said = complaint(capsys, "model", "inspect", small_model, "--scene", tmp_path / "small.tif")
    assert "one tile of 64 px" in said
    assert answer(capsys, "model", "inspect", small_model)["seams"] is None
