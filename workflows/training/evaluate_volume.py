"""The class map of a volume against a volume of truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import zarr

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.learning.scores.boundaries import largest_width
from segment_tiles.pipeline.learning.scores.evaluation import EvaluatedClasses, Evaluation, evaluate_map
from segment_tiles.pipeline.learning.scores.volume_evaluation import (
    SheetOfClasses,
    SheetOfTruth,
    labels_from_codes,
    labels_from_probabilities,
    sheet_of,
)
from segment_tiles.pipeline.outputs.stores.store import array_of, open_store, read_class_table
from segment_tiles.pipeline.outputs.stores.volume_store import read_geometry


def open_volume_store(path: Path) -> zarr.Group | None:
    """Return the store of a run on a volume, given its folder; None if the path is something else."""
    folder = path / "classes.zarr" if (path / "classes.zarr").is_dir() else path
    if not (folder / "zarr.json").is_file():
        return None
    group = open_store(folder)
    return group if array_of(group, "classes").ndim == 3 else None


def evaluate_volume(
    group: zarr.Group,
    truth: str,
    *,
    class_values: Mapping[str, str],
    unlabelled: str | None,
    slices: tuple[int, int] | None,
    boundary_widths: Sequence[int],
    trimap_widths: Sequence[int],
) -> Evaluation:
    """Score the class map of a volume, slice by slice.

    Parameters
    ----------
    group
        Store of the run.
    truth
        A volume of labels, or NAME=FILE,NAME=FILE: volumes of probability.
    class_values
        What the values of a volume of labels mean; empty: the codes of the map.
    unlabelled
        Class that has what volumes of probability leave of one.
    slices
        First and last slice that are scored, counted along the axis of the run; None: all.
    boundary_widths, trimap_widths
        Pixels.

    Raises
    ------
    TrainingError
        If the truth is on another grid, or has no class of the map.
    UsageError
        If a class is not one of the map, or the remainder is not said.
    """
    table, geometry = read_class_table(group), read_geometry(group)
    sheet = sheet_of(group, slices, largest_width([*boundary_widths, *trimap_widths]))
    probabilities = probabilities_of(truth)
    for name in (*class_values.values(), *probabilities, *([unlabelled] if unlabelled else [])):
        if name not in table.names:
            msg = f"the truth is said to have the class {name!r}; the map has {', '.join(table.names)}"
            raise UsageError(msg)
    if not probabilities:
        labels = labels_from_codes(truth, geometry, class_values, table.names)
    elif unlabelled is None:
        msg = "TRUTH names probabilities; say by --unlabelled which class has what they leave of one"
        raise UsageError(msg)
    else:
        labels = labels_from_probabilities(probabilities, unlabelled, geometry, table.names)
    return evaluate_map(
        SheetOfClasses(group, sheet),
        SheetOfTruth(labels, sheet),
        EvaluatedClasses(table.codes, table.names),
        boundary_widths=boundary_widths,
        trimap_widths=trimap_widths,
    )


def probabilities_of(truth: str) -> dict[str, str]:
    """Return class name -> file of NAME=FILE,NAME=FILE; nothing if the truth is one file."""
    if "=" not in truth or Path(truth).exists():
        return {}
    found = {}
    for entry in truth.split(","):
        name, equals, path = entry.partition("=")
        if not equals or not Path(path).exists():
            msg = f"TRUTH names {entry!r}; it must be CLASS=FILE with a file of probabilities, or one file of labels"
            raise UsageError(msg)
        found[name.strip()] = path
    return found
