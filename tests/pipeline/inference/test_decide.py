"""Classes by thresholds: the rules, written pixel by pixel; in a stream; and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.grid.classes import ClassTable, MapClass
from segment_tiles.pipeline.grid.decision import Decision, byte_of, decision_of
from segment_tiles.pipeline.inference.decide import decided


def of_pixel(scores: list[int], decision: Decision) -> tuple[int, int]:
    """Return class and confidence of one pixel, as the documentation says it."""
    own = dict(decision.thresholds)
    reached = [code for code in own if scores[code] >= own[code]]
    others = [code for code in range(len(scores)) if code not in own]
    if not reached and others and max(scores[code] for code in others) >= (decision.unsure or 0):
        reached = others
    if not reached:
        return len(scores), max(scores)
    best = min(reached, key=lambda code: (-scores[code], code))
    return best, scores[best]


@st.composite
def decisions(draw: st.DrawFn) -> tuple[int, Decision]:
    count = draw(st.integers(1, 4))
    named = draw(st.sets(st.integers(0, count - 1)))
    thresholds = tuple((code, draw(st.integers(1, 255))) for code in sorted(named))
    return count, Decision(thresholds, draw(st.none() | st.integers(1, 255)))


@given(decisions(), st.integers(0, 2**32 - 1))
def test_every_pixel_gets_the_class_that_the_rules_give_it(drawn: tuple[int, Decision], seed: int) -> None:
    count, decision = drawn
    # few values, so that scores tie and lie on thresholds
    scores = (
        np.random.default_rng(seed).choice([0, 1, 100, 101, 102, 254, 255], (count, 5, 7)).astype(np.uint8)
    )
    codes, confidence = decided(torch.from_numpy(scores), decision)
    for row, column in np.ndindex(5, 7):
        expected = of_pixel([int(value) for value in scores[:, row, column]], decision)
        assert (int(codes[row, column]), int(confidence[row, column])) == expected


TABLE = ClassTable(
    tuple(MapClass(code, name, (code,) * 3) for code, name in enumerate(("land", "water", "a=b")))
)


def test_what_is_asked_for_becomes_bytes_and_a_class_of_its_own() -> None:
    assert decision_of((), None, TABLE, "m") is None
    one = decision_of([("water", 0.4)], None, TABLE, "m")
    assert one == Decision(((1, 102),))
    assert one.table(TABLE) == TABLE
    unsure = decision_of([], 0.5, TABLE, "m")
    assert unsure is not None
    assert unsure.table(TABLE).names == ("land", "water", "a=b", "not sure")
    whole = decision_of([("land", 0.5), ("a=b", 0.5), ("water", 0.5)], None, TABLE, "m")
    assert whole is not None
    assert whole.table(TABLE).count == 4


def test_255_classes_and_not_sure_take_16_bits() -> None:
    table = ClassTable(tuple(MapClass(code, str(code), (0, 0, 0)) for code in range(255)))
    decision = Decision(unsure=128)
    assert (decision.table(table).dtype, decision.table(table).nodata) == ("uint16", 65535)
    codes, _ = decided(torch.zeros(255, 1, 1, dtype=torch.uint8), decision)
    assert int(codes) == 255


@pytest.mark.parametrize(
    ("thresholds", "unsure", "text"),
    [
        ([("wood", 0.4)], None, "m has no class 'wood'; it has land, water, a=b"),
        ([("water", 0.4), ("water", 0.5)], None, "names water twice"),
    ],
)
def test_classes_that_are_not_there_are_refused(
    thresholds: list[tuple[str, float]], unsure: float | None, text: str
) -> None:
    with pytest.raises(UsageError, match=text):
        decision_of(thresholds, unsure, TABLE, "m")


def test_a_model_with_a_class_of_that_name_keeps_it() -> None:
    table = ClassTable((MapClass(0, "not sure", (0, 0, 0)), MapClass(1, "b", (0, 0, 0))))
    assert decision_of([("b", 0.4)], None, table, "m") is not None
    with pytest.raises(UsageError, match="of its own"):
        decision_of([], 0.5, table, "m")


@given(st.floats(0.0, 1.0, exclude_min=True, exclude_max=True))
def test_a_threshold_is_rounded_as_scores_are(threshold: float) -> None:
    assert byte_of(threshold) == max(1, int(np.floor(threshold * 255 + 0.5)))
