"""Result: a finished run, as Python has it: class map, confidence, polygons, report, and how a notebook shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from segment_tiles.pipeline.errors import OutputError

if TYPE_CHECKING:
    import geopandas
    import xarray

VECTOR_FILES: Final = (
    "polygons.parquet",
    "polygons.gpkg",
    "polygons.fgb",
    "polygons.geojson",
    "polygons.geojsonl",
)
"""Files of polygons that hold all that a GeoDataFrame has, the quickest to read first."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a run made, in its folder.

    Examples
    --------
    >>> import segment_tiles as st
    >>> result = st.segment("scene.tif", model="canopy-rgb", out="result")
    >>> result.classes.dims, result.classes.rio.crs.to_epsg()
    (('y', 'x'), 32612)
    >>> result.polygons()["class_name"].unique().tolist()
    ['tree canopy', 'other']
    """

    folder: Path
    """Output directory of the run."""
    report: Mapping[str, Any] = field(repr=False)
    """Contents of ``report.json``: settings, counts and areas of the classes, times, versions."""

    @property
    def classes(self) -> xarray.DataArray:
        """Class codes: y x x, of a volume slice x row x column; read when they are used.

        CRS, and y and x of the centres of the pixels, as rioxarray has them; class names as ``flag_meanings``.

        Raises
        ------
        MissingExtraError
            If xarray and rioxarray are not installed.
        OutputError
            If the store was damaged.
        """
        from segment_tiles.workflows.face.stored_maps import stored_classes  # noqa: PLC0415 - of an extra

        return stored_classes(self._store)

    @property
    def confidence(self) -> xarray.DataArray:
        """Highest probability of each pixel x 255, 0 at nodata; like `classes`.

        Raises
        ------
        MissingExtraError, OutputError
            As `classes`.
        """
        from segment_tiles.workflows.face.stored_maps import stored_confidence  # noqa: PLC0415 - of an extra

        return stored_confidence(self._store)

    @property
    def masks(self) -> xarray.DataArray:
        """Masks of classes that may overlap: class x y x x, 1 if a pixel has the class, else 0; like `classes`.

        Raises
        ------
        MissingExtraError
            As `classes`.
        OutputError
            If the classes of the model exclude each other, or the store was damaged.
        """
        from segment_tiles.workflows.face.stored_maps import stored_masks  # noqa: PLC0415 - of an extra

        return stored_masks(self._store)

    def polygons(self) -> geopandas.GeoDataFrame:
        """Return the polygons of the class map, with class, area and mean confidence of each.

        Raises
        ------
        OutputError
            If the run made no file of polygons.
        """
        import pandas as pd  # noqa: PLC0415

        from segment_tiles.workflows.output_folder.directory import OWN_FOLDER  # noqa: PLC0415 - brings Zarr
        from segment_tiles.workflows.output_folder.made import files_by_class  # noqa: PLC0415

        folder = self._here
        several = files_by_class(folder / OWN_FOLDER)
        for name in VECTOR_FILES:
            of_format = several.get(name.removeprefix("polygons."), [name])
            there = [folder / file for file in of_format if (folder / file).exists()]
            frames = [frame for path in there for frame in _frames(path)]
            if frames:
                return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)
        msg = (
            f"{self.folder}: the run made no file of polygons; make one with: "
            f"segment-tiles export {self.folder} --format parquet"
        )
        raise OutputError(msg)

    @property
    def _here(self) -> Path:
        """The folder, or of a result in a bucket a copy of it."""
        from segment_tiles.workflows.buckets.copies import copy_until_exit  # noqa: PLC0415 - brings Zarr

        return copy_until_exit(self.folder)

    @property
    def _store(self) -> Path:
        return self._here / "classes.zarr"

    def _repr_html_(self) -> str:
        from segment_tiles.workflows.face.notebook import result_html  # noqa: PLC0415 - of notebooks alone

        return result_html(self._here, self.report)


def _frames(path: Path) -> list[geopandas.GeoDataFrame]:
    """Return the features of a file: of a GeoPackage one frame for each layer, which classes that overlap have."""
    import geopandas  # noqa: PLC0415 - slow to import
    import pyogrio  # noqa: PLC0415

    if path.suffix == ".parquet":
        return [geopandas.read_parquet(path)]
    layers = [name for name, kind in pyogrio.list_layers(path) if kind is not None]
    return [geopandas.read_file(path, layer=name) for name in layers]


def open_result(folder: str | Path) -> Result:
    """Open what a finished run made.

    Parameters
    ----------
    folder
        Output directory of the run; or its URL, of which a copy is made that lasts as long as the process.

    Raises
    ------
    OutputError
        If there is no finished run in it.
    PlaceError
        If the bucket does not answer.

    Examples
    --------
    >>> import segment_tiles as st
    >>> made = st.segment("scene.tif", model="canopy-rgb", out="result")
    >>> st.open_result("result").report["classes"][1]["name"]
    'tree canopy'
    """
    from segment_tiles.workflows.buckets.copies import copy_until_exit  # noqa: PLC0415 - not for the class alone
    from segment_tiles.workflows.output_folder.directory import OutputDirectory  # noqa: PLC0415
    from segment_tiles.workflows.results.report import read_report  # noqa: PLC0415

    directory = OutputDirectory(copy_until_exit(Path(folder)))
    report = read_report(directory)
    if report is None:
        msg = f"{folder}: holds no report.json of a run that can be read; give the folder that was --out of `run`"
        raise OutputError(msg)
    if report.get("status") != "complete":
        msg = f"{folder}: the run is not complete; start it again, and it goes on with the rows that it has"
        raise OutputError(msg)
    return Result(directory.path, report)
