"""What became of another project's model, and how its classes are named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segment_tiles.pipeline.errors import ModelError, UsageError
from segment_tiles.pipeline.grid.classes import ClassTable, MapClass
from segment_tiles.pipeline.models.packages.manifest import ModelManifest
from segment_tiles.pipeline.models.scaling.scaling import Scaling, z_score
from segment_tiles.pipeline.wording import counted


@dataclass(frozen=True, slots=True)
class ImportResult:
    """A model package that was written."""

    manifest: ModelManifest
    """What it says of itself."""
    source: str
    """Whose file it was."""
    assumptions: tuple[str, ...]
    """What is not in the file."""
    dropped: tuple[str, ...]
    """Tensors that serve training only."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        architecture = self.manifest.architecture
        return {
            "name": self.manifest.name,
            "source": self.source,
            "architecture": architecture.arch,
            "backbone": architecture.backbone,
            "bands": list(self.manifest.bands),
            "classes": list(self.manifest.classes.names),
            "tile": self.manifest.tile,
            "assumptions": list(self.assumptions),
            "dropped": list(self.dropped),
            "weights_checksum": self.manifest.weights_checksum,
        }


BACKGROUND_NAME = "background"


def names_of_outputs(names: tuple[str, ...], outputs: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of classes for a number of outputs, and what was concluded.

    One output, read by sigmoid, is a class and what is not of it: if only the class is named, the other is
    called background.

    >>> names_of_outputs(("tree",), 1)[0]
    ('background', 'tree')
    """
    if outputs == 1 and len(names) == 1:
        note = f"one output and one name: the classes are {BACKGROUND_NAME} and {names[0]}"
        return (BACKGROUND_NAME, *names), (note,)
    return names, ()


def check_count(path: Path, outputs: int, names: Sequence[str]) -> None:
    """Refuse another number of names than of outputs; one output has two, the first of its background.

    Raises
    ------
    ModelError
        Names both.
    """
    if len(names) != max(outputs, 2):
        has = f"{outputs} outputs" if outputs > 1 else "1 output, which makes a background and a class"
        msg = f"{path} has {has}, but --classes names {len(names)} ({', '.join(names)})"
        raise ModelError(msg)


def class_table(names: Sequence[str]) -> ClassTable:
    """Give class names codes from 0 on and colours that differ.

    Raises
    ------
    ModelError
        A name comes twice, or there is none.
    """
    from matplotlib import colormaps  # noqa: PLC0415 - slow to import, and only import and training need it

    palette = colormaps["tab20"]
    colors = [palette(code % palette.N, bytes=True)[:3] for code in range(len(names))]
    return ClassTable(
        tuple(
            MapClass(code, name, (int(red), int(green), int(blue)))
            for code, (name, (red, green, blue)) in enumerate(zip(names, colors, strict=True))
        )
    )


def one_per_band(option: str, given: tuple[float, ...], bands: tuple[str, ...]) -> tuple[float, ...]:
    """Return the numbers of an option, one for each band.

    Raises
    ------
    UsageError
        If there are more or fewer.
    """
    if len(given) != len(bands):
        values = counted(len(given), "value")
        msg = f"{option} has {values} for {counted(len(bands), 'band')}; one per band is needed"
        raise UsageError(msg)
    return given


def checked_scaling(scaling: Scaling, bands: tuple[str, ...]) -> Scaling:
    """Return the scaling of the option, which has an entry for every band, or one for all.

    Raises
    ------
    UsageError
        If it has another number.
    """
    try:
        scaling.of_bands(len(bands))
    except ValueError as error:
        msg = f"--scaling {error}"
        raise UsageError(msg) from error
    return scaling


def z_scores(mean: tuple[float, ...], std: tuple[float, ...]) -> Scaling:
    """Return the scaling by the numbers of two options.

    Raises
    ------
    UsageError
        If a standard deviation is 0 or below.
    """
    try:
        return z_score(mean, std)
    except ValueError as error:
        msg = f"--mean and --std: {error}"
        raise UsageError(msg) from error
