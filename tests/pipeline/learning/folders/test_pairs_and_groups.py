"""Pictures and masks in pairs by name, groups on one side: what does not fit is refused by name in one line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from segment_tiles.pipeline.errors import TrainingError
from segment_tiles.pipeline.learning.folders.expansion import with_pictures_as_scenes
from segment_tiles.pipeline.learning.folders.groups import picture_rows
from segment_tiles.pipeline.learning.folders.pairs import paired_files
from segment_tiles.pipeline.learning.picture_settings import GroupSettings
from segment_tiles.pipeline.learning.settings import TrainingSettings

Folders = Callable[[Sequence[str], Sequence[str]], tuple[Path, Path]]


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """Makes a folder of pictures and one of masks, with empty files."""

    def make(images: Sequence[str], labels: Sequence[str]) -> tuple[Path, Path]:
        for folder, names in (("images", images), ("labels", labels)):
            (tmp_path / folder).mkdir()
            for name in names:
                (tmp_path / folder / name).touch()
        return tmp_path / "images", tmp_path / "labels"

    return make


def test_pairs_are_made_by_name_whatever_the_suffix(folders: Folders) -> None:
    images, labels = folders(
        ["b.jpg", "a.png", "notes.txt", ".hidden"], ["a.tif", "b.geojson", "a.tif.aux.xml"]
    )
    pairs = paired_files("p", images, labels)
    assert {name: (i.name, m.name) for name, (i, m) in pairs.items()} == {
        "a": ("a.png", "a.tif"),
        "b": ("b.jpg", "b.geojson"),
    }
    assert list(pairs) == ["a", "b"]


@pytest.mark.parametrize(
    ("images", "labels", "ending", "words"),
    [
        (["a.png", "b.png", "c.png"], ["a.png"], "", "the picture {images}/b.png has no mask of its name"),
        (["a.png"], ["a.png", "z.png"], "", "the mask {labels}/z.png has no picture of its name"),
        (["a.png", "a.jpg"], ["a.png"], "", "a.jpg and a.png have one name"),
        ([], ["a.png"], "", "has no pictures"),
        (
            ["a.png"],
            ["a_mask.png", "b.png"],
            "_mask",
            "{labels}/b.png does not end with label_ending '_mask'",
        ),
    ],
)
def test_what_is_no_pair_is_refused_by_name(
    folders: Folders, images: list[str], labels: list[str], ending: str, words: str
) -> None:
    ours, theirs = folders(images, labels)
    with pytest.raises(TrainingError) as caught:
        paired_files("p", ours, theirs, ending)
    assert words.format(images=ours, labels=theirs) in str(caught.value)
    assert "\n" not in str(caught.value)


NAMES = ["a", "b", "c", "d", "e", "f"]
TABLE = """id,field,fold,stain,size
a,1,0,grey,0.5
b,1,0,grey,0.5
c,2,1,grey,1
d,3,1,pink,1
e,3,1,pink,1
f,4,2,pink,2
"""


def rows_of(folder: Path, table: str = TABLE, **settings: Any) -> tuple[list[Any], tuple[str, ...]]:
    (folder / "groups.csv").write_text(table)
    asked = {"file": "groups.csv", "key": "id", "group": "field"} | settings
    return picture_rows(GroupSettings.model_validate(asked), "p", NAMES, folder)


def test_a_group_is_never_cut(tmp_path: Path) -> None:
    rows, notes = rows_of(tmp_path, folds=3, pixel_size="size")
    folds: dict[str, set[str]] = {}
    for row in rows:
        folds.setdefault(row.group, set()).add(row.fold)
    assert all(len(found) == 1 for found in folds.values())
    assert sorted(row.fold for row in rows) == ["0", "0", "1", "1", "2", "2"]
    assert [row.pixel_size for row in rows] == [0.5, 0.5, 1, 1, 1, 2]
    assert notes == ("pictures p: 2 of 4 groups have one picture only",)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("group", "field"), ("fold", "fold"), ("score_by", "stain"), ("weight_by", "stain"), ("pixel_size", "size"),
        ("only", {"stain": ["grey"]}),
    ],
)  # fmt: skip
def test_columns_without_a_table_are_refused(tmp_path: Path, key: str, value: Any) -> None:
    column = next(iter(value)) if isinstance(value, dict) else value
    asked = {"folds": 3} if key != "fold" else {}
    with pytest.raises(
        TrainingError, match=f"groups.{key} names the column '{column}', but groups has no file"
    ):
        picture_rows(GroupSettings.model_validate({key: value, **asked}), "p", NAMES, tmp_path)


def test_only_leaves_pictures_out(tmp_path: Path) -> None:
    rows, notes = rows_of(tmp_path, fold="fold", only={"stain": ["pink"]}, score_by="stain", held_out=[2])
    assert [(r.name, r.fold, r.score_by) for r in rows] == [
        ("d", "1", "pink"), ("e", "1", "pink"), ("f", "2", "pink"),
    ]  # fmt: skip
    assert notes == ("pictures p: 1 of 2 groups have one picture only",)


@pytest.mark.parametrize(
    ("settings", "table", "words"),
    [
        ({"fold": "fold"}, TABLE.replace("b,1,0", "b,1,2"), "the group '1' is in the folds '0' and '2'"),
        ({"folds": 5}, TABLE, "groups.folds is 5, but there are 4 groups"),
        ({"folds": 2, "fold": "fold"}, TABLE, "groups has both fold and folds"),
        ({"held_out": ["9"]}, TABLE, "groups.held_out names '9'; there are 1, 2, 3, 4"),
        ({"held_out": ["1"], "aside": ["1"]}, TABLE, "'1' is both in groups.held_out and in groups.aside"),
        ({"group": "stain", "only": {"stain": ["grey"]}, "held_out": ["grey"]}, TABLE, "there is one group"),
        ({"group": "animal"}, TABLE, "no column 'animal'; its columns are id, field, fold, stain, size"),
        ({}, TABLE.replace("f,4,2,pink,2\n", ""), "no row whose 'id' is 'f'"),
        ({}, TABLE + "f,4,2,pink,2\n", "two rows for 'f'"),
        ({}, TABLE.replace("c,2", "c,"), "the row of 'c' has nothing in column 'field'"),
        ({"pixel_size": "stain"}, TABLE, "stain of 'a' is 'grey'; a pixel size above 0 is needed"),
        ({"only": {"stain": ["blue"]}}, TABLE, "groups.only leaves no picture of 6"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_in_one_line(
    tmp_path: Path, settings: Mapping[str, Any], table: str, words: str
) -> None:
    with pytest.raises(TrainingError) as caught:
        rows_of(tmp_path, table, **settings)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pictures_become_scenes_with_their_side_and_weight(folders: Folders) -> None:
    images, _ = folders([f"{n}.png" for n in NAMES], [f"{n}.tif" for n in NAMES])
    data = images.parent
    (data / "groups.csv").write_text(TABLE)
    groups = {
        "file": "groups.csv", "key": "id", "group": "field", "fold": "fold", "held_out": [1], "aside": [2],
        "weight_by": "stain", "score_by": "stain",
    }  # fmt: skip
    settings = TrainingSettings.model_validate(
        {
            "name": "discs",
            "pictures": [{"name": "p", "images": "images", "labels": "labels", "groups": groups}],
            "classes": [{"name": "ground", "color": [0, 0, 0]}, {"name": "disc", "color": [1, 1, 1]}],
        }
    )
    scenes = with_pictures_as_scenes(settings, data)[0].scenes
    assert [(s.name, s.use, s.part, s.told_as, round(s.weight, 3)) for s in scenes] == [
        ("p/a", "train", "p-0", "p grey", 0.167),
        ("p/b", "train", "p-0", "p grey", 0.167),
        ("p/c", "validate", "p-1", "p grey", 0.167),
        ("p/d", "validate", "p-1", "p pink", 0.167),
        ("p/e", "validate", "p-1", "p pink", 0.167),
    ]
    assert scenes[0].raster == "images/a.png"
