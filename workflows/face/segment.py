"""`segment` and `plan`: what the commands `run` and `plan` do, by keywords."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from segment_tiles.pipeline.errors import RunFailedError
from segment_tiles.pipeline.json_text import json_text
from segment_tiles.pipeline.sources.stacks.elements import name_of_elements
from segment_tiles.pipeline.wording import counted
from segment_tiles.workflows.config import plan_config_from, run_config_from
from segment_tiles.workflows.face.keywords import PlanKeywords, RunKeywords
from segment_tiles.workflows.face.progress import Progress, RunListener
from segment_tiles.workflows.face.result import Result

if TYPE_CHECKING:
    import pystac

    Source = str | Path | pystac.Item | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """What a run would do."""

    document: Mapping[str, Any]
    """What ``segment-tiles plan --json`` prints."""

    @property
    def tiles(self) -> int:
        """Tiles of the run, with those that are skipped for having no pixel to compute."""
        return int(self.document["tiles"])

    @property
    def memory_bytes(self) -> int:
        """Most bytes that one worker takes."""
        return int(self.document["memory"]["total"])

    @property
    def disk_bytes(self) -> int:
        """Bytes of the results, about."""
        return int(self.document["disk_bytes"])

    @property
    def expected_seconds(self) -> float:
        """Duration on this machine, about."""
        return float(self.document["expected_seconds"])

    def __str__(self) -> str:
        """Return the summary, a line each."""
        return "\n".join(f"{name}: {value}" for name, value in self.document["summary"].items())

    def _repr_html_(self) -> str:
        from html import escape  # noqa: PLC0415 - of notebooks alone

        from segment_tiles.workflows.face.notebook import html_table  # noqa: PLC0415

        summary = self.document["summary"].items()
        return html_table(
            ["plan", ""], [[escape(name), escape(str(value))] for name, value in summary], "left"
        )


def segment(
    source: Source | Sequence[Source], *, progress: Progress | None = None, **options: Unpack[RunKeywords]
) -> Result:
    """Segment a raster, a slide or a volume into a folder; a run that was stopped goes on where it was.

    Parameters
    ----------
    source
        Path or URL: anything that GDAL, OpenSlide, nibabel or pydicom reads. A list of files is a stack of their bands;
        an item of pystac, or a list of items of several dates, is a stack of the assets that the model or ``assets``
        names. An array goes to `segment_array`.
    progress
        Called with tiles done and tiles in all, such as ``print``.
    **options
        ``model`` and ``out``, which are needed, and every further option of ``segment-tiles run`` with ``_`` for ``-``,
        as a value or as text: ``bands=[3, 2, 1]`` or ``bands="3,2,1"``, ``memory="4GB"``. See ``docs/command-line.md``.

    Returns
    -------
    Result
        Class map, confidence, polygons and report; a notebook shows its preview.

    Raises
    ------
    TypeError
        If a keyword is no option, or ``model`` or ``out`` is missing.
    SegmentTilesError
        If the run cannot start, with the text of the command line; `RunFailedError` if parts of it failed. What was
        finished is kept, and the same call tries the rest again.

    Warns
    -----
    SegmentTilesWarning
        What should be known before the map is trusted.

    Examples
    --------
    >>> import segment_tiles as st
    >>> result = st.segment("scene.tif", model="canopy-rgb", out="result", format="cog,parquet")
    >>> [entry["name"] for entry in result.report["classes"]]
    ['other', 'tree canopy']
    """
    from segment_tiles.workflows.buckets.segment import segment as run  # noqa: PLC0415 - brings torch

    config = run_config_from(source=name_of(source), **options)
    made = run(config, RunListener(progress))
    if made.failures:
        first = made.failures[0]["reason"]
        msg = (
            f"{counted(len(made.failures), 'part')} of the run failed, the first for: {first}; finished rows are kept, "
            "the same call tries the rest again"
        )
        raise RunFailedError(msg)
    return Result(config.out, made.report)


def plan(source: Source | Sequence[Source], **options: Unpack[PlanKeywords]) -> PlannedRun:
    """Say what `segment` would do: tiles, memory, disk and time. The first plan of a model measures it once.

    Parameters
    ----------
    source
        As of `segment`.
    **options
        ``model``, which is needed, and further options of `segment`. With ``out`` the folder and the space on its disk
        are checked too.

    Raises
    ------
    TypeError, SegmentTilesError
        If `segment` would refuse to start, with the same text.

    Examples
    --------
    >>> import segment_tiles as st
    >>> st.plan("scene.tif", model="canopy-rgb", tile=256, overlap=0.25).tiles
    9
    """
    from segment_tiles.workflows.buckets.request import plan_run  # noqa: PLC0415
    from segment_tiles.workflows.run.describe import describe_plan  # noqa: PLC0415 - brings torch

    config = plan_config_from(source=name_of(source), **options)
    return PlannedRun(describe_plan(plan_run(config, with_output=options.get("out") is not None)))


def name_of(source: object) -> str:
    """Return the name of a source: of a list of files and STAC items that of a stack of them.

    Raises
    ------
    TypeError
        If it is none of these.
    """
    if isinstance(source, list | tuple):
        return name_of_elements([_element(one) for one in source])
    return name_of_elements([_element(source)]) if _is_item(source) else path_of(source)


def _element(one: object) -> str:
    """Return a path or URL as it is, and an item as JSON."""
    if not _is_item(one):
        return path_of(one)
    document = one if isinstance(one, Mapping) else one.to_dict(transform_hrefs=False)  # type: ignore[attr-defined] # as looked
    return json_text(document, indent=None)


def _is_item(source: object) -> bool:
    """Return whether something is an item of pystac, or its document."""
    kind = source.get("type") if isinstance(source, Mapping) else getattr(source, "STAC_OBJECT_TYPE", None)
    return kind == "Feature"


def path_of(source: object) -> str:
    """Return the name of a source that is one file.

    Raises
    ------
    TypeError
        If it is no path or URL.
    """
    if not isinstance(source, str | Path):
        kind = type(source)
        msg = (
            f"the source is a {kind.__module__}.{kind.__qualname__}; give a path or a URL, and an array to "
            "segment_tiles.segment_array"
        )
        raise TypeError(msg)
    return str(source)
