"""The Segmenter: folding changes nothing, normalisation is the manifest's, precision is chosen by agreement."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from segment_tiles.pipeline.errors import ModelError, UsageError
from segment_tiles.pipeline.models import precision
from segment_tiles.pipeline.models.devices import resolve_device
from segment_tiles.pipeline.models.graphs.folding import fold_batch_norms
from segment_tiles.pipeline.models.networks.build import build_network
from segment_tiles.pipeline.models.package import load_manifest, load_network
from segment_tiles.pipeline.models.packages.manifest import Architecture
from segment_tiles.pipeline.models.segmenter import Segmenter
from segment_tiles.pipeline.models.trials import PrecisionTrial, fastest_accepted

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("arch", "backbone"),
    [
        ("deeplabv3plus", "resnet10t"),
        ("deeplabv3plus", "mobilenetv2_100"),
        ("deeplabv3plus", "xception41"),
        ("deeplabv3", "resnet18"),
    ],
)
def test_folding_keeps_the_function(arch: str, backbone: str) -> None:
    network = build_network(Architecture(arch, backbone, image_pooling="off"), 3, 4)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 2)
                module.weight.uniform_(0.5, 1.5)
    network.eval()
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    image = torch.randn(1, 3, 96, 80)
    folded = fold_batch_norms(network, image)
    with torch.inference_mode():
        before, after = network(image), folded.network(image)
    assert folded.count > 0.6 * norms
    assert (before - after).abs().max() <= 1e-4 * before.abs().max()
    assert sum(isinstance(module, nn.BatchNorm2d) for module in network.modules()) == norms


class Branching(nn.Module):
    """Control flow on data: no graph can be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.conv(image) if image.mean() > 0 else -self.conv(image)


def test_a_network_that_cannot_be_traced_runs_as_it_is() -> None:
    network = Branching()
    image = torch.randn(1, 1, 4, 4)
    folded = fold_batch_norms(network, image)
    assert folded.count == 0
    torch.testing.assert_close(folded.network(image), network(image))


class Forgetful(nn.Module):
    """Adds its skip connection only where the type says so: a trace, whose values have another, drops it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)

    def forward(self, image: Tensor) -> Tensor:
        found = self.norm(self.conv(image))
        return found + image if isinstance(image, Tensor) else found


def test_a_trace_that_drops_a_path_is_not_used() -> None:
    network = Forgetful().eval()
    image = torch.randn(1, 1, 8, 8)
    folded = fold_batch_norms(network, image)
    assert folded.count == 0
    torch.testing.assert_close(folded.network(image), network(image))


@pytest.fixture(scope="module")
def segmenter(small_model: Path) -> Segmenter:
    manifest = load_manifest(small_model)
    return Segmenter(load_network(small_model, manifest), manifest, CPU)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_values_of_every_type_are_normalised_the_same(segmenter: Segmenter, dtype: str) -> None:
    values = np.random.default_rng(0).integers(0, 120, (1, 3, 32, 32)).astype(dtype)
    seen = segmenter.normalized(torch.from_numpy(values), None)
    np.testing.assert_allclose(seen.numpy(), (values.astype(np.float64) - 120) / 60, rtol=1e-5, atol=1e-6)


def test_invalid_pixels_and_nan_look_like_the_mean(segmenter: Segmenter) -> None:
    values = torch.full((1, 3, 8, 8), 200.0)
    values[0, 1, 2, 2] = torch.nan
    valid = torch.ones(1, 8, 8, dtype=torch.bool)
    valid[0, :4] = False
    seen = segmenter.normalized(values, valid)
    assert (seen[0, :, :4] == 0).all()
    assert (seen[0, :, 4:] != 0).all()
    assert segmenter.normalized(values, None)[0, 1, 2, 2] == 0


def test_probabilities_sum_to_one(segmenter: Segmenter) -> None:
    scores = segmenter.scores(torch.randint(0, 255, (2, 3, 64, 64), dtype=torch.uint8))
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores.sum(1), torch.ones(2, 64, 64))


def test_a_network_of_another_class_count_is_refused(small_model: Path) -> None:
    manifest = load_manifest(small_model)
    wrong = Segmenter(nn.Conv2d(3, 5, 1), manifest, CPU)
    with pytest.raises(ModelError, match="gives 5 classes, but its class table has 3"):
        wrong.scores(torch.zeros(1, 3, 8, 8))


def trials_of(make: Callable[[str, str], Segmenter], values: torch.Tensor) -> tuple[PrecisionTrial, ...]:
    reference = make("torch", "fp32").scores(values)
    pairs = [("torch", "fp32"), ("torch", "bf16")]
    return precision.try_backends(make, pairs, reference, precision.Sample(values), 1)


def test_precision_is_fast_and_agrees(small_model: Path) -> None:
    manifest = load_manifest(small_model)
    network = load_network(small_model, manifest)
    values = torch.randint(0, 255, (1, 3, 64, 64), dtype=torch.uint8)
    trials = trials_of(lambda backend, name: Segmenter(network, manifest, CPU, name), values)
    assert trials[0].agreement == 1.0
    assert 0.9 < trials[1].agreement <= 1.0
    accepted = [t for t in trials if t.decided_agreement >= 0.999]
    assert fastest_accepted(trials) == min(accepted, key=lambda trial: trial.seconds)


def test_a_precision_that_disagrees_is_never_chosen(small_model: Path) -> None:
    manifest = load_manifest(small_model)
    network = load_network(small_model, manifest)

    def make(backend: str, name: str) -> Segmenter:
        if name == "fp32":
            return Segmenter(network, manifest, CPU)
        return Segmenter(nn.Conv2d(3, 3, 1), manifest, CPU)  # quick, and another map

    values = torch.randint(0, 255, (1, 3, 64, 64), dtype=torch.uint8)
    trials = trials_of(make, values)
    assert trials[1].seconds < trials[0].seconds
    assert trials[1].decided_agreement < 0.999
    chosen = fastest_accepted(trials)
    assert chosen is not None
    assert chosen.precision == "fp32"
    assert fastest_accepted(trials[1:]) is None


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.booleans())
def test_decided_pixels_are_counted_one_by_one(seed: int, classes: int, has_mask: bool) -> None:
    rng = np.random.default_rng(seed)
    reference, scores = (
        torch.softmax(torch.from_numpy(rng.normal(size=(2, classes, 5, 5))), 1).float() for _ in range(2)
    )
    valid = torch.from_numpy(rng.random((2, 5, 5)) < 0.7) if has_mask else None
    trial = precision.compare("bf16", scores, reference, valid, 1.0)
    kept, decided = 0, 0
    for tile, row, column in np.ndindex(2, 5, 5):
        if valid is not None and not valid[tile, row, column]:
            continue
        values = sorted(reference[tile, :, row, column].tolist(), reverse=True)
        if len(values) == 1 or np.float32(values[0]) - np.float32(values[1]) >= np.float32(0.1):
            decided += 1
            kept += int(scores[tile, :, row, column].argmax() == reference[tile, :, row, column].argmax())
    assert trial.decided_agreement == pytest.approx(kept / decided if decided else 1.0)


def test_batches_of_a_sample_begin_again_at_its_end() -> None:
    sample = precision.Sample(torch.arange(3).reshape(3, 1, 1, 1), torch.ones(3, 1, 1, dtype=torch.bool))
    values, valid = sample.batch(2, 4)
    assert values.flatten().tolist() == [2, 0, 1, 2]
    assert valid is not None
    assert valid.shape == (4, 1, 1)


def test_devices() -> None:
    assert resolve_device("cpu") == CPU
    assert resolve_device("auto").type in {"cpu", "cuda"}
    for word in ("gpu", "cuda:x", "cpu:0"):
        with pytest.raises(UsageError, match=word):
            resolve_device(word)
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="offers 0 CUDA devices"):
            resolve_device("cuda:0")
