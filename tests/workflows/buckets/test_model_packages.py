"""Model packages written into buckets: those that a folder gets, whole or not there, and they run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from servers.s3_server import on_every_server

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.models.package import load_manifest
from segment_tiles.pipeline.models.registry import find_model
from segment_tiles.pipeline.places import bucket as bucket_places
from segment_tiles.pipeline.places.address import place_at


def same_package(address: str, folder: Path) -> None:
    place = place_at(address)
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    assert set(place.list()) == set(files)
    for name, path in files.items():
        found = place.read(name)
        assert found is not None
        assert found.data == path.read_bytes(), name


def stride(model: Path, out: str) -> list[str]:
    return ["model", "stride", str(model), "--output-stride", "8", "--out", out]


@on_every_server
def test_another_stride_by_url_is_a_package(
    small_model: Path,
    bucket: Callable[[], str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address = f"{bucket()}/models/small-8"
    written: list[str] = []
    put_file = bucket_places.BucketPlace.put_file

    def noted(self: bucket_places.BucketPlace, key: str, path: Path) -> None:
        written.append(key)
        put_file(self, key, path)

    monkeypatch.setattr(bucket_places.BucketPlace, "put_file", noted)
    for out in (address, str(tmp_path / "small-8")):
        assert run_command_line(stride(small_model, out)) == 0
    same_package(address, tmp_path / "small-8")
    assert written[-1] == "small-8/model.json", "it says that a package is there"
    assert place_at(address.rpartition("/")[0]).list() == [
        "small-8/model.json", "small-8/weights.safetensors",
    ]  # fmt: skip
    assert load_manifest(find_model(address)).architecture.output_stride == 8
    assert address in capsys.readouterr().out.replace("\n", "")
    assert run_command_line(stride(small_model, address)) == 2
    assert f"{address}: is a model package already" in capsys.readouterr().err


def test_a_graph_is_imported_by_url(
    bucket: Callable[[], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    value, kind = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    weight = onnx.numpy_helper.from_array(np.array([1, -1], np.float32).reshape(2, 1, 1, 1), "w")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Conv", ["x", "w"], ["y"])], "two", [value("x", kind, ["n", 1, "h", "w"])],
        [value("y", kind, ["n", 2, "h", "w"])], [weight],
    )  # fmt: skip
    operators = [onnx.helper.make_opsetid("", 17)]
    onnx.save_model(
        onnx.helper.make_model(graph, opset_imports=operators, ir_version=8), str(tmp_path / "two.onnx")
    )
    words = [
        "model", "import", str(tmp_path / "two.onnx"), "--classes", "dark,light", "--mean", "120", "--std", "60",
        "--tile", "32", "--bands", "grey", "--out",
    ]  # fmt: skip
    address = f"{bucket()}/two"
    for out in (address, str(tmp_path / "two")):
        assert run_command_line([*words, out]) == 0
    same_package(address, tmp_path / "two")
    assert load_manifest(find_model(address)).name == "two"
    assert run_command_line([*words[:3], *words[5:], f"{address}-b"]) == 2
    assert "--classes is needed" in capsys.readouterr().err
    assert place_at(f"{address}-b").list() == []


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("s3://there-is-none/net", "there is no such bucket"),
        ("s3://there-is-none", "names a bucket, but nothing in it; give s3://there-is-none/NAME"),
        ("ftp://host/net", "results cannot be written to ftp://"),
    ],
)
def test_what_cannot_be_written_to_is_refused_in_one_line(
    out: str, words: str, small_model: Path, s3: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(stride(small_model, out)) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert words in lines[0]
