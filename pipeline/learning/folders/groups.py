"""Groups of pictures that belong together, and the folds that keep each group on one side.

::

    field 7   field 7   field 9          a group is never cut:
    [ a.png ] [ b.png ] [ c.png ]        a and b look alike, so both train or both are scored
    fold 0    fold 0    fold 1
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segment_tiles.pipeline.errors import TrainingError
from segment_tiles.pipeline.learning.picture_settings import GroupSettings
from segment_tiles.pipeline.wording import counted


@dataclass(frozen=True, slots=True)
class PictureRow:
    """What the table says of a picture."""

    name: str
    group: str
    fold: str
    score_by: str = ""
    weight_by: str = ""
    pixel_size: float | None = None


def picture_rows(
    settings: GroupSettings, folder: str, names: Sequence[str], data_folder: Path
) -> tuple[list[PictureRow], tuple[str, ...]]:
    """Return what the table says of the pictures that are wanted, and notes for the user.

    Parameters
    ----------
    settings
        The table and what it is asked for.
    folder
        Name of the pictures in messages.
    names
        Of the pictures, without suffix.
    data_folder
        Folder at which a relative path of the table starts.

    Raises
    ------
    TrainingError
        The table cannot be read, lacks a column or a picture, or its folds cut a group.
    """
    if settings.fold is not None and settings.folds is not None:
        msg = f"pictures {folder}: groups has both fold and folds; a column of folds, or a number of folds to make"
        raise TrainingError(msg)
    table = _read_table(settings, folder, names, data_folder)
    wanted = [n for n in names if all(table[n][column] in values for column, values in settings.only.items())]
    if not wanted:
        msg = f"pictures {folder}: groups.only leaves no picture of {len(names)}"
        raise TrainingError(msg)
    groups = {name: _value(settings, folder, table[name], name, settings.group) for name in wanted}
    folds = _folds(settings, folder, table, groups)
    rows = [
        PictureRow(
            name,
            groups[name],
            folds[name],
            _value(settings, folder, table[name], name, settings.score_by),
            _value(settings, folder, table[name], name, settings.weight_by),
            _pixel_size(settings, folder, table[name], name),
        )
        for name in wanted
    ]
    _refuse_unknown_folds(settings, folder, rows)
    return rows, _notes(folder, names, table, groups)


def _read_table(
    settings: GroupSettings, folder: str, names: Sequence[str], data_folder: Path
) -> dict[str, dict[str, str]]:
    if not settings.file:
        _refuse_columns_without_table(settings, folder)
        return {name: {settings.key: name} for name in names}
    path = data_folder / settings.file
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",")
            columns, lines = list(reader.fieldnames or ()), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        msg = f"pictures {folder}: groups.file {path} cannot be read as a table ({error}); give a CSV file"
        raise TrainingError(msg) from error
    _refuse_missing_columns(settings, folder, path, columns)
    rows: dict[str, dict[str, str]] = {}
    for line in lines:
        name = line[settings.key]
        if name in rows:
            msg = f"pictures {folder}: {path} has two rows for {name!r}; one for each picture is needed"
            raise TrainingError(msg)
        rows[name] = {column: value or "" for column, value in line.items() if column is not None}
    missing = [name for name in names if name not in rows]
    if missing:
        more = f" (nor {counted(len(missing) - 1, 'other')})" if len(missing) > 1 else ""
        msg = f"pictures {folder}: {path} has no row whose {settings.key!r} is {missing[0]!r}{more}"
        raise TrainingError(msg)
    return rows


def _refuse_columns_without_table(settings: GroupSettings, folder: str) -> None:
    asked = {
        "group": settings.group,
        "fold": settings.fold,
        "score_by": settings.score_by,
        "weight_by": settings.weight_by,
        "pixel_size": settings.pixel_size,
        "only": next(iter(settings.only), None),
    }
    for key, column in asked.items():
        if column:
            msg = f"pictures {folder}: groups.{key} names the column {column!r}, but groups has no file: name a table"
            raise TrainingError(msg)


def _refuse_missing_columns(settings: GroupSettings, folder: str, path: Path, columns: list[str]) -> None:
    asked = (settings.key, settings.group, settings.fold, settings.score_by, settings.weight_by)
    for column in (*asked, settings.pixel_size, *settings.only):
        if column and column not in columns:
            msg = f"pictures {folder}: {path} has no column {column!r}; its columns are {', '.join(columns[:20])}"
            raise TrainingError(msg)


def _value(
    settings: GroupSettings, folder: str, row: Mapping[str, str], name: str, column: str | None
) -> str:
    """Return the value of a column, or the name of the picture if the column is that of groups and not given."""
    if column is None:
        return ""
    value = row[column or settings.key]
    if not value:
        msg = f"pictures {folder}: the row of {name!r} has nothing in column {column!r}; fill it in"
        raise TrainingError(msg)
    return value


def _pixel_size(settings: GroupSettings, folder: str, row: Mapping[str, str], name: str) -> float | None:
    if settings.pixel_size is None:
        return None
    text = row[settings.pixel_size]
    try:
        size = float(text)
    except ValueError:
        size = 0.0
    if not 0 < size < float("inf"):
        msg = f"pictures {folder}: {settings.pixel_size} of {name!r} is {text!r}; a pixel size above 0 is needed"
        raise TrainingError(msg)
    return size


def _folds(
    settings: GroupSettings, folder: str, table: Mapping[str, Mapping[str, str]], groups: Mapping[str, str]
) -> dict[str, str]:
    """Return the fold of each picture."""
    sizes = Counter(groups.values())
    if settings.folds is not None:
        if len(sizes) < settings.folds:
            msg = (
                f"pictures {folder}: groups.folds is {settings.folds}, but there are {counted(len(sizes), 'group')}; "
                "a group cannot be cut, so ask for fewer folds"
            )
            raise TrainingError(msg)
        made = _made_folds(sizes, settings.folds)
        return {name: made[group] for name, group in groups.items()}
    if settings.fold is None:
        return dict(groups)
    folds: dict[str, str] = {}
    of_group: dict[str, str] = {}
    for name, group in groups.items():
        folds[name] = fold = _value(settings, folder, table[name], name, settings.fold)
        if of_group.setdefault(group, fold) != fold:
            msg = (
                f"pictures {folder}: the group {group!r} is in the folds {of_group[group]!r} and {fold!r} of column "
                f"{settings.fold!r}; what belongs together must be on one side: put it into one fold"
            )
            raise TrainingError(msg)
    return folds


def _made_folds(sizes: Mapping[str, int], count: int) -> dict[str, str]:
    """Put the largest group that is left into the fold with the fewest pictures, until none is left."""
    filled = [0] * count
    folds = {}
    for group, size in sorted(sizes.items(), key=lambda entry: (-entry[1], entry[0])):
        smallest = filled.index(min(filled))
        folds[group] = str(smallest)
        filled[smallest] += size
    return folds


def _refuse_unknown_folds(settings: GroupSettings, folder: str, rows: Sequence[PictureRow]) -> None:
    known = sorted({row.fold for row in rows})
    for key, values in (("held_out", settings.held_out), ("aside", settings.aside)):
        for value in values:
            if value not in known:
                shown = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
                msg = f"pictures {folder}: groups.{key} names {value!r}; there are {shown}"
                raise TrainingError(msg)
    if twice := sorted(set(settings.held_out) & set(settings.aside)):
        msg = f"pictures {folder}: {twice[0]!r} is both in groups.held_out and in groups.aside"
        raise TrainingError(msg)
    if set(known) <= {*settings.held_out, *settings.aside}:
        what = "there is one group" if len(known) == 1 else "all of them are held out or aside"
        msg = f"pictures {folder}: {what}, so nothing is left to train on; held-out groups need others beside them"
        raise TrainingError(msg)


def _notes(
    folder: str, names: Sequence[str], table: Mapping[str, object], groups: Mapping[str, str]
) -> tuple[str, ...]:
    notes = []
    sizes = Counter(groups.values())
    alone = sum(size == 1 for size in sizes.values())
    if alone and len(groups) > len(sizes):  # not if every picture is a group
        notes.append(f"pictures {folder}: {alone} of {counted(len(sizes), 'group')} have one picture only")
    if extra := len(table) - len(names):
        notes.append(f"pictures {folder}: {counted(extra, 'row')} of the table belong to no picture")
    return tuple(notes)
