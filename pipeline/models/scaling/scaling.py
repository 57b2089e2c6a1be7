"""Scaling: what is done to the values of every band before the network sees them, as one value.

::

    stored values -> physical values, if the model wants them -> operation 1 -> operation 2 ... of each band

The operations are those of ``value_scaling`` in the MLM extension of STAC. Where MLM has fixed numbers, an operation
may take those of the scene or of the tile instead; decision 0140.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from segment_tiles.pipeline.wording import counted

Statistics = Literal["fixed", "scene", "tile"]
"""Where an operation has its numbers from."""
Values = Literal["stored", "physical"]
"""What the first operation gets: values as the file holds them, or with the scale and offset that it says."""

OPERATIONS: Final = {
    "z-score": ("mean", "stddev"),
    "min-max": ("minimum", "maximum"),
    "clip": ("minimum", "maximum"),
    "clip-min": ("minimum",),
    "clip-max": ("maximum",),
    "offset": ("value",),
    "scale": ("value",),
}
"""Names in MLM of the numbers that each operation has."""
MEASURED: Final = ("z-score", "min-max", "clip")
"""Operations that may have the numbers of a scene or a tile."""
SMALLEST: Final = 2.0**-126
"""Of divisors: the smallest normal number of float32; below it has no exact numbers, and then none."""
_NOT_FINITE: Final = 2.0**128 - 2.0**103
"""From here on, float32 rounds to infinity."""
OPERATIONS_AT_MOST: Final = 32
"""Of a chain."""
WITH_PERCENTILES: Final = ("min-max", "clip")
"""Operations that may have two percentiles in place of minimum and maximum."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation on one band, in float32.

    Raises
    ------
    ValueError
        If it has no meaning; the text says what is needed.
    """

    type: str
    """Of `OPERATIONS`."""
    first: float | None = None
    """Mean, minimum or value; None: measured."""
    second: float | None = None
    """Standard deviation or maximum; None: measured, or there is none."""
    statistics: Statistics = "fixed"
    """Where the numbers come from. Those of a scene are None until they were measured."""
    percentiles: tuple[float, float] | None = None
    """Of measured values in place of the smallest and the largest."""
    over: Literal["band", "all"] = "band"
    """Whether every band is measured for itself, or all together."""
    nonzero: bool = False
    """Of a z-score: values that are 0 are not measured, and stay 0."""

    def __post_init__(self) -> None:
        if self.type not in OPERATIONS:
            raise ValueError(f"type {self.type!r} is not known: it must be one of {', '.join(OPERATIONS)}")
        if self.nonzero and self.type != "z-score":
            raise ValueError(f"{self.type} cannot leave out what is 0: z-score can")
        if self.statistics == "fixed":
            self._check_numbers()
            if self.percentiles is not None or self.over != "band":
                raise ValueError(f"{self.type} has fixed numbers: percentiles and over need statistics")
        else:
            self._check_measured()

    def _check_measured(self) -> None:
        if self.statistics not in ("scene", "tile"):
            raise ValueError(f"statistics {self.statistics!r} is not known: it must be fixed, scene or tile")
        if self.type not in MEASURED:
            raise ValueError(f"{self.type} has no statistics; {', '.join(MEASURED)} have")
        if self.over not in ("band", "all"):
            raise ValueError(f"over {self.over!r} is not known: it must be band or all")
        if self.percentiles is not None:
            low, high = self.percentiles
            if self.type not in WITH_PERCENTILES:
                raise ValueError(f"{self.type} has no percentiles; {' and '.join(WITH_PERCENTILES)} have")
            if not 0 <= low < high <= 100:
                raise ValueError(
                    f"percentiles are {low:g} and {high:g}: they must lie in 0 to 100, the first below the second"
                )
        elif self.type == "clip":
            raise ValueError("clip at the statistics of values needs percentiles, such as 2 and 98")
        if self.first is not None:
            self._check_numbers()

    def _check_numbers(self) -> None:
        names = OPERATIONS[self.type]
        numbers = (self.first, self.second)[: len(names)]
        for name, number in zip(names, numbers, strict=True):
            if number is None or not abs(number) < _NOT_FINITE:
                raise ValueError(f"{self.type} needs a finite {name} in float32, this is {number}")
        if self.type == "z-score" and not float(self.second or 0) >= SMALLEST:
            raise ValueError(
                f"standard deviations must be above 0, at least {SMALLEST:.3g}, this is {self.second}"
            )
        if self.type in {"min-max", "clip"} and self.statistics == "fixed":
            self._check_range()
        if self.type == "scale" and abs(self.first or 0.0) < SMALLEST:
            raise ValueError(
                f"scale divides by its value, which must not be 0, at least {SMALLEST:.3g}, this is {self.first}"
            )

    def _check_range(self) -> None:
        assert self.first is not None
        assert self.second is not None
        runs = f"{self.type} runs from {self.first:g} to {self.second:g}"
        if not self.first < self.second:
            raise ValueError(f"{runs}: the minimum must be below the maximum")
        if self.type == "min-max" and not SMALLEST <= self.second - self.first < _NOT_FINITE:
            raise ValueError(
                f"{runs}: it divides by their difference, which must be at least {SMALLEST:.3g} and finite in float32"
            )

    @property
    def is_measured_in_scene(self) -> bool:
        """Whether its numbers are those of a scene, and not known yet."""
        return self.statistics == "scene" and self.first is None

    @property
    def declared(self) -> Operation:
        """The same without what was measured."""
        return replace(self, first=None, second=None) if self.statistics != "fixed" else self

    @property
    def _of_what(self) -> str:
        return " where it is not 0" if self.nonzero else ""

    def __str__(self) -> str:
        if self.statistics == "fixed":
            numbers = [number for number in (self.first, self.second) if number is not None]
            return f"{self.type} {', '.join(f'{number:g}' for number in numbers)}{self._of_what}"
        at = "" if self.percentiles is None else " at percentiles {:g} and {:g}".format(*self.percentiles)
        of = "the scene" if self.statistics == "scene" else "each tile"
        over = "all bands together" if self.over == "all" else "band by band"
        return f"{self.type}{at} of {of}{self._of_what}, {over}"


Chain = tuple[Operation, ...]
"""The operations on one band, in their order; none leaves it as it is."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """What is done to the values of all bands.

    Raises
    ------
    ValueError
        If its operations cannot be done together.
    """

    chains: tuple[Chain, ...]
    """One for every band, or one for all of them."""
    values: Values = "stored"
    """What the first operation gets."""
    units: tuple[tuple[float, float], ...] = ()
    """Scale and offset of every band, by which stored values become physical; empty: they are so already."""

    def __post_init__(self) -> None:
        if not self.chains:
            raise ValueError("a scaling needs an entry for every band, or one for all bands")
        if self.values not in ("stored", "physical"):
            raise ValueError(f"values {self.values!r} is not known: it must be stored or physical")
        for chain in self.chains:
            if len(chain) > OPERATIONS_AT_MOST:
                raise ValueError(f"a band has {len(chain)} operations; {OPERATIONS_AT_MOST} are the most")
            measured = [operation.statistics for operation in chain]
            if "tile" in measured and "scene" in measured[measured.index("tile") :]:
                raise ValueError("statistics of the scene cannot be measured after an operation of each tile")

        for position in range(max(map(len, self.chains))):
            there = {chain[position : position + 1] for chain in self.chains}
            if len(there) > 1 and any(
                one.over == "all" and one.first is None for (one,) in filter(None, there)
            ):
                raise ValueError("statistics over all bands need the same operation in every entry")

    @property
    def is_fixed_z_score(self) -> bool:
        """Whether it is (value - mean) / std of stored values, with fixed numbers, in every band."""
        return self.values == "stored" and all(
            len(chain) == 1
            and chain[0].type == "z-score"
            and chain[0].statistics == "fixed"
            and not chain[0].nonzero
            for chain in self.chains
        )

    @property
    def is_measured_in_scene(self) -> bool:
        """Whether statistics of the scene are to be measured yet."""
        return any(operation.is_measured_in_scene for chain in self.chains for operation in chain)

    @property
    def has_scene_statistics(self) -> bool:
        """Whether it depends on the scene as a whole."""
        return any(operation.statistics == "scene" for chain in self.chains for operation in chain)

    @property
    def is_relative(self) -> bool:
        """Whether values of any size will do, because every band is measured before anything else is done to it."""
        return all(
            chain and chain[0].statistics != "fixed" and chain[0].type != "clip" for chain in self.chains
        )

    @property
    def has_means(self) -> bool:
        """Whether every band has a z-score, which says what its mean is."""
        return all(any(operation.type == "z-score" for operation in chain) for chain in self.chains)

    def of_bands(self, bands: int) -> tuple[Chain, ...]:
        """Return one chain for each of so many bands.

        Raises
        ------
        ValueError
            If it is for another number of bands.
        """
        if len(self.chains) not in {1, bands}:
            entries = counted(len(self.chains), "entry", "entries")
            raise ValueError(
                f"has {entries}, but there are {counted(bands, 'band')}: give one for each, or one for all"
            )
        return self.chains * bands if len(self.chains) == 1 else self.chains

    def declared(self, bands: int) -> Scaling:
        """Return the same without what was measured, for a number of bands."""
        chains = tuple(tuple(operation.declared for operation in chain) for chain in self.of_bands(bands))
        return Scaling(chains[:1] if len(set(chains)) == 1 else chains, self.values, self.units)

    def of_tiles(self) -> Scaling:
        """Return the same with statistics of tiles for those of a scene, to measure time where there is no scene."""
        chains = tuple(
            tuple(replace(o, statistics="tile") if o.is_measured_in_scene else o for o in chain)
            for chain in self.chains
        )
        return replace(self, chains=chains)

    def __str__(self) -> str:
        shown = [" then ".join(map(str, chain)) or "as it is" for chain in self.chains]
        text = shown[0] if len(set(shown)) == 1 else "; ".join(shown)
        return f"physical values, {text}" if self.values == "physical" else text


def z_score(mean: Sequence[float], std: Sequence[float]) -> Scaling:
    """Return (value - mean) / std, each with a number for every band.

    Raises
    ------
    ValueError
        If there is not one mean and one standard deviation above 0 for each band.
    """
    if len(mean) != len(std):
        means, deviations = counted(len(mean), "mean"), counted(len(std), "standard deviation")
        raise ValueError(f"{means} and {deviations}: each band needs one of each")
    return Scaling(tuple((Operation("z-score", m, s),) for m, s in zip(mean, std, strict=True)))
