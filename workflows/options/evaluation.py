"""The options of `segment-tiles evaluate`, declared once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, get_args

from segment_tiles.pipeline.accepted import PolygonShape
from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.grid.classes import split_names
from segment_tiles.workflows.options.declare import argument, check_choices, one_of, option, options_of
from segment_tiles.workflows.options.keywords import values_of


def parse_slices(text: str) -> tuple[int, int]:
    """Return the numbers of the first and the last slice.

    >>> parse_slices("85,104")
    (85, 104)
    """
    first, _, last = text.partition(",")
    if not (first.strip().isdigit() and last.strip().isdigit()):
        msg = f"--slices is {text!r}; it must be FIRST,LAST, two slice numbers from 0, such as 85,104"
        raise UsageError(msg)
    return int(first), int(last)


def parse_widths(option_name: str, text: str) -> tuple[int, ...]:
    """Return widths in pixels.

    >>> parse_widths("--boundary-width", "1,5")
    (1, 5)
    """
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        msg = f"{option_name} is {text!r}; it must be whole numbers of pixels, such as 1,2,5"
        raise UsageError(msg) from error


USUAL_WIDTHS: Final = (1, 2, 5)


def _widths(name: str, help: str) -> Any:
    parse: Callable[[str], tuple[int, ...]] = partial(parse_widths, f"--{name}")
    return option(help, name=name, default=USUAL_WIDTHS, typed="1,2,5", metavar="PX,PX", parse=parse)


@dataclass(frozen=True, slots=True)
class EvaluateConfig:
    """A class map and the truth, as asked for."""

    class_map: Path = argument("Folder of a run, or a raster of class codes.", metavar="CLASSMAP")
    truth: str = argument(
        "Class raster, folder of a run, or vector file with polygons; of a volume: one of labels, or "
        "CLASS=FILE,CLASS=FILE of probabilities.",
        metavar="TRUTH",
        repr=False,
    )  # not in repr: it may hold secrets
    class_column: str | None = option("Column of the vector file that says the class.", default=None)
    class_value: tuple[str, ...] = option(
        "What a value of TRUTH means; repeat.", default=(), metavar="VALUE=CLASS"
    )
    ignore_value: tuple[str, ...] = option(
        "Code of TRUTH that is no class; repeat.", default=(), metavar="VALUE"
    )
    polygon_shape: PolygonShape = option(f"{one_of(get_args(PolygonShape))}.", default="polygon")
    unlabelled: str | None = option(
        "Class outside all polygons, default: not scored; or what probabilities leave of one.",
        default=None,
        metavar="CLASS",
    )
    classes: tuple[str, ...] = option(
        "Names of codes 0, 1, ... if CLASSMAP has none.", default=(), metavar="NAME,NAME", parse=split_names
    )
    boundary_widths: tuple[int, ...] = _widths("boundary-width", "Widths of boundary IoU.")
    trimap_widths: tuple[int, ...] = _widths("trimap-width", "Widths of trimap mean IoU.")
    slices: tuple[int, int] | None = option(
        "Of a volume: score these slices alone.", default=None, metavar="FIRST,LAST", parse=parse_slices
    )
    objects: tuple[str, ...] = option(
        "Score objects of these classes: CLASSMAP and TRUTH are label images, polygons or runs, or folders of them.",
        default=(),
        metavar="CLASS,CLASS",
        parse=split_names,
    )
    out: Path | None = option("Also write evaluation.json and confusion.png.", default=None, metavar="DIR")

    def __post_init__(self) -> None:
        check_choices(self)
        _ = self.class_values
        if self.objects:
            for name in ("classes", "slices", "unlabelled"):
                if getattr(self, name):
                    self._refuse_beside_objects(name)
            for name, value, usual in (
                ("ignore-value", self.ignore_value, ()),
                ("polygon-shape", self.polygon_shape, "polygon"),
                ("boundary-width", self.boundary_widths, USUAL_WIDTHS),
                ("trimap-width", self.trimap_widths, USUAL_WIDTHS),
            ):
                if value != usual:
                    self._refuse_beside_objects(name)

    def _refuse_beside_objects(self, name: str) -> None:
        msg = f"--{name} is about pixels; with --objects leave it out, or score pixels without --objects"
        raise UsageError(msg)

    @property
    def class_values(self) -> dict[str, str]:
        """Value of the truth -> class name of the map.

        Raises
        ------
        UsageError
            If an entry is not VALUE=CLASS.
        """
        values = {}
        for entry in self.class_value:
            value, equals, name = entry.partition("=")
            if not equals or not value or not name:
                msg = f"--class-value is {entry!r}; it must be VALUE=CLASS, such as tree=forest"
                raise UsageError(msg)
            values[value.strip()] = name.strip()
        return values


def evaluate_config_from(**options: Any) -> EvaluateConfig:
    """Return what options ask for, by their names on the command line with ``_`` for ``-``.

    Parameters
    ----------
    **options
        Values, or texts as on the command line; ``class_value`` may be a mapping. None: not given.

    Raises
    ------
    TypeError
        If a name is none of the options, or ``class_map`` or ``truth`` is missing.
    UsageError
        If a value is wrong; the text is that of the command line.

    Examples
    --------
    >>> evaluate_config_from(class_map="map", truth="truth.gpkg", class_value={"tree": "forest"}).class_values
    {'tree': 'forest'}
    """
    if isinstance(options.get("class_value"), Mapping):
        options["class_value"] = [f"{value}={name}" for value, name in options["class_value"].items()]
    return EvaluateConfig(**values_of(options_of(EvaluateConfig), options))
