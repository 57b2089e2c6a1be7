"""TorchScript, torch.export and ONNX files: what they compute, and what is refused."""

import struct
import sys
import warnings
import zipfile
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.export import Dim

from segment_tiles.pipeline.errors import MissingExtraError, ModelError, UsageError
from segment_tiles.pipeline.grid.classes import ClassTable, MapClass
from segment_tiles.pipeline.models.graphs.checked_import import GraphOptions, import_graph
from segment_tiles.pipeline.models.graphs.packaged import graph_kind, load_graph
from segment_tiles.pipeline.models.graphs.probing import Asked
from segment_tiles.pipeline.models.package import load_manifest, load_network, save_graph_package
from segment_tiles.pipeline.models.packages.geometry import OutputGeometry
from segment_tiles.pipeline.models.packages.manifest import GRAPH_FILES, ModelManifest
from segment_tiles.pipeline.models.scaling.scaling import z_score
from segment_tiles.pipeline.models.segmenter import Segmenter


class Net(nn.Module):
    """Three bands in; what comes out is set by `ending`."""

    def __init__(self, classes=2, ending="logits"):
        super().__init__()
        self.conv, self.ending = nn.Conv2d(3, classes, 3, padding=1), ending

    def forward(self, x):
        y = self.conv(x)
        if self.ending == "softmax":
            return y.softmax(1)
        if self.ending == "sigmoid":
            return y.sigmoid()
        if self.ending == "argmax":
            return y.argmax(1)
        if self.ending == "labels":
            return y.argmax(1, keepdim=True).float()
        if self.ending == "threshold":
            return (y > 0).float()
        if self.ending == "one short":
            return y[..., 1:, 1:]
        return y[..., ::2, ::2] if self.ending == "half" else y


DYNAMIC = ({0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC},)


def write(kind, path, net, dynamic=DYNAMIC):
    net.eval()
    image = torch.randn(2, 3, 32, 48)
    if kind == "torchscript":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.save(torch.jit.trace(net, image), str(path))
    elif kind == "torch_export":
        torch.export.save(torch.export.export(net, (image,), dynamic_shapes=dynamic), path)
    else:
        pytest.importorskip("onnxscript")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                net,
                (image,),
                str(path),
                dynamo=True,
                dynamic_shapes=dynamic,
                external_data=True,
                verbose=False,
            )
    return path


def imported(kind, path, copy, bands=3):
    return import_graph(path, kind, copy, GraphOptions(bands, 64, trust=True))


@pytest.fixture(params=["torchscript", "torch_export", "onnx"])
def kind(request):
    if request.param == "onnx":
        pytest.importorskip("onnxruntime")
    return request.param


def suffix(kind):
    return {"torchscript": "model.pt", "torch_export": "model.pt2", "onnx": "model.onnx"}[kind]


def test_a_packaged_graph_segments_like_the_network_it_came_from(tmp_path, kind):
    net = Net()
    path = write(kind, tmp_path / suffix(kind), net)
    assert graph_kind(path) == kind
    folder = tmp_path / "package"
    folder.mkdir()
    graph = imported(kind, path, folder / "copy")
    classes = ClassTable((MapClass(0, "a", (0, 0, 0)), MapClass(1, "b", (1, 1, 1))))
    manifest = ModelManifest(
        "a-graph",
        graph.architecture,
        ("r", "g", "b"),
        "uint8",
        z_score((100.0,) * 3, (50.0,) * 3),
        64,
        0.25,
        classes,
    )
    save_graph_package(folder, manifest, folder / "copy")
    assert sorted(p.name for p in folder.iterdir()) == sorted(["model.json", GRAPH_FILES[kind]])
    manifest = load_manifest(folder)
    network = load_network(folder, manifest, trust=True)
    segmenter = Segmenter(network, manifest, torch.device("cpu"), "bf16")
    values = torch.randint(0, 255, (3, 3, 40, 56), dtype=torch.uint8)
    with torch.inference_mode():
        # the graph itself runs in float32; what it is shown was rounded to bfloat16
        shown = ((values.float() - 100) / 50).to(torch.bfloat16).float()
        expected = net(shown).softmax(1)
    torch.testing.assert_close(segmenter.scores(values), expected, rtol=1e-4, atol=1e-4)


def test_graphs_that_execute_need_trust(tmp_path, kind):
    path = write(kind, tmp_path / suffix(kind), Net())
    architecture = imported(kind, path, tmp_path / "copy").architecture
    if kind == "onnx":
        load_graph(path, architecture, trust=False)
    else:
        with pytest.raises(ModelError, match="--trust"):
            load_graph(path, architecture, trust=False)


def test_probabilities_are_recognised_and_taken_as_they_are(tmp_path, kind):
    path = write(kind, tmp_path / suffix(kind), Net(3, "softmax"))
    graph = imported(kind, path, tmp_path / "copy")
    assert graph.architecture.details == {"activation": "probabilities"}
    network = load_graph(tmp_path / "copy", graph.architecture, trust=True)
    image = torch.randn(1, 3, 32, 32)
    assert torch.equal(network(image), load_raw(path, kind)(image))
    # a package of an earlier version keeps its map
    before = replace(graph.architecture, details={"activation": "softmax"})
    network = load_graph(tmp_path / "copy", before, trust=True)
    torch.testing.assert_close(network(image).softmax(1), load_raw(path, kind)(image))


def load_raw(path, kind):
    if kind != "onnx":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.jit.load(str(path)) if kind == "torchscript" else torch.export.load(path).module()
    session = pytest.importorskip("onnxruntime").InferenceSession(str(path))
    return lambda image: torch.from_numpy(session.run(None, {session.get_inputs()[0].name: image.numpy()})[0])


@pytest.mark.parametrize("ending", ["logits", "sigmoid"])
def test_one_output_becomes_background_and_class(tmp_path, ending):
    net = Net(1, ending)
    graph = imported("torchscript", write("torchscript", tmp_path / "m.pt", net), tmp_path / "copy")
    assert graph.outputs == 1
    network = load_graph(tmp_path / "copy", graph.architecture, trust=True)
    image = torch.randn(1, 3, 32, 32)
    raw = net(image).sigmoid() if ending == "logits" else net(image)
    found = network(image).softmax(1) if ending == "logits" else network(image)
    torch.testing.assert_close(found[:, 1:], raw, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.sum(1), torch.ones(1, 32, 32))


@pytest.mark.parametrize(
    ("net", "bands", "text"),
    [(Net(), 4, "4"), (Net(ending="one short"), 3, "answers 64 px by 63 px.*say how it lies")],
)
def test_graphs_that_do_not_fit_are_refused(tmp_path, kind, net, bands, text):
    path = write(kind, tmp_path / suffix(kind), net)
    with pytest.raises(ModelError, match=text):
        imported(kind, path, tmp_path / "copy", bands=bands)


@pytest.mark.parametrize("fixed", ["torch_export", "onnx"])
def test_fixed_sizes_that_are_no_squares_are_refused(tmp_path, fixed):
    if fixed == "onnx":
        pytest.importorskip("onnxruntime")
    path = write(fixed, tmp_path / suffix(fixed), Net(), dynamic=None)
    with pytest.raises(ModelError, match="fixed size 32 x 48"):
        imported(fixed, path, tmp_path / "copy")


class Fixed(nn.Module):
    """Takes images of 32 x 32 alone, one at a time, and a constant; of its two outputs one is coarser by 2."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 2, stride=2)

    def forward(self, x, gain):
        y = self.conv(x).reshape(1, 2, 16, 16)
        return {"aux": -y, "scores": y * gain}


@pytest.mark.parametrize("fixed", ["torchscript", "torch_export"])
def test_a_fixed_graph_of_torch_is_run_at_its_size_with_its_constant(tmp_path, fixed):
    net, inputs = Fixed().eval(), (torch.randn(1, 3, 32, 32), torch.tensor(2.0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if fixed == "torchscript":
            torch.jit.save(torch.jit.trace(net, inputs, strict=False), tmp_path / "net")
        else:
            torch.export.save(torch.export.export(net, inputs), tmp_path / "net")
    options = GraphOptions(3, 32, trust=True, output="scores", constants={"gain": 2.0})
    with pytest.raises(UsageError, match=r"say --margin 8 .* or --coarser 2"):
        import_graph(tmp_path / "net", fixed, tmp_path / "copy", options)
    asked = replace(options, asked=Asked(coarser=2))
    graph = import_graph(tmp_path / "net", fixed, tmp_path / "copy", asked)
    assert (graph.tile, graph.geometry) == (32, OutputGeometry(coarser=2, fixed_side=True))
    assert graph.architecture.details == {"batch": 1, "output": "scores", "constants": {"gain": 2.0}}
    network = load_graph(tmp_path / "copy", graph.architecture, trust=True)
    image = torch.randn(3, 3, 32, 32)
    expected = torch.cat([net(one, torch.tensor(2.0))["scores"] for one in image.split(1)])
    torch.testing.assert_close(network(image), expected)
    for wrong, text in (({}, "beside its image"), ({"loud": 1.0}, "beside its image")):
        with pytest.raises(ModelError, match=text):
            import_graph(tmp_path / "net", fixed, tmp_path / "copy", replace(asked, constants=wrong))


@pytest.mark.parametrize("ending", ["half", "logits"])
def test_how_an_output_lies_is_found_out_of_a_graph_of_any_size(tmp_path, kind, ending):
    graph = imported(kind, write(kind, tmp_path / suffix(kind), Net(ending=ending)), tmp_path / "copy")
    assert graph.geometry == OutputGeometry(coarser=2 if ending == "half" else 1)


def test_an_onnx_batch_fixed_to_one_runs_item_by_item(tmp_path):
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    path = write("onnx", tmp_path / "m.onnx", Net())
    model = onnx.load(str(path))
    for tensor in (*model.graph.input, *model.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_value = 1
    del model.graph.value_info[:]
    onnx.save_model(model, str(path))
    graph = imported("onnx", path, tmp_path / "copy.onnx")
    network = load_graph(tmp_path / "copy.onnx", graph.architecture, trust=False)
    assert network(torch.randn(3, 3, 16, 16)).shape == (3, 2, 16, 16)


def test_truncated_graphs_are_refused(tmp_path, kind):
    path = write(kind, tmp_path / suffix(kind), Net())
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ModelError, match="complete"):
        imported(kind, path, tmp_path / "copy")


@pytest.mark.parametrize("kind", ["torchscript", "torch_export"])
def test_damaged_graphs_are_refused_without_a_traceback_in_the_log(tmp_path, kind, caplog):
    path = write(kind, tmp_path / suffix(kind), Net())
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 255
    path.write_bytes(data)
    caplog.clear()
    with pytest.raises(ModelError, match="not a complete file"):
        imported(kind, path, tmp_path / "copy")
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


def test_a_damaged_compressed_part_is_refused(tmp_path):
    path = write("torchscript", tmp_path / suffix("torchscript"), Net())
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        part = next(info for info in archive.infolist() if info.compress_type == zipfile.ZIP_DEFLATED)
    name, extra = struct.unpack_from("<HH", data, part.header_offset + 26)
    data[part.header_offset + 30 + name + extra] = 0xFF  # no kind of block begins so
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"not a complete file: .*invalid block type"):
        imported("torchscript", path, tmp_path / "copy")


def test_the_missing_library_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    (tmp_path / "m.onnx").write_bytes(b"")
    with pytest.raises(MissingExtraError, match=r"segment-tiles\[onnx\]"):
        imported("onnx", tmp_path / "m.onnx", tmp_path / "copy")


@pytest.mark.parametrize(
    ("classes", "ending", "text"),
    [
        (3, "argmax", r"returns labels, int64 of shape \(1, 64, 64\)"),
        (3, "labels", "whole numbers alone"),
        (1, "threshold", "whole numbers alone"),
        (3, "sigmoid", r"3 values from 0 to 1 that do not sum to 1: several sigmoids"),
    ],
)
def test_outputs_that_are_no_scores_of_one_class_are_refused(tmp_path, kind, classes, ending, text):
    path = write(kind, tmp_path / suffix(kind), Net(classes, ending))
    with pytest.raises(ModelError, match=text) as caught:
        imported(kind, path, tmp_path / "copy")
    assert str(path) in str(caught.value)


def test_small_logits_are_no_probabilities(tmp_path):
    """Between 0 and 1 on usual noise: only stronger noise tells them from a sigmoid."""
    net = Net(1)
    torch.nn.init.constant_(net.conv.weight, 1e-2)
    torch.nn.init.constant_(net.conv.bias, 0.5)
    graph = imported("torchscript", write("torchscript", tmp_path / "m.pt", net), tmp_path / "copy")
    assert graph.architecture.details == {"background": True}


def test_graphs_that_hold_no_numbers_are_refused_by_name(tmp_path, kind):
    net = Net()
    with torch.no_grad():
        net.conv.weight[0, 0, 0, 0] = float("nan")
    path = write(kind, tmp_path / suffix(kind), net)
    with pytest.raises(ModelError, match=r"NaN or infinity in .*conv\.weight"):
        imported(kind, path, tmp_path / "copy")


def test_errors_name_the_users_file_not_its_copy(tmp_path, kind):
    path = write(kind, tmp_path / suffix(kind), Net())
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ModelError, match="complete") as caught:
        imported(kind, path, tmp_path / "copy")
    assert str(path) in str(caught.value)
    assert str(tmp_path / "copy") not in str(caught.value)


def test_onnx_runtime_writes_no_warning_of_its_own(tmp_path, capfd):
    """Found by `make fuzz`: an initializer that nothing uses is a warning in colour on stderr."""
    onnx = pytest.importorskip("onnx")
    path = tmp_path / "net.onnx"
    write("onnx", path, Net())
    graph = onnx.load(path)
    graph.graph.initializer.append(onnx.numpy_helper.from_array(torch.ones(3).numpy(), "nobody"))
    onnx.save(graph, path)
    capfd.readouterr()
    imported("onnx", path, tmp_path / "copy")
    assert capfd.readouterr().err == ""
