"""Mean, standard deviation and quantiles of the values of a raster under objects.

Values of an object are sorted before they are added, so that the sums are the same however the raster was cut. Those of
pieces at seams wait in a file for the join: the values of the objects of one tile are in memory, and no others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

QUANTILES: Final = (5, 25, 50, 75, 95)
"""In percent."""
STATISTICS: Final = ("mean", "std", *(f"q{percent:02d}" for percent in QUANTILES))
"""Of each band, in the order of columns."""


def value_columns(bands: int) -> tuple[str, ...]:
    """Return the names of the columns of so many bands.

    >>> value_columns(1)
    ('band1_mean', 'band1_std', 'band1_q05', 'band1_q25', 'band1_q50', 'band1_q75', 'band1_q95')
    """
    return tuple(f"band{band}_{name}" for band in range(1, bands + 1) for name in STATISTICS)


@dataclass(frozen=True, slots=True)
class Values:
    """Values of one band, and which object, or piece of one, each is of."""

    owners: NDArray[np.int64]
    values: NDArray[np.float64]

    def of(self, owners: NDArray[np.integer], given: NDArray[np.integer]) -> Values:
        """Return the values of some owners, under other numbers.

        Parameters
        ----------
        owners
            Ascending.
        given
            What each of them is then called.
        """
        if not len(owners):
            return Values(self.owners[:0], self.values[:0])
        found = np.minimum(np.searchsorted(owners, self.owners), len(owners) - 1)
        known = owners[found] == self.owners
        return Values(np.asarray(given)[found[known]].astype(np.int64), self.values[known])

    @classmethod
    def concatenate(cls, parts: list[Values]) -> Values:
        """Return all of several, at least one."""
        return cls(np.concatenate([p.owners for p in parts]), np.concatenate([p.values for p in parts]))


def values_of_labels(
    labels: NDArray[np.int32], values: NDArray[np.float64], valid: NDArray[np.bool_]
) -> list[Values]:
    """Return the values of each band under labels from 1 on; owners are labels less 1.

    Parameters
    ----------
    labels : array rows x columns
    values, valid : arrays bands x rows x columns
    """
    return [
        Values(labels[here].astype(np.int64) - 1, band[here])
        for band, has in zip(values, valid, strict=True)
        for here in [(labels > 0) & has]
    ]


def statistics_of(bands: list[Values], count: int) -> NDArray[np.float64]:
    """Return the statistics of owners 0 to count - 1, count x columns; NaN of those without a value.

    The standard deviation is that of all pixels (divided by their number); quantiles are interpolated, as NumPy does.
    """
    return np.concatenate([_statistics(band, count) for band in bands], axis=1)


def _statistics(band: Values, count: int) -> NDArray[np.float64]:
    result = np.full((count, len(STATISTICS)), np.nan)
    order = np.lexsort((band.values, band.owners))
    owners, values = band.owners[order], band.values[order]
    known, starts, number = np.unique(owners, return_index=True, return_counts=True)
    if not len(known):
        return result
    mean = np.add.reduceat(values, starts) / number
    off = values - np.repeat(mean, number)
    result[known, 0] = mean
    result[known, 1] = np.sqrt(np.add.reduceat(off * off, starts) / number)
    for column, percent in enumerate(QUANTILES, 2):
        place = percent / 100 * (number - 1)
        low = np.floor(place).astype(np.int64)
        high = np.minimum(low + 1, number - 1)
        first, second = values[starts + low], values[starts + high]
        result[known, column] = first + (second - first) * (place - low)
    return result
