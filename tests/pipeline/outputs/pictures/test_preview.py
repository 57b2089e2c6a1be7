"""The picture: size, colours, shares, and the same bytes every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from segment_tiles.pipeline.errors import WriteFailedError
from segment_tiles.pipeline.grid.classes import ClassTable, MapClass
from segment_tiles.pipeline.outputs.pictures.lettering import fitting, font
from segment_tiles.pipeline.outputs.pictures.preview import (
    CAPTION_HEIGHT,
    GAP,
    MARGIN,
    NODATA_COLORS,
    PANEL_WIDTH,
    TITLE_HEIGHT,
    write_preview,
)
from segment_tiles.pipeline.outputs.pictures.preview_legend import (
    ROWS_AT_MOST,
    LegendRow,
    legend_rows,
    share_of,
)


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def share_of_colour(pixels: np.ndarray, colour: tuple[int, int, int]) -> float:
    return float((np.abs(pixels.astype(int) - colour).max(axis=-1) <= 2).mean())


@pytest.mark.parametrize("shape", [(400, 400), (90, 600), (600, 90), (1, 50), (50, 1), (1500, 1400)])
def test_picture_shows_scene_and_classes_in_their_colours(shape, table, tmp_path: Path) -> None:
    scene = np.full((*shape, 3), (10, 200, 100), np.uint8)
    classes = np.full(shape, 1, np.uint8)
    classes[: shape[0] // 4] = 2
    write_preview(scene, classes, table, tmp_path / "preview.png", title="a", pixel_width=1, unit="metre")
    pixels = pixels_of(tmp_path / "preview.png")
    assert pixels.shape[1] <= 1600
    assert pixels.shape[0] <= 1200
    panels = pixels[:, : -300 - MARGIN - GAP]
    half = panels.shape[1] // 2
    assert share_of_colour(panels[:, :half], (10, 200, 100)) > 0.2
    assert share_of_colour(panels[:, half:], (30, 120, 50)) > 0.2
    if shape[0] >= 4:
        assert share_of_colour(panels[:, half:], (40, 90, 200)) > 0.08
    # the legend has a swatch of every class
    for entry in table.classes:
        assert (pixels[:, -300 - MARGIN :] == entry.color).all(axis=-1).sum() > 300


def test_panels_are_aligned_and_stay_apart(table, tmp_path: Path) -> None:
    scene = np.zeros((100, 100, 3), np.uint8)
    classes = np.zeros((100, 100), np.uint8)
    write_preview(scene, classes, table, tmp_path / "p.png", title="", pixel_width=1, unit="pixel")
    pixels = pixels_of(tmp_path / "p.png")
    middle_row = pixels[pixels.shape[0] // 2]
    between = middle_row[MARGIN + PANEL_WIDTH + 3 : MARGIN + PANEL_WIDTH + GAP - 3]
    assert (between == 255).all()


def test_pixels_without_class_are_striped(table, tmp_path: Path) -> None:
    classes = np.full((200, 200), table.nodata, np.uint8)
    scene = np.zeros((200, 200, 3), np.uint8)
    write_preview(scene, classes, table, tmp_path / "p.png", title="", pixel_width=1, unit="pixel")
    panel = pixels_of(tmp_path / "p.png")[:, MARGIN + PANEL_WIDTH + GAP : -300 - MARGIN - GAP]
    for colour in NODATA_COLORS:
        assert share_of_colour(panel, colour) > 0.15


def test_same_input_gives_the_same_bytes(table, patchy_classes, tmp_path: Path) -> None:
    classes = patchy_classes(300, 280)
    scene = np.random.default_rng(0).integers(0, 256, (300, 280, 3), dtype=np.uint8)
    contents = []
    for name in ("a.png", "b.png"):
        write_preview(scene, classes, table, tmp_path / name, title="x", pixel_width=0.3, unit="metre")
        contents.append((tmp_path / name).read_bytes())
    assert contents[0] == contents[1]


def test_odd_names_and_long_titles_are_drawn_without_a_warning(tmp_path: Path) -> None:
    """Warnings are errors in this suite; a dollar sign must not become a formula."""
    names = ["$x^2$ \\frac", "\u5730\u8868 \U0001f333", "a" * 200, "<b>&amp;"]
    table = ClassTable(tuple(MapClass(i, name, (60 * i, 0, 0)) for i, name in enumerate(names)))
    classes = np.arange(16, dtype=np.uint8).reshape(4, 4) % 4
    scene = np.zeros((4, 4, 3), np.uint8)
    write_preview(
        scene,
        classes,
        table,
        tmp_path / "p.png",
        title="$t$ " * 100,
        subtitle="s" * 999,
        pixel_width=1,
        unit="m",
    )
    assert pixels_of(tmp_path / "p.png").shape[1] <= 1600


def test_a_long_name_ends_before_the_share(tmp_path: Path) -> None:
    table = ClassTable((MapClass(0, "W" * 40, (200, 0, 0)), MapClass(1, "i", (0, 0, 200))))
    scene, classes = np.zeros((40, 40, 3), np.uint8), np.zeros((40, 40), np.uint8)
    write_preview(
        scene,
        classes,
        table,
        tmp_path / "p.png",
        title="W" * 300,
        pixel_width=1,
        unit="metre",
        pixel_counts=[3, 1, 0],
    )
    pixels = pixels_of(tmp_path / "p.png")
    assert (pixels[:, -MARGIN:] == 255).all()  # nothing reaches into the margin
    first_row = pixels[MARGIN + TITLE_HEIGHT + CAPTION_HEIGHT :][: LegendRow.HEIGHT, -300 - MARGIN : -MARGIN]
    empty = (first_row == 255).all(axis=(0, 2))
    gaps = "".join("." if column else "#" for column in empty)
    assert "." * 10 in gaps[36:].rstrip(".")


def test_letters_are_there_without_matplotlib() -> None:
    assert font(20).getname() == ("DejaVu Sans", "Book")
    assert font(20, bold=True).getname() == ("DejaVu Sans", "Bold")


@given(st.text(max_size=600), st.integers(20, 400))
def test_a_shortened_line_fits(text: str, width: int) -> None:
    line = fitting(text, font(15), width)
    assert font(15).getlength(line) <= width
    assert "\n" not in line


def test_a_folder_that_cannot_be_made_is_one_line(table, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteFailedError, match=r"preview\.png: cannot be written"):
        write_preview(
            np.zeros((4, 4, 3), np.uint8),
            np.zeros((4, 4), np.uint8),
            table,
            tmp_path / "file" / "preview.png",
            title="",
            pixel_width=1,
            unit="metre",
        )


def test_legend_is_ranked_by_area_with_nodata_last(table) -> None:
    rows = legend_rows(table, [10, 60, 30, 25])
    assert [(row.name, row.share) for row in rows] == [
        ("tree crown", "60.0 %"),
        ("water & ice <old>", "30.0 %"),
        ("bare ground", "10.0 %"),
        ("no data", "20.0 % of all"),
    ]


def test_many_classes_are_summed_up() -> None:
    table = ClassTable(tuple(MapClass(i, f"class {i}", (i, i, i)) for i in range(40)))
    rows = legend_rows(table, [*range(1, 41), 0])
    assert len(rows) == ROWS_AT_MOST
    assert rows[0].name == "class 39"
    assert rows[-1].name == "17 more classes"
    assert rows[-1].share == share_of(sum(range(1, 18)), sum(range(1, 41)))


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_a_share_says_0_or_100_only_where_it_is_so(part: int, rest: int) -> None:
    text = share_of(part, part + rest)
    assert (text == "0 %") == (part == 0)
    assert (text == "100 %") == (part > 0 and rest == 0)
