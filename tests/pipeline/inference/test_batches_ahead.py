"""Several batches at once: the same order, the same map, every error heard."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from segment_tiles.pipeline.grid.lattice import Lattice
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.inference.batches_ahead import BatchesAhead
from segment_tiles.pipeline.inference.stream import RegionStream
from segment_tiles.pipeline.models.package import load_manifest, load_network
from segment_tiles.pipeline.models.segmenter import Segmenter
from segment_tiles.pipeline.sources.array import ArraySource


def number(value: int) -> Tensor:
    return torch.tensor([value])


def test_batches_come_back_in_order_whichever_is_ready_first() -> None:
    def score(values: Tensor, valid: Tensor | None) -> Tensor:
        time.sleep(0.02 if values.item() % 2 == 0 else 0.0)  # the even ones are overtaken
        return values * 10

    found = []
    with BatchesAhead[int](score, 3) as ahead:
        for place in range(10):
            ahead.put(place, number(place), None)
            arrived = list(ahead.arrived())
            assert len(arrived) == (place >= 3)
            found += arrived
        found += ahead.rest()
    assert [(place, scores.item()) for place, scores in found] == [(place, place * 10) for place in range(10)]


def test_two_are_computed_at_the_same_time() -> None:
    both = threading.Barrier(2, timeout=10)

    def score(values: Tensor, valid: Tensor | None) -> Tensor:
        both.wait()  # breaks where only one comes
        return values

    with BatchesAhead[int](score, 2) as ahead:
        ahead.put(0, number(0), None)
        ahead.put(1, number(1), None)
        assert [place for place, _ in ahead.rest()] == [0, 1]


def test_one_at_once_is_computed_by_the_caller() -> None:
    callers = []
    with BatchesAhead[int](lambda values, valid: callers.append(threading.get_ident()) or values, 1) as ahead:
        ahead.put(7, number(1), None)
        assert [(place, scores.item()) for place, scores in ahead.arrived()] == [(7, 1)]
    assert callers == [threading.get_ident()]


@pytest.mark.parametrize("at_once", [1, 2])
def test_an_error_of_the_network_reaches_the_caller(at_once: int) -> None:
    def score(values: Tensor, valid: Tensor | None) -> Tensor:
        raise ValueError("no")

    def run() -> None:
        with BatchesAhead[int](score, at_once) as ahead:
            ahead.put(0, number(0), None)
            list(ahead.rest())

    with pytest.raises(ValueError, match="no"):
        run()


@pytest.mark.parametrize("batch", [1, 3])
def test_the_map_does_not_depend_on_how_many_batches_are_computed_at_once(
    small_model: Path, batch: int
) -> None:
    manifest = load_manifest(small_model)
    segmenter = Segmenter(load_network(small_model, manifest), manifest, torch.device("cpu"), batch=batch)
    values = np.random.default_rng(3).integers(0, 256, (3, 230, 310), dtype=np.uint8)
    source, lattice = ArraySource(values), Lattice(230, 310, 64, 16)

    def rows(at_once: int) -> list[tuple[int, np.ndarray, np.ndarray]]:
        segmenter.batches_at_once = at_once
        stream = RegionStream(
            source, segmenter, lattice, Window(0, 0, 230, 310), blend="gaussian", batch=batch
        )
        return [(part.row, part.classes, part.confidence) for part in stream]

    expected, found = rows(1), rows(2)
    assert len(np.unique(np.concatenate([classes for _, classes, _ in expected]))) > 1
    assert len(found) == len(expected)
    for (row, classes, confidence), (other_row, other_classes, other_confidence) in zip(
        expected, found, strict=True
    ):
        assert row == other_row
        np.testing.assert_array_equal(classes, other_classes)
        np.testing.assert_array_equal(confidence, other_confidence)
