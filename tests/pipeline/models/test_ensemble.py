"""Ensembles: the mean of all looks at a tile, whatever their number, and only of models that agree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segment_tiles.pipeline.errors import ModelError
from segment_tiles.pipeline.grid.classes import ClassTable
from segment_tiles.pipeline.models.agreement import check_members
from segment_tiles.pipeline.models.ensemble import TURNS, Ensemble, Turn
from segment_tiles.pipeline.models.package import load_manifest, load_network
from segment_tiles.pipeline.models.segmenter import Segmenter

CPU = torch.device("cpu")


@given(st.integers(0, 3), st.booleans(), st.integers(1, 9))
def test_undoing_a_turn_gives_the_tile_back(quarters: int, mirrored: bool, side: int) -> None:
    turn = Turn(quarters, mirrored=mirrored)
    values = torch.arange(3 * side * side).reshape(1, 3, side, side)
    assert torch.equal(turn.undone(turn.applied(values)), values)


@pytest.mark.parametrize(("word", "count"), [("none", 1), ("flips", 4), ("rotations", 4)])
def test_turns_are_different_symmetries(word: str, count: int) -> None:
    corner = torch.arange(4).reshape(1, 1, 2, 2)
    seen = {tuple(turn.applied(corner).flatten().tolist()) for turn in TURNS[word]}
    assert len(seen) == count
    rows = {tuple(corner.flip(-2).flatten().tolist()), tuple(corner.flip(-1).flatten().tolist())}
    assert (word == "flips") == rows.issubset(seen)


@pytest.fixture
def members(small_model: Path) -> list[Segmenter]:
    manifest = load_manifest(small_model)
    other = load_network(small_model, manifest)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.05)
    return [
        Segmenter(load_network(small_model, manifest), manifest, CPU),
        Segmenter(other, manifest, CPU),
    ]


def test_an_ensemble_is_the_mean_of_its_looks(members: list[Segmenter]) -> None:
    values = torch.randint(0, 255, (2, 3, 64, 64), dtype=torch.uint8)
    valid = torch.rand(2, 64, 64) > 0.2
    scores = Ensemble(members, "flips").scores(values, valid)
    by_hand = [
        member.scores(values.flip(axes), valid.flip(axes)).flip(axes)
        for member in members
        for axes in ([], [-1], [-2], [-1, -2])
    ]
    torch.testing.assert_close(scores, torch.stack(by_hand).mean(0))
    torch.testing.assert_close(scores.sum(1), torch.ones(2, 64, 64))


def test_a_symmetric_look_makes_a_symmetric_map(members: list[Segmenter]) -> None:
    values = torch.randint(0, 255, (1, 3, 64, 64), dtype=torch.uint8)
    ensemble = Ensemble(members[:1], "rotations")
    turned = ensemble.scores(torch.rot90(values, 1, (-2, -1)))
    torch.testing.assert_close(
        turned, torch.rot90(ensemble.scores(values), 1, (-2, -1)), rtol=1e-4, atol=1e-5
    )


def test_models_that_disagree_are_no_ensemble(small_model: Path) -> None:
    manifest = load_manifest(small_model)
    fewer = ClassTable(manifest.classes.classes[:2])
    with pytest.raises(ModelError, match=r"small and other .*classes other, tree, water and other, tree;"):
        check_members([manifest, replace(manifest, name="other", classes=fewer)])
    with pytest.raises(ModelError, match="bands red, green, blue and nir, green, blue"):
        check_members([manifest, replace(manifest, name="other", bands=("nir", "green", "blue"))])
    with pytest.raises(ModelError, match=r"pixel size any and 0\.5 m"):
        check_members([manifest, replace(manifest, name="other", pixel_size=0.5)])
    check_members([manifest, replace(manifest, name="other", tile=128)])
