"""Further formats from a finished run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from segment_tiles.pipeline.accepted import DicomSegKind
from segment_tiles.pipeline.errors import OutputError
from segment_tiles.pipeline.outputs.stores.store import array_of, open_store, read_class_table, read_georef
from segment_tiles.pipeline.outputs.stores.volume_store import is_volume_store
from segment_tiles.workflows.output_folder.check import refuse_url
from segment_tiles.workflows.output_folder.directory import OutputDirectory
from segment_tiles.workflows.results.formats_check import check_formats
from segment_tiles.workflows.results.image_formats import check_place, check_slide_seg
from segment_tiles.workflows.results.item import update_run_item
from segment_tiles.workflows.results.report import read_report, write_report
from segment_tiles.workflows.results.volume_formats import suitable_formats
from segment_tiles.workflows.run.finish import FILE_OF_FORMAT, make_formats
from segment_tiles.workflows.run.taken_up import is_store_kept
from segment_tiles.workflows.run.volume_finish import make_volume_formats


class _Silent:
    """An export is short: nobody listens."""

    def stage(self, name: str) -> None:
        """Ignore."""

    def warn(self, text: str) -> None:
        """Ignore."""


def export_run(
    path: Path, formats: Sequence[str], *, labels_inside: bool = False, dicom_seg: DicomSegKind = "binary"
) -> list[str]:
    """Make formats, replacing older files of these names, and return the names of the files.

    ``labels_inside`` puts OME-Zarr labels into the OME-Zarr source of the run; ``dicom_seg``
    says how the segments of DICOM SEG are stored.

    Raises
    ------
    OutputError
        Where the folder holds no finished run, or one whose store is not what was written.
    """
    refuse_url(path, "DIR")
    directory = OutputDirectory(path)
    if not directory.store.is_dir() or not directory.report.is_file():
        msg = f"{path}: holds no finished run; give the --out of a run that ended with exit status 0"
        raise OutputError(msg)
    with directory.locked_for():
        report = read_report(directory)
        if report is None or (directory.seals.exists() and not is_store_kept(directory)):
            what = directory.report if report is None else directory.store
            msg = f"{what}: is damaged; start the same run again, which makes it whole"
            raise OutputError(msg)
        group = open_store(directory.store)
        if is_volume_store(group):
            written = make_volume_formats(directory, group, formats, _Silent(), report, dicom_seg=dicom_seg)
        else:
            formats = suitable_formats(tuple(formats), report["source"]["uri"], None)
            check_place(formats, read_georef(group), report["source"]["uri"])
            check_formats(formats, read_georef(group), str(path))
            if "dicom-seg" in formats:
                check_slide_seg(
                    report["source"]["uri"],
                    math.prod(array_of(group, "classes").shape),
                    read_class_table(group),
                    model=report["model"]["name"],
                    kind=dicom_seg,
                )
            notes = make_formats(
                directory, group, formats, report, _Silent(), labels_inside=labels_inside, dicom_seg=dicom_seg
            )
            report["warnings"] = [*report["warnings"], *(n for n in notes if n not in report["warnings"])]
            written = [FILE_OF_FORMAT[name] for name in formats]
        outputs = [*report["outputs"], *(name for name in written if name not in report["outputs"])]
        report = {**report, "outputs": outputs}
        write_report(directory, report)
        update_run_item(directory, group, report)
    return written
