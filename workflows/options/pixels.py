"""The options on pixels, declared once: which are read, which another model leaves out, and on which grids maps lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.grid.classes import split_names
from segment_tiles.pipeline.sources.view import View
from segment_tiles.workflows.options.declare import option
from segment_tiles.workflows.options.parsers import parse_resolution

WARPS: Final = ("nearest", "mode")
"""How classes come onto another grid."""
GRIDS: Final = ("source", "model")
"""On which a result can lie."""


@dataclass(frozen=True, kw_only=True)  # with slots it could not stand beside other settings
class PixelSettings:
    """Which pixels of a source are read, as asked for; None means that the source and the model decide."""

    level: int | None = option(
        "Level of the source; 0 is full size.", default=None, metavar="N", minimum=0
    )  # None: full size, or what the model's micrometres per pixel need
    resolution: float | str = option(
        "Pixel size on the ground at which a raster is computed: the model's, the raster's own, or metres.",
        default="model",
        metavar="model|native|METRES",
        parse=parse_resolution,
        above=0,
        pattern="^(model|native)$",
    )
    grid: str | None = option(
        "Grid of a result that was computed at another pixel size: source (default of rasters) or model (of slides). "
        "model: of a raster also the class pixels of a network whose output is coarser, as they are.",
        default=None,
        metavar="source|model",
        choices=GRIDS,
    )
    mpp: float | None = option(
        "Read a slide at X micrometres per pixel; default: the model's, if it has one.",
        default=None,
        metavar="X",
        above=0,
    )
    source_mpp: float | None = option(
        "Micrometres per pixel of the slide itself, if it is silent or wrong.",
        default=None,
        metavar="X",
        above=0,
    )
    z: int | None = option(
        "Plane of an OME image with several, from 0.", default=None, metavar="N", minimum=0
    )
    t: int | None = option(
        "Time point of a source with several, from 0.", default=None, metavar="N", minimum=0
    )

    rpc_height: float | None = option(
        "Place a raster by its RPCs at this height above the ellipsoid, in metres.",
        default=None,
        metavar="METRES",
    )
    rpc_dem: str | None = option(
        "Place a raster by its RPCs on the heights of this raster, in metres.",
        default=None,
        metavar="RASTER",
        is_file=True,
    )

    @property
    def view(self) -> View:
        """Micrometres per pixel, plane and time point, as far as they are asked for."""
        return View(self.mpp, self.source_mpp, self.z, self.t)

    @property
    def metres(self) -> float | None:
        """Metres per pixel that are asked for by number."""
        return None if isinstance(self.resolution, str) else self.resolution


KEEP: Final = "keep="
"""Before the classes of a mask, if they are what is kept."""


@dataclass(frozen=True, slots=True)
class AskedMask:
    """A model whose classes limit another's map, and which of them; nothing is looked at yet."""

    model: str
    """Bundled model, or folder of a package."""
    classes: tuple[str, ...]
    """Names, one or more."""
    keeps: bool = False
    """Whether the map has these classes alone; else it has all but these."""

    @property
    def text(self) -> str:
        """As on the command line."""
        names = ",".join(
            f'"{name}"' if "," in name or name.startswith(KEEP) else name for name in self.classes
        )
        return f"{self.model}:{KEEP if self.keeps else ''}{names}"


def parse_mask(text: str) -> str:
    """Return a mask such as ``clouds:cloud,shadow`` or ``coast:keep=land`` without needless spaces.

    Raises
    ------
    UsageError
        If it has no model, no class, or one twice.

    >>> parse_mask("clouds: cloud, shadow"), parse_mask("./coast:keep=land")
    ('clouds:cloud,shadow', './coast:keep=land')
    """
    return _asked_mask(text).text


def _asked_mask(text: str) -> AskedMask:
    before, quote, quoted = text.partition('"')  # a name in quotes may have a colon
    model, colon, rest = before.rpartition(":")
    named = (rest + quote + quoted).strip()
    keeps = named.startswith(KEEP)
    names = split_names(named.removeprefix(KEEP))
    if not colon or not model.strip() or not all(names) or len(set(names)) < len(names):
        msg = (
            f"--mask-model is {text[:80]!r}; give a model and the classes that are left out, such as "
            "clouds:cloud,shadow, or those that are kept: coast:keep=land"
        )
        raise UsageError(msg)
    return AskedMask(model.strip(), names, keeps)


@dataclass(frozen=True, kw_only=True)  # with slots it could not stand beside other settings
class MaskSettings:
    """Another model whose classes limit what is computed and written, as tissue does."""

    mask_model: str | None = option(
        "Another model, computed first: pixels of these classes of it are left out; NAME:keep=CLASS: all others are.",
        default=None,
        metavar="NAME:CLASS,..",
        parse=parse_mask,
        in_jobs=False,  # there it is `mask`, with a key for each part
    )

    @property
    def mask(self) -> AskedMask | None:
        """What is asked for; None if nothing is."""
        return None if self.mask_model is None else _asked_mask(self.mask_model)


@dataclass(frozen=True, kw_only=True)  # with slots it could not stand beside other settings
class MapGridSettings:
    """On which grid the files that are made of a class map lie, as asked for; None: on that of the map."""

    crs: str | None = option(
        "Make the files of the class map in this CRS: EPSG:3857, WKT, or what else PROJ knows.",
        default=None,
        metavar="CRS",
    )
    like: str | None = option(
        "Make the files of the class map on the grid of this raster, on which a stack of several CRS is read too.",
        default=None,
        metavar="RASTER",
        is_file=True,
    )
    warp: str = option(
        "How classes come onto the grid of --crs or --like: nearest or mode.",
        default="nearest",
        choices=WARPS,
    )

    @property
    def map_grid(self) -> MapGrid | None:
        """What is asked for; None if nothing is.

        Raises
        ------
        UsageError
            If both a CRS and a raster are, or a way without either.
        """
        if self.crs is not None and self.like is not None:
            msg = f"--crs {self.crs} and --like {self.like} exclude each other; give one of them"
            raise UsageError(msg)
        if self.crs is None and self.like is None:
            if self.warp != "nearest":
                msg = f"--warp is {self.warp}, but the map stays on its grid; give --crs or --like too"
                raise UsageError(msg)
            return None
        return MapGrid(self.crs, self.like, self.warp)


@dataclass(frozen=True, slots=True)
class MapGrid:
    """A grid that is asked for, not looked at yet."""

    crs: str | None
    like: str | None
    warp: str

    def as_plain(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {"crs": self.crs, "like": self.like, "warp": self.warp}
