"""The fully connected CRF draws class boundaries onto the edges of the image."""

import sys

import numpy as np
import pytest
import torch
from torch import nn

from segment_tiles.pipeline.errors import MissingExtraError, ModelError
from segment_tiles.pipeline.grid.classes import ClassTable, MapClass
from segment_tiles.pipeline.models.networks.crf import (
    CrfParameters,
    color_image,
    crf_parameters,
    refine,
    refine_batch,
)
from segment_tiles.pipeline.models.packages.manifest import Architecture, ModelManifest
from segment_tiles.pipeline.models.scaling.scaling import z_score
from segment_tiles.pipeline.models.segmenter import Segmenter

SIDE = 96


@pytest.fixture
def scene():
    """A bright disc on a dark ground, and class probabilities of it that are noisy and blurred."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    distance = np.hypot(rows - SIDE / 2, columns - SIDE / 2) - SIDE / 4
    truth = distance < 0
    image = np.where(truth, 170, 90)[None] + rng.normal(0, 6, (3, SIDE, SIDE))
    score = -distance / 8 + rng.normal(0, 0.8, (SIDE, SIDE))
    probability = 1 / (1 + np.exp(-score))
    probabilities = np.stack([1 - probability, probability]).astype(np.float32)
    return truth, image.clip(0, 255).astype(np.uint8), probabilities


def boundary(mask):
    inside = np.zeros_like(mask)
    inside[1:-1, 1:-1] = mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
    return mask & ~inside


def boundary_f1(found, truth, tolerance=1):
    def near(edge):
        grown = edge.copy()
        for _ in range(tolerance):
            padded = np.pad(grown, 1)
            grown = padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:] | grown
        return grown

    a, b = boundary(found), boundary(truth)
    precision, recall = (a & near(b)).sum() / a.sum(), (b & near(a)).sum() / b.sum()
    return 2 * precision * recall / (precision + recall)


def test_it_sharpens_the_boundary(scene):
    pytest.importorskip("pydensecrf.densecrf")
    truth, image, probabilities = scene
    before = boundary_f1(probabilities.argmax(0) == 1, truth)
    refined = refine(probabilities, image, CrfParameters())
    after = boundary_f1(refined.argmax(0) == 1, truth)
    assert before < 0.7
    assert after > 0.95
    np.testing.assert_allclose(refined.sum(0), 1, atol=1e-5)
    assert refined.dtype == np.float32
    assert np.array_equal(refined, refine(probabilities, image, CrfParameters()))


def test_without_pairwise_terms_nothing_changes(scene):
    pytest.importorskip("pydensecrf.densecrf")
    _, image, probabilities = scene
    refined = refine(probabilities, image, CrfParameters(bilateral_weight=0, gaussian_weight=0))
    np.testing.assert_allclose(refined, probabilities, atol=1e-5)


def test_any_three_bands_of_any_type_guide_it(scene):
    pytest.importorskip("pydensecrf.densecrf")
    _, image, probabilities = scene
    # five bands of float32 reflectance: noise in two, the scene in the others
    bands = np.random.default_rng(1).normal(0, 1, (5, SIDE, SIDE)).astype(np.float32)
    bands[[4, 1, 2]] = image / 255
    bands[0, 0, 0] = np.nan
    parameters = CrfParameters(bands=(4, 1, 2), minimum=0, maximum=1)
    assert np.array_equal(color_image(bands, parameters), image)
    batch = refine_batch(torch.from_numpy(probabilities[None]), torch.from_numpy(bands[None]), parameters)
    assert np.array_equal(batch[0].numpy(), refine(probabilities, image, CrfParameters()))


def test_a_model_with_parameters_is_segmented_with_the_crf(scene):
    pytest.importorskip("pydensecrf.densecrf")
    _, image, probabilities = scene
    logits = torch.from_numpy(np.log(probabilities))

    class Fixed(nn.Module):
        def forward(self, tile):
            return logits.expand(tile.shape[0], -1, -1, -1) + 0 * tile[:, :1]

    def scores(extra):
        table = ClassTable((MapClass(0, "ground", (0, 0, 0)), MapClass(1, "disc", (255, 0, 0))))
        manifest = ModelManifest(
            "with-crf", Architecture("deeplabv2", "vgg16"), ("r", "g", "b"), "uint8", z_score((0.0,) * 3, (1.0,) * 3),
            SIDE, 0.5, table, extra=extra,
        )  # fmt: skip
        segmenter = Segmenter(Fixed(), manifest, torch.device("cpu"))
        return segmenter.scores(torch.from_numpy(image)[None].expand(2, -1, -1, -1)).numpy()

    plain, refined = scores({}), scores({"crf": {"bilateral_width": 50}})
    np.testing.assert_allclose(plain[0], probabilities, atol=1e-6)
    expected = refine(plain[0], image, CrfParameters(bilateral_width=50))
    np.testing.assert_allclose(refined, np.stack([expected, expected]), atol=1e-6)
    assert np.abs(refined - plain).max() > 0.1


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"iterations": 0}, "iterations"),
        ({"width": 3}, "width"),
        ({"bands": [0, 1, 3]}, "3 bands"),
        ({"minimum": 5, "maximum": 5}, "above its minimum"),
    ],
)
def test_parameters_out_of_range_are_named(values, text):
    with pytest.raises(ModelError, match=text):
        crf_parameters({"crf": values}, bands=3)


def test_models_without_parameters_have_no_crf():
    assert crf_parameters({}, bands=3) is None
    assert crf_parameters({"crf": {}}, bands=3) == CrfParameters()


def test_the_missing_library_is_named(scene, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    with pytest.raises(MissingExtraError, match=r"segment-tiles\[crf\]"):
        refine(scene[2], scene[1], CrfParameters())
