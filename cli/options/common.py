"""Options that several commands share: one name, one meaning, one text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from segment_tiles.workflows.config import RunConfig

Source = Annotated[
    str, typer.Argument(metavar="SOURCE", help="Raster: a path, https:// or s3:// name, anything GDAL reads.")
]
Model = Annotated[
    str,
    typer.Option(
        "--model", help="Bundled model, or folder of a model package; several, by commas: their mean."
    ),
]
Out = Annotated[Path, typer.Option("--out", help="Output directory: new, empty, or of an earlier run.")]
PlannedOut = Annotated[
    Path | None,
    typer.Option("--out", help="Output directory that the run would have: also check it and its disk space."),
]
TileSide = Annotated[
    int | None, typer.Option("--tile", metavar="PX", help="Tile side; default: the model's.")
]
Overlap = Annotated[
    float | None,
    typer.Option("--overlap", metavar="FRACTION", help="Shared part of a tile side, 0 to below 1."),
]
Blend = Annotated[str, typer.Option("--blend", help="gaussian, hann, linear or crop.")]
Batch = Annotated[str, typer.Option("--batch", metavar="N|auto", help="Tiles of one forward pass.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Precision = Annotated[str, typer.Option("--precision", help="auto, fp32, bf16 or fp16.")]
Backend = Annotated[
    str,
    typer.Option(
        "--backend", help="What runs the network: auto, torch, compile, openvino or onnx; auto: the fastest."
    ),
]
Augmentation = Annotated[
    str, typer.Option("--tta", help="Average over turned tiles: none, flips (4) or rotations (4).")
]
Bands = Annotated[
    str | None,
    typer.Option("--bands", metavar="1,2,3", help="Bands of the source, in the order of the model."),
]
Roi = Annotated[
    str | None,
    typer.Option(
        "--roi",
        metavar="MINX,MINY,MAXX,MAXY",
        help="Box in the coordinates of the source; of a volume MINX,MINY,MINZ,MAXX,MAXY,MAXZ in mm (RAS+).",
    ),
]
Aoi = Annotated[
    Path | None,
    typer.Option(
        "--aoi",
        metavar="FILE[:LAYER]",
        help="Polygons that limit what is computed and written; name the layer where the file has several.",
    ),
]
Nodata = Annotated[float | None, typer.Option("--nodata", metavar="V", help="Value of missing pixels.")]
NodataRule = Annotated[
    str, typer.Option("--nodata-rule", help="A pixel is missing where all or any of its bands are: all, any.")
]
Alpha = Annotated[
    str,
    typer.Option(
        "--alpha",
        metavar="auto|mask|band",
        help="A band tagged alpha: a mask unless --bands names it (auto), always a mask, or a band of data.",
    ),
]
Level = Annotated[
    int | None, typer.Option("--level", metavar="N", help="Level of the source; 0 is full size.")
]
Mpp = Annotated[
    float | None,
    typer.Option(
        "--mpp",
        metavar="X",
        help="Read a slide at X micrometres per pixel; default: the model's, if it has one.",
    ),
]
SourceMpp = Annotated[
    float | None,
    typer.Option(
        "--source-mpp",
        metavar="X",
        help="Micrometres per pixel of the slide itself, where it is silent or wrong.",
    ),
]
Plane = Annotated[
    int | None, typer.Option("--z", metavar="N", help="Plane of an OME image with several, from 0.")
]
TimePoint = Annotated[
    int | None, typer.Option("--t", metavar="N", help="Time point of a source with several, from 0.")
]
Tissue = Annotated[
    str,
    typer.Option(
        "--tissue",
        metavar="auto|otsu|off|FILE",
        help="Part of a slide that is computed: by Otsu's threshold (auto: of slides), all, or polygons.",
    ),
]
LabelsInside = Annotated[
    bool, typer.Option("--labels-inside", help="Put ome-zarr labels into the OME-Zarr source itself.")
]
DicomSeg = Annotated[
    str,
    typer.Option(
        "--dicom-seg",
        metavar="KIND",
        help="How dicom-seg stores the segments: binary, which every reader knows, or labelmap, which is smaller.",
    ),
]
Format = Annotated[
    str,
    typer.Option(
        "--format",
        metavar="F,F",
        help="Of zarr, cog, parquet, gpkg, geojson, geojsonl, fgb, qupath, pmtiles, ome-zarr, ome-tiff; of a "
        "volume: zarr, nifti; of a DICOM slide or series also dicom-seg.",
    ),
]
FormatOfSource = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="F,F",
        help="Of zarr, cog, parquet, gpkg, geojson, geojsonl, fgb, qupath, pmtiles, ome-zarr, ome-tiff; of a "
        "volume: zarr, nifti; of a DICOM slide or series also dicom-seg. Default: what suits the source.",
    ),
]
Axis = Annotated[
    str | None,
    typer.Option(
        "--axis",
        metavar="AXIS",
        help="Of a volume: axial (default), coronal, sagittal, a stored axis 0, 1 or 2, or all three averaged.",
    ),
]
Neighbours = Annotated[
    int | None,
    typer.Option(
        "--neighbours", metavar="N", help="Of a volume: slices on both sides that are bands of the model too."
    ),
]
Scores = Annotated[bool, typer.Option("--scores", help="Keep the probabilities of all classes, as bytes.")]
Memory = Annotated[
    str | None, typer.Option("--memory", metavar="SIZE", help="Most memory of one worker, such as 4GB.")
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", metavar="N", help="Compute in N processes of this machine, one device each."),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        "--scheduler", metavar="ADDRESS", help="Compute on the workers of a running Dask scheduler."
    ),
]
Cluster = Annotated[
    Path | None,
    typer.Option("--cluster", metavar="FILE", help="Start the Dask cluster that a YAML file describes."),
]
Trust = Annotated[
    bool, typer.Option("--trust", help="Load a TorchScript or torch.export model, which may execute code.")
]
Restart = Annotated[bool, typer.Option("--restart", help="Throw away what an earlier run left in --out.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress, no summary; warnings and errors remain.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]


def run_config(
    source: str,
    model: str,
    out: Path,
    *,
    tile: int | None,
    overlap: float | None,
    blend: str,
    batch: str,
    device: str,
    precision: str,
    bands: str | None,
    roi: str | None,
    aoi: Path | None,
    nodata: float | None,
    nodata_rule: str,
    alpha: str,
    level: int | None,
    formats: str | None,
    scores: bool,
    memory: str | None,
    workers: int | None = None,
    scheduler: str | None = None,
    cluster: Path | None = None,
    mpp: float | None = None,
    source_mpp: float | None = None,
    z: int | None = None,
    t: int | None = None,
    tissue: str = "auto",
    labels_inside: bool = False,
    dicom_seg: str = "binary",
    trust: bool = False,
    restart: bool = False,
    axis: str | None = None,
    neighbours: int | None = None,
    backend: str = "auto",
    augmentation: str = "none",
) -> RunConfig:
    """Return the words of the command line as a checked configuration.

    Raises
    ------
    UsageError
        Naming the option, its value and what it accepts.
    """
    from segment_tiles.pipeline.sources.rasters.masks import parse_alpha
    from segment_tiles.pipeline.sources.validity import parse_nodata_rule
    from segment_tiles.pipeline.sources.view import View
    from segment_tiles.workflows import config as words

    first, *companions = words.parse_models(model)
    return words.RunConfig(
        source=source,
        model=first,
        companions=tuple(companions),
        backend=backend,
        augmentation=augmentation,
        out=out,
        tile=tile,
        overlap=overlap,
        blend=blend,
        batch=words.parse_batch(batch),
        device=device,
        precision=precision,
        bands=None if bands is None else words.parse_bands(bands),
        roi=None if roi is None else words.parse_roi(roi),
        aoi=aoi,
        nodata=nodata,
        nodata_rule=parse_nodata_rule(nodata_rule),
        alpha=parse_alpha(alpha),
        level=level,
        view=View(mpp, source_mpp, z, t),
        tissue=tissue,
        labels_inside=labels_inside,
        dicom_seg=words.parse_dicom_seg(dicom_seg),
        axis=axis,
        neighbours=neighbours,
        formats=() if formats is None else words.parse_formats(formats),
        scores=scores,
        memory=None if memory is None else words.parse_memory(memory),
        workers=workers,
        scheduler=scheduler,
        cluster=cluster,
        trust=trust,
        restart=restart,
    )
