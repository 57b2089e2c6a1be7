"""Backends: the same map as float32 in torch, converted once, made again where the conversion is damaged."""

from __future__ import annotations

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import nn

from segment_tiles.pipeline.errors import MissingExtraError, ModelError
from segment_tiles.pipeline.models import precision
from segment_tiles.pipeline.models.backends.conversions import BESIDE, COMPLETE
from segment_tiles.pipeline.models.backends.known import BACKENDS, offered, require_backend
from segment_tiles.pipeline.models.backends.protocol import Preparation
from segment_tiles.pipeline.models.package import load_manifest, load_network
from segment_tiles.pipeline.models.segmenter import Segmenter
from segment_tiles.pipeline.models.trials import fastest_accepted

CPU = torch.device("cpu")
needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="needs the extra openvino")
needs_onnx = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="needs the extra onnx",
)
DATA_BACKENDS = [pytest.param("openvino", marks=needs_openvino), pytest.param("onnx", marks=needs_onnx)]


def tiles(batch: int) -> torch.Tensor:
    coarse = torch.randint(0, 255, (batch, 3, 8, 8), generator=torch.Generator().manual_seed(1))
    return coarse.repeat_interleave(8, 2).repeat_interleave(8, 3).to(torch.uint8)


@pytest.mark.parametrize("backend", DATA_BACKENDS)
def test_a_converted_model_gives_the_same_map_and_is_kept(
    backend: str, small_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # without what other tests of this process had converted
    package = shutil.copytree(small_model, tmp_path / "model", ignore=shutil.ignore_patterns(BESIDE))
    manifest = load_manifest(package)
    network = load_network(package, manifest)
    values, valid = tiles(2), torch.ones(2, 64, 64, dtype=torch.bool)
    valid[0, :20] = False
    expected = Segmenter(network, manifest, CPU).scores(values, valid)

    def converted() -> torch.Tensor:
        segmenter = Segmenter(network, manifest, CPU, backend=backend, batch=2, folder=package)
        return segmenter.scores(values, valid)

    first = converted()
    trial = precision.compare("fp32", first, expected, valid, 1.0, backend)
    assert trial.is_accepted
    assert trial.largest_difference < 1e-3
    (folder,) = (package / BESIDE).iterdir()
    written = (folder / COMPLETE).stat().st_mtime_ns
    torch.testing.assert_close(converted(), first, rtol=0, atol=0)
    assert (folder / COMPLETE).stat().st_mtime_ns == written, "it was converted again"
    assert "damaged" not in caplog.text

    damaged = next(path for path in folder.iterdir() if path.name != COMPLETE)
    damaged.write_bytes(damaged.read_bytes()[:-7])
    torch.testing.assert_close(converted(), first, rtol=0, atol=0)
    assert "is damaged; the model is converted again" in caplog.text
    assert [path.name for path in (package / BESIDE).iterdir()] == [folder.name]


class Tiny(nn.Module):
    """Compiles in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.second(torch.relu(self.first(image)))


@pytest.mark.slow
def test_a_compiled_network_is_loaded_at_the_second_start(small_model: Path) -> None:
    runs = BACKENDS["compile"]
    reason = runs.unavailable(CPU)
    if reason is not None:
        pytest.skip(reason)
    network = Tiny().eval()
    preparation = Preparation((1, 3, 64, 64), CPU, "fp32", "checksum of Tiny", small_model)
    image = torch.randn(1, 3, 64, 64)
    assert not runs.is_prepared(preparation)
    with torch.inference_mode():
        first = runs.prepare(network, preparation)(image)
        torch.testing.assert_close(first, network(image), rtol=1e-4, atol=1e-5)
        assert runs.is_prepared(preparation)
        torch.testing.assert_close(runs.prepare(network, preparation)(image), first, rtol=0, atol=0)
    assert not (small_model / BESIDE).exists() or not list((small_model / BESIDE).glob("compile*")), (
        "machine code must not be read from a package"
    )


@pytest.mark.parametrize(
    ("backend", "library", "extra"), [("openvino", "openvino", "openvino"), ("onnx", "onnxruntime", "onnx")]
)
def test_a_backend_that_is_not_installed_names_its_extra(
    backend: str, library: str, extra: str, small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)  # as if it were not installed
    manifest = load_manifest(small_model)
    with pytest.raises(MissingExtraError, match=rf"--backend {backend}: .*segment-tiles\[{extra}\]"):
        require_backend(backend, CPU, manifest)
    assert backend not in offered(CPU, manifest)
    assert "torch" in offered(CPU, manifest)


class DependsOnData(nn.Module):
    """Decides by what it sees, so that nothing can export it."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image if image.sum() > 0 else -image


@pytest.mark.parametrize("backend", DATA_BACKENDS)
def test_a_network_that_cannot_be_converted_is_refused_in_a_line(backend: str, small_model: Path) -> None:
    manifest = load_manifest(small_model)
    network = DependsOnData().eval()
    with pytest.raises(ModelError, match=f"--backend {backend}: .*--backend torch") as caught:
        BACKENDS[backend].prepare(network, Preparation((1, 3, 64, 64), CPU, "fp32", "other", None))
    assert "\n" not in str(caught.value)
    reference = torch.softmax(torch.zeros(1, 3, 64, 64), 1)

    def make(name: str, number: str) -> Segmenter:
        return Segmenter(network, manifest, CPU, number, backend=name)

    trials = precision.try_backends(make, [(backend, "fp32")], reference, precision.Sample(tiles(1)), 1)
    assert trials[0].refused
    assert fastest_accepted(trials) is None
