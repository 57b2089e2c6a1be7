"""Tissue: what is stained is kept, glass is left out, and nothing is left out where there is no glass."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from skimage.data import immunohistochemistry

from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.sources.areas.tissue import TissueArea, TissueMask, tissue_of


def slide(height: int = 300, width: int = 400) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Real stain in an ellipse on glass, with the noise of a camera and a mote of dust."""
    stain = np.tile(immunohistochemistry()[::4, ::4], (4, 4, 1))[:height, :width]
    rows, columns = np.indices((height, width))
    tissue = ((rows - 150) / 90) ** 2 + ((columns - 200) / 120) ** 2 < 1
    glass = 243 + np.random.default_rng(0).integers(-3, 4, (height, width, 3))
    picture = np.where(tissue[..., np.newaxis], stain, glass).astype(np.uint8)
    picture[20:22, 30:32] = (90, 60, 60)
    return picture.transpose(2, 0, 1), tissue


def test_otsu_finds_the_tissue_and_no_dust() -> None:
    picture, tissue = slide()
    mask = tissue_of(picture, None)
    found = mask.pixels()
    assert mask.threshold is not None
    assert found[tissue].mean() > 0.8, "the real section has gaps of glass too"
    assert not found[~ndimage.binary_dilation(tissue, iterations=4)].any()
    assert mask.share == pytest.approx(found.mean())


def test_a_picture_of_tissue_alone_is_kept_whole() -> None:
    mask = tissue_of(immunohistochemistry()[::2, ::2][30:90, 40:100].transpose(2, 0, 1), None)
    assert mask.threshold is None
    assert mask.share == 1


def test_a_blank_slide_has_no_tissue() -> None:
    glass = 243 + np.random.default_rng(0).integers(-3, 4, (3, 100, 100))
    assert tissue_of(glass.astype(np.uint8), None).share == 0
    assert tissue_of(np.full((3, 50, 50), 240, np.uint8), None).share == 0


def test_what_was_not_scanned_is_no_tissue() -> None:
    picture, _ = slide()
    valid = np.ones(picture.shape[1:], dtype=bool)
    valid[:, :200] = False
    assert not tissue_of(picture, valid).pixels()[:, :200].any()


@given(st.integers(1, 200), st.integers(1, 200), st.data())
def test_a_window_of_the_area_is_the_crop_of_the_whole(height: int, width: int, data: st.DataObject) -> None:
    pixels = np.random.default_rng(1).random((7, 9)) > 0.8
    area = TissueArea(TissueMask(7, 9, np.packbits(pixels).tobytes(), 0.1), height, width)
    whole = area.mask(Window(0, 0, height, width))
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    window = Window.from_edges(
        top, left, data.draw(st.integers(top + 1, height)), data.draw(st.integers(left + 1, width))
    )
    part = area.mask(window)
    np.testing.assert_array_equal(part, whole[window.slices()])
    assert area.meets(window) or not part.any(), "no tile with tissue is skipped"
    if height >= 7 and width >= 9:
        assert area.meets(window) == part.any()
    assert TissueMask(7, 9, np.packbits(pixels).tobytes(), 0.1).share == pytest.approx(pixels.mean())
