"""Names that options accept, as types; imported where nothing heavy may be."""

from __future__ import annotations

from typing import Final, Literal, get_args

Blend = Literal["gaussian", "hann", "linear", "crop"]
"""How tiles that overlap are weighed."""
BLENDS: Final[tuple[str, ...]] = get_args(Blend)
NodataRule = Literal["all", "any"]
"""A pixel is missing if all or any of its bands are."""
AlphaUse = Literal["auto", "mask", "band"]
"""What a band tagged alpha is: a mask unless it is named among the bands, always a mask, or a band of data."""
Layout = Literal["nchw", "nhwc"]
"""Order of the axes of what a graph takes or gives: batch, channels, rows, columns, or the channels at the end."""
LAYOUTS: Final[tuple[str, ...]] = get_args(Layout)
CHANNELS_FIRST, CHANNELS_LAST = LAYOUTS
DicomSegKind = Literal["binary", "labelmap"]
"""How the segments of a DICOM Segmentation are stored."""
PolygonShape = Literal["polygon", "inscribed_ellipse", "ellipse_in_ignored_box"]
"""A polygon stands for itself; for the ellipse inscribed in its box; or for that ellipse, and what is in the
box but outside every ellipse is ignored, as nobody said what it is."""
