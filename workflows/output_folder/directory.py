"""The output directory of a run: what lies where, whose it is, and who works in it now.

::

    out/                     results, each under its final name only when complete
    out/.segment-tiles/      run.json (fingerprint), ledger/, classes.zarr while it is in work, lock,
                             computed.json and store.json when it is whole;
                             made.json: which files of formats are not made as usual;
                             of a volume voxels.zarr, until the end; traced/: polygons of finished rows, while others
                             are computed
    out/mask/                the same of the run of another model, whose classes limit this one
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from segment_tiles.pipeline.durable import PARTIAL, make_folder, remove, remove_leftovers, sync_folder
from segment_tiles.pipeline.errors import OutputError, one_line
from segment_tiles.pipeline.outputs.stores.store import SEALS_BESIDE
from segment_tiles.workflows.output_folder.check import check_output_folder
from segment_tiles.workflows.output_folder.lock import LOCK_FILES, held_folder
from segment_tiles.workflows.output_folder.made import files_by_class, remove_files

OWN_FOLDER = ".segment-tiles"
MASK_FOLDER = "mask"
"""Of the run of a mask, in the output directory of the run that it limits."""
RESULTS = (
    "classes.zarr", "classes.tif", "classes.tif.aux.xml", "classes.qml", "preview.png", "report.json", "item.json",
    "classes.ome.zarr", "classes.ome.tif", "classes.nii.gz", "classes.seg.dcm", "confidence.tif", "scores.tif",
    "masks.tif",
    "objects.parquet", "labels.zarr", "labels.tif",
    "polygons.parquet", "polygons.gpkg", "polygons.geojson", "polygons.geojsonl", "polygons.fgb",
    "polygons.qupath.geojson", "polygons.pmtiles", "polygons.qml", "polygons.kml",
    "polygons.shp", "polygons.shx", "polygons.dbf", "polygons.prj", "polygons.cpg",
)  # fmt: skip
"""Names that a run gives; ``--restart`` removes these and nothing else."""


@dataclass(frozen=True, slots=True)
class OutputDirectory:
    """Paths of one output directory."""

    path: Path
    """The directory that the user named."""

    @property
    def own(self) -> Path:
        """Where the run keeps its books."""
        return self.path / OWN_FOLDER

    @property
    def record(self) -> Path:
        """Settings and fingerprint."""
        return self.own / "run.json"

    @property
    def ledger(self) -> Path:
        """Folder of finished rows."""
        return self.own / "ledger"

    @property
    def store_in_work(self) -> Path:
        """The Zarr store until it is whole."""
        return self.own / "classes.zarr"

    @property
    def computed(self) -> Path:
        """The report of a run whose every row is done, from which formats are made."""
        return self.own / "computed.json"

    @property
    def seals(self) -> Path:
        """Size and checksum of every file of the store, whole."""
        return self.path / SEALS_BESIDE

    @property
    def voxels(self) -> Path:
        """Copy of the voxels of a volume, until the run is at its end."""
        return self.own / "voxels.zarr"

    @property
    def traced(self) -> Path:
        """Vector tiles that are traced while the store is in work."""
        return self.own / "traced"

    @property
    def store(self) -> Path:
        """The Zarr store, whole."""
        return self.path / "classes.zarr"

    @property
    def mask(self) -> Path:
        """Output directory of the run of another model whose classes limit this one."""
        return self.path / MASK_FOLDER

    @property
    def mask_fingerprint(self) -> Path:
        """Fingerprint of that run, once it is whole."""
        return self.own / "mask.json"

    @property
    def report(self) -> Path:
        """Counts, areas, timings, versions."""
        return self.path / "report.json"

    def check(self) -> None:
        """Refuse a directory that a run cannot use; leaves nothing behind.

        Raises
        ------
        UsageError
            If it is a URL.
        OutputError
            If it is a file, holds other files, or cannot be written.
        """
        check_output_folder(self.path)
        if self.path.exists() and not self.own.exists() and any(self.path.iterdir()):
            found = sorted(entry.name for entry in self.path.iterdir())[0]
            msg = (
                f"--out {self.path}: holds files that are not of a run ({found}); give a new or empty folder"
            )
            raise OutputError(msg)

    def written_bytes(self) -> int:
        """Return the bytes of what was written here, but for the few of the books."""
        books = {self.record, self.own / "lock", self.own / "holder.json"}
        found = (path for path in self.path.rglob("*") if path.is_file() and not path.is_symlink())
        return sum(path.stat().st_size for path in found if path not in books)

    def _prepare(self) -> list[Path]:
        """Make the directory, or accept one that is empty or of an earlier run; return the folders that were made.

        Raises
        ------
        OutputError
            As `check`.
        """
        self.check()
        made = [folder for folder in (self.own, self.path, *self.path.parents) if not folder.exists()]
        try:
            make_folder(self.own)
        except OSError as error:
            msg = f"--out {self.path}: cannot be written ({one_line(error)}); give a folder that can"
            raise OutputError(msg) from error
        return made

    def remove_leftovers(self) -> None:
        """Remove what is under names of things that are not whole; the directory is to be locked."""
        remove_leftovers(self.own)
        for leftover in self.path.glob(f".*{PARTIAL}"):
            remove(leftover)

    def clear_work(self) -> None:
        """Throw away what is in work; the directory is to be locked, and only the lock stays."""
        self.record.unlink(missing_ok=True)
        sync_folder(self.own)  # without it the rest is nobody's, whatever else the disk keeps
        for path in self.own.iterdir():
            if path.name not in LOCK_FILES:
                remove(path)

    def clear(self) -> None:
        """Throw away what an earlier run left; the directory is to be locked."""
        by_class = [name for names in files_by_class(self.own).values() for name in names]
        self.clear_work()
        remove_files(self.path, by_class)
        for name in RESULTS:
            result = self.path / name
            remove(result)  # of labels inside their source only the link
        for tiles in self.path.glob(".*.tiles"):
            remove(tiles)
        if (self.mask / OWN_FOLDER).is_dir():
            remove(self.mask)

    @contextlib.contextmanager
    def locked_for(self) -> Iterator[None]:
        """Prepare the directory and keep other runs out while this one works here.

        A process that dies frees the lock. Folders that were made, and into which nothing was written, are removed
        at the end: a run that is refused leaves no trace.

        Raises
        ------
        OutputError
            If the directory cannot be used, or another process holds it: says which, since when.
        """
        made = self._prepare()
        try:
            with held_folder(self.own, self.path, gives_back=bool(made)):
                yield
        finally:
            for folder in made:
                with contextlib.suppress(OSError):  # not empty, gone, or another process is at work there
                    folder.rmdir()
