"""The pixels of a class raster of any size given to objects, before polygons are traced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.durable import remove
from segment_tiles.pipeline.vectors.changes.surroundings import all_surroundings
from segment_tiles.pipeline.vectors.geometry.objects.numbers import ObjectPixels
from segment_tiles.pipeline.vectors.geometry.objects.sheaths import Sheaths
from segment_tiles.pipeline.vectors.objects.rules import CodeRules, code_rules
from segment_tiles.pipeline.vectors.objects.work import ObjectSetup, ObjectWorker, Owned
from segment_tiles.pipeline.vectors.options import PolygonizeOptions
from segment_tiles.pipeline.vectors.rasters.changed_class_raster import create_codes
from segment_tiles.pipeline.vectors.rasters.class_raster import ClassRasterSpec, RasterName
from segment_tiles.pipeline.vectors.tile_ledger import TileLedger
from segment_tiles.pipeline.vectors.tiling import VectorTiling
from segment_tiles.workflows.polygons.vector_pool import Run, worker_pool

OBJECTS, SEEDS, MIDDLES = "objects", "seeds", "middles"
"""Steps of the ledger."""


@dataclass(frozen=True, slots=True)
class FoundObjects:
    """Which object each pixel belongs to."""

    pixels: ObjectPixels
    """Array of them."""
    valid: NDArray[np.int64]
    """Pixels of the raster with a class, by the cells of `area_of_cells`."""
    notes: tuple[str, ...]
    """What the user should know: border pixels that no object has."""
    sheaths: Path | None
    """File of the sheaths of objects; None: no rule has one."""


def found_objects(
    raster: RasterName,
    spec: ClassRasterSpec,
    before: Path | None,
    ledger: TileLedger,
    options: PolygonizeOptions,
    workers: int,
) -> FoundObjects:
    """Give pixels to objects; a step that is complete in the ledger is not repeated.

    Parameters
    ----------
    raster, spec
        The class raster.
    before
        Changed codes, or None for those of the raster.
    ledger
        Of the tiles.
    options
        With rules of objects.
    workers
        Processes.
    """
    rules = code_rules(spec, options)
    assert rules is not None
    identities = ledger.codes(OBJECTS)
    if not ledger.has_step(OBJECTS):
        tiling = VectorTiling(spec.height, spec.width, options.vector_tile)
        middles = ledger.codes(MIDDLES) if rules.halo else None
        setup = ObjectSetup(raster, before, middles, ledger.codes(SEEDS), identities, options)
        if middles is not None:
            create_codes(middles, spec, options.vector_tile, "uint8")
        create_codes(setup.seeds, spec, options.vector_tile, "int64")
        create_codes(identities, spec, options.vector_tile, "int64")
        with worker_pool(ObjectWorker, setup, workers) as run:
            counted = _owners(run, tiling, rules)
        beside = [ledger.sheaths] if rules.sheaths else []
        for file in beside:
            Sheaths.sum([owned.sheaths for owned in counted]).write(file)
        ledger.finish_step(OBJECTS, _sum(counted), beside)
        for path in (middles, setup.seeds):
            if path is not None:
                remove(path)
    counts = ledger.counts(OBJECTS)
    pixels = ObjectPixels(identities, (spec.height, spec.width), rules.identities)
    numbers = iter(counts)
    far, seeds, beside_them = (list(islice(numbers, size)) for size in _sizes(rules))
    notes = (*_notes(spec, rules, far), *_without_pixels(spec, rules, seeds, beside_them), *_least(rules))
    valid = np.array(list(numbers), dtype=np.int64)
    return FoundObjects(pixels, valid, notes, ledger.sheaths if rules.sheaths else None)


def _owners(run: Run, tiling: VectorTiling, rules: CodeRules) -> list[Owned]:
    numbers = range(tiling.count)
    if rules.halo:
        for _ in run("middles", numbers):
            pass
    seams = list(run("seams", numbers))
    _, surroundings = all_surroundings(tiling, seams, rules.connectivity)
    for _ in run("seeds", list(enumerate(surroundings))):
        pass
    return list(run("owners", numbers))


def _sum(counted: Sequence[Owned]) -> list[int]:
    """Return the counts of all tiles: `far`, `seeds` and `beside`, and the valid pixels of each cell."""
    columns = zip(*((owned.far, owned.seeds, owned.beside, owned.valid) for owned in counted), strict=True)
    return [number for column in columns for number in np.array(column, dtype=np.int64).sum(axis=0).tolist()]


def _sizes(rules: CodeRules) -> tuple[int, int, int]:
    """Return how many counts there are of `far`, `seeds` and `beside`."""
    groups, beside = (*rules.groups, *rules.sheath_groups), (*rules.borders, *rules.sheaths)
    return len(groups), len(rules.rules), len(beside)


def _without_pixels(
    spec: ClassRasterSpec, rules: CodeRules, seeds: Sequence[int], beside: Sequence[int]
) -> tuple[str, ...]:
    """Say which classes of rules have no pixel: the name or the code may be another than was meant."""
    names = {entry.code: entry.name for entry in spec.classes}
    empty = [rule.code for rule, number in zip(rules.rules, seeds, strict=True) if not number]
    count = len(rules.borders)
    none = [code for code, number in zip(rules.borders, beside[:count], strict=True) if not number]
    bare = [code for code, number in zip(rules.sheaths, beside[count:], strict=True) if not number]
    return (
        *(f"no pixel is of {names.get(code, f'class {code}')}: it has no objects" for code in empty),
        *(
            f"no pixel is of {names.get(code, f'class {code}')}, the border between objects: those that touch are one"
            for code in none
        ),
        *(f"no pixel is of {names.get(code, f'class {code}')}: no object has a sheath" for code in bare),
    )


def _least(rules: CodeRules) -> list[str]:
    """Say which objects a rule leaves out for their size: a count without it would be another."""
    return [
        f"objects of {entry.rule.name} with fewer than {entry.rule.min_pixels} pixels are left out, as the rule says"
        for entry in rules.rules
        if entry.rule.min_pixels
    ]


def _notes(spec: ClassRasterSpec, rules: CodeRules, far: Sequence[int]) -> tuple[str, ...]:
    """Say how many pixels of border classes and sheaths no object has."""
    names = {entry.code: entry.name for entry in spec.classes}
    notes = []
    for group, number in zip((*rules.groups, *rules.sheath_groups), far, strict=True):
        if number:
            codes = [rules.rules[n].code for n in group.rules]
            seeds = " and ".join(names.get(code, f"class {code}") for code in codes)
            border = names.get(group.code, f"class {group.code}")
            notes.append(
                f"{number} pixels of {border} are farther than {rules.reach_of(group)} px from every {seeds}: no "
                "object has them"
            )
    return tuple(notes)
