"""A class raster whose classes are merged, renamed and renumbered while it is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import UsageError, VectorError
from segment_tiles.pipeline.grid.classes import Target
from segment_tiles.pipeline.grid.reclass import Reclass, reclass_of
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.vectors.rasters.class_raster import ClassRaster, ClassRasterSpec


class ReclassedClassRaster:
    """New codes, names and colours; the rest from the raster that they are of.

    Raises
    ------
    UsageError
        If the raster has not the classes that are named.
    """

    def __init__(self, original: ClassRaster, targets: Sequence[Target]) -> None:
        self._original = original
        spec = original.spec
        self._reclass = reclass_of(targets, spec.classes, "the raster", is_complete=spec.has_all_classes)
        before = {code for code, _ in self._reclass.codes}
        if spec.nodata is not None and spec.nodata in before:
            msg = f"--reclass: {spec.nodata} is the nodata value of the raster, which stays; leave it out"
            raise UsageError(msg)
        self._forbidden = tuple(set(self._reclass.taken) - before - {spec.nodata})
        self.spec: ClassRasterSpec = reclassed_spec(spec, self._reclass)

    def read(self, window: Window) -> NDArray[np.integer]:
        """Return the codes of a window, rows x columns.

        Raises
        ------
        VectorError
            If a code that no class has been given stands there, and a class was given the same.
        """
        codes = self._original.read(window)
        for code in self._forbidden:
            if (codes == code).any():
                msg = f"--reclass gives the code {code}, which the raster has already; name it, or give another code"
                raise VectorError(msg)
        out = codes.astype(self.spec.dtype)
        if self._original.spec.nodata != self.spec.nodata:
            out[codes == self._original.spec.nodata] = self.spec.nodata
        for before, after in self._reclass.codes:
            if before != after:
                out[codes == before] = after
        return out

    def read_confidence(self, window: Window) -> NDArray[np.uint8]:
        """Return the confidence bytes of a window, rows x columns: those of the classes before."""
        return self._original.read_confidence(window)

    def close(self) -> None:
        """Close the original."""
        self._original.close()


def reclassed_spec(spec: ClassRasterSpec, reclass: Reclass) -> ClassRasterSpec:
    """Return the spec with the new classes, and a wider type if a code does not fit, or is nodata."""
    ways = dict(reclass.codes)
    spec = replace(spec, masks=tuple(sorted({ways[code] for code in spec.masks})))
    codes = [after for _, after in reclass.codes]
    objects = reclass.rules_after(spec.objects, spec.classes)
    if max(codes) <= np.iinfo(spec.dtype).max and spec.nodata not in codes:
        return replace(spec, classes=reclass.classes, objects=objects)
    nodata = None if spec.nodata is None else int(np.iinfo(np.int64).min)
    return replace(spec, classes=reclass.classes, objects=objects, dtype="int64", nodata=nodata)
