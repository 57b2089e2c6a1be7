"""Training windows: each depends on its number alone, and never shows what is held out."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from hypothesis import given
from hypothesis import strategies as st

from segment_tiles.pipeline.errors import TrainingError
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.learning.augmentation.changes import Placement, cut_window
from segment_tiles.pipeline.learning.data.opening import open_scenes
from segment_tiles.pipeline.learning.data.sampling import WindowSampler
from segment_tiles.pipeline.learning.data.scenes import LabelledScene
from segment_tiles.pipeline.learning.data.survey import (
    CELL,
    BandStatistics,
    ClassCells,
    Survey,
    survey_scenes,
)
from segment_tiles.pipeline.learning.data.windows import TrainingWindows
from segment_tiles.pipeline.learning.processes import TrainingProcess
from segment_tiles.pipeline.learning.settings import IGNORE_CODE, TrainingSettings
from segment_tiles.pipeline.learning.training.loading import WindowNumbers


def surveyed(settings: TrainingSettings, discs: Any) -> Survey:
    scenes = open_scenes(settings, discs.folder)
    try:
        return survey_scenes(scenes, len(settings.classes))
    finally:
        for scene in scenes:
            scene.close()


def windows_of(settings: dict[str, Any], discs: Any) -> TrainingWindows:
    parsed = TrainingSettings.model_validate(settings)
    return TrainingWindows(parsed, discs.folder, surveyed(parsed, discs))


def test_a_window_depends_on_its_number_alone(discs: Any, disc_settings: dict[str, Any]) -> None:
    windows = windows_of(disc_settings, discs)
    forward = [windows[i] for i in range(6)]
    travelled = pickle.loads(pickle.dumps(windows))
    for number in reversed(range(6)):
        values, labels = travelled[number]
        assert torch.equal(values, forward[number][0])
        assert torch.equal(labels, forward[number][1])
    assert not torch.equal(forward[0][0], forward[1][0])


def test_a_stack_of_files_gives_the_windows_of_one_raster(
    discs: Any, disc_settings: dict[str, Any], tmp_path: Path
) -> None:
    whole = windows_of(disc_settings, discs)
    with rasterio.open(discs.folder / "scene.tif") as scene:
        for band in (1, 2, 3):
            with rasterio.open(tmp_path / f"{band}.tif", "w", **{**scene.profile, "count": 1}) as file:
                file.write(scene.read(band), 1)
    (tmp_path / "boxes.geojson").write_text((discs.folder / "boxes.geojson").read_text())
    disc_settings["scenes"][0]["raster"] = "1.tif,2.tif,3.tif"
    stacked = windows_of(disc_settings, SimpleNamespace(folder=tmp_path))
    for number in range(3):
        for one, other in zip(stacked[number], whole[number], strict=True):
            assert torch.equal(one, other)


def test_windows_have_the_shape_of_training(discs: Any, disc_settings: dict[str, Any]) -> None:
    values, labels = windows_of(disc_settings, discs)[3]
    assert values.shape == (3, 64, 64)
    assert values.dtype == torch.float32
    assert labels.shape == (64, 64)
    assert set(labels.unique().tolist()) <= {0, 1, IGNORE_CODE}


def test_held_out_pixels_lose_label_and_value(discs: Any, disc_settings: dict[str, Any]) -> None:
    settings = TrainingSettings.model_validate(disc_settings)
    scene = LabelledScene(settings.scenes[0], discs.folder, ("ground", "disc"))
    whole = scene.read(scene.window, with_held_out=False)
    hidden = np.zeros((160, 160), dtype=bool)
    hidden[100:160, 90:160] = True
    assert (whole.labels[hidden] == IGNORE_CODE).all()
    assert (whole.labels[~hidden] != IGNORE_CODE).all()
    assert (whole.valid == ~hidden).all()
    assert (scene.read(scene.window, with_held_out=True).labels != IGNORE_CODE).all()
    scene.close()


def test_beyond_the_edge_pixels_are_reflected_without_label(
    discs: Any, disc_settings: dict[str, Any]
) -> None:
    settings = TrainingSettings.model_validate(disc_settings)
    scene = LabelledScene(settings.scenes[0], discs.folder, ("ground", "disc"))
    read = scene.read(Window(-5, -3, 20, 20), with_held_out=True)
    assert (read.labels[:5] == IGNORE_CODE).all()
    assert (read.labels[:, :3] == IGNORE_CODE).all()
    assert (read.labels[5:, 3:] != IGNORE_CODE).all()
    assert (read.values[:, 4] == read.values[:, 5]).all()
    scene.close()


def test_survey_counts_what_training_may_see(discs: Any, disc_settings: dict[str, Any]) -> None:
    settings = TrainingSettings.model_validate(disc_settings)
    survey = surveyed(settings, discs)
    assert sum(survey.pixels) == 160 * 160 - 60 * 70
    scene = LabelledScene(settings.scenes[0], discs.folder, ("ground", "disc"))
    seen = scene.read(scene.window, with_held_out=False)
    values = seen.values[:, seen.valid].astype(float)
    assert survey.statistics.mean == pytest.approx(values.mean(axis=1), abs=1e-3)
    assert survey.statistics.std == pytest.approx(values.std(axis=1), abs=1e-3)
    scene.close()


@pytest.mark.parametrize(("balance", "share"), [(0.0, 0.1), (0.5, 0.25), (1.0, 0.5)])
def test_balance_shows_the_rare_class_more_often(balance: float, share: float) -> None:
    counts = np.array([[CELL**2, 0]] * 9 + [[0, CELL**2]])  # ten cells, the last of them all of class 1
    columns = np.arange(10) * CELL
    cells = ClassCells(counts, np.zeros(10, dtype=int), columns, Window(0, 0, CELL, 10 * CELL))
    survey = Survey(BandStatistics((0.0,), (1.0,)), (cells,), (9 * CELL**2, CELL**2))
    sampler = WindowSampler(survey, (1.0,), balance)
    random = np.random.default_rng(0)
    samples = [sampler.draw(random) for _ in range(2000)]
    assert np.mean([s.column >= 9 * CELL for s in samples]) == pytest.approx(share, abs=0.04)
    assert all(0 <= s.row < CELL for s in samples)


@given(
    st.integers(0, 2**32 - 1), st.lists(st.tuples(*[st.integers(0, CELL**2)] * 3), min_size=1, max_size=30)
)
def test_a_window_is_drawn_as_numpy_chooses_by_pixels(seed: int, drawn: list[tuple[int, ...]]) -> None:
    counts = np.array([*drawn, (1, 1, 1)])
    places = np.arange(len(counts)) * CELL
    cells = ClassCells(counts, 0 * places, places, Window(0, 0, CELL, len(counts) * CELL))
    pixels = tuple(counts.sum(axis=0).tolist())
    sampler = WindowSampler(Survey(BandStatistics((0.0,), (1.0,)), (cells,), pixels), (1.0,), 1.0)
    ours, numpys = (np.random.default_rng(seed) for _ in "ab")
    for _ in range(5):
        column = sampler.draw(ours).column
        numpys.choice(1, p=[1.0])
        label = numpys.choice(3, p=[1 / 3] * 3)
        cell = numpys.choice(len(counts), p=counts[:, label] / counts[:, label].sum())
        numpys.integers(CELL)
        assert column == cell * CELL + numpys.integers(CELL)


@given(st.floats(0.6, 1.6), st.floats(-3.1, 3.1), st.booleans())
def test_values_and_labels_stay_together(scale: float, angle: float, flip: bool) -> None:
    placement = Placement(scale, angle, flip)
    box = placement.footprint(0, 0, 48)
    rows, columns = np.mgrid[: box.height, : box.width]
    codes = ((rows // 16 + columns // 16) % 2).astype(np.uint8)
    values, labels = cut_window(
        torch.from_numpy(codes[None].astype(np.float32)), torch.from_numpy(codes), placement, 48
    )
    certain = (values[0] < 0.01) | (values[0] > 0.99)
    assert (labels != IGNORE_CODE).all()
    assert torch.equal((values[0] > 0.5).long()[certain], labels[certain])


def test_without_change_a_window_is_a_crop() -> None:
    values = torch.arange(50 * 50, dtype=torch.float32).reshape(1, 50, 50)
    codes = (torch.arange(50 * 50) % 3).to(torch.uint8).reshape(50, 50)
    cut, labels = cut_window(values, codes, Placement(1.0, 0.0, flip=False), 48)
    assert torch.allclose(cut, values[:, 1:49, 1:49], atol=1e-2)
    assert torch.equal(labels, codes[1:49, 1:49].long())


@given(st.integers(0, 5), st.integers(1, 4), st.integers(1, 3))
def test_ranks_share_the_windows_of_a_step(first: int, batch: int, ranks: int) -> None:
    steps = first + 3
    parts = [list(WindowNumbers(first, steps, batch, TrainingProcess(r, ranks))) for r in range(ranks)]
    everything = sorted(n for part in parts for n in part)
    assert everything == list(range(first * batch * ranks, steps * batch * ranks))


def test_one_class_is_refused(discs: Any, disc_settings: dict[str, Any]) -> None:
    scene = disc_settings["scenes"][0] | {"unlabelled": None}
    with pytest.raises(TrainingError, match="two or more are needed"):
        windows_of(disc_settings | {"scenes": [scene]}, discs)


def test_a_held_out_window_beyond_the_scene_is_refused(discs: Any, disc_settings: dict[str, Any]) -> None:
    scene = disc_settings["scenes"][0] | {"held_out": [{"row": 0, "column": 0, "height": 10, "width": 999}]}
    with pytest.raises(TrainingError, match="column 999"):
        windows_of(disc_settings | {"scenes": [scene]}, discs)
