"""The class grid of a model whose output is coarser than its tile, kept as it is by ``--grid model``.

::

    raster       |  |  |  |  |  |  |  |  |  |  |     odd sides: the last class pixel reaches beyond them
    class grid   |     a     |     b     |     c     |     coarser by 4: the network's own numbers, not resized

A class pixel has a class if any pixel of the raster in it holds data and lies in the AOI.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.grid.lattice import Lattice
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.scenes.scene import Models

CRF: Final = "crf"
"""Entry of a manifest with the parameters of a CRF (`networks.crf`, which brings torch)."""


def coarse_factor(config: RunConfig, models: Models) -> int:
    """Return how many pixels of a raster a class pixel has along a side; 1 if a coarser output is to be made finer.

    Raises
    ------
    UsageError
        If the models of an ensemble differ in it, or one is refined on the pixels of the raster.
    """
    if config.grid != "model" or config.lies_on is not None:
        return 1
    manifests = (models.manifest, *(manifest for _, manifest in models.companions))
    factors = sorted({manifest.output.coarser for manifest in manifests})
    if len(factors) > 1:
        has = " and ".join(map(str, factors))
        msg = f"--grid is model, but outputs of these models are coarser by {has}: class grids differ; leave it out"
        raise UsageError(msg)
    refined = next((manifest.name for manifest in manifests if CRF in manifest.extra), None)
    if factors[0] > 1 and refined is not None:
        msg = (
            f"--grid is model, but the CRF of model {refined} acts on the pixels of the raster; leave it out"
        )
        raise UsageError(msg)
    return factors[0]


def coarse_lattice(lattice: Lattice, factor: int) -> Lattice:
    """Return tiles whose neighbours share an even number of class pixels: the overlap nearest to what is asked for.

    >>> coarse_lattice(Lattice(100, 100, tile=64, overlap=36), 4).overlap
    32
    """
    if factor == 1:
        return lattice
    step = 2 * factor
    shared = min(round(lattice.shared / step) * step, (lattice.scored - factor) // step * step)
    return replace(lattice, overlap=shared + 2 * lattice.margin)
