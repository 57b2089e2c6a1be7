"""`segment-tiles plan`: what `run` would do; computes nothing."""

from __future__ import annotations

from pathlib import Path

from segment_tiles.cli.options import common as options
from segment_tiles.cli.terminal.console import print_json, text_console


def command(
    source: options.Source,
    model: options.Model,
    tile: options.TileSide = None,
    overlap: options.Overlap = None,
    blend: options.Blend = "gaussian",
    batch: options.Batch = "auto",
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    backend: options.Backend = "auto",
    augmentation: options.Augmentation = "none",
    bands: options.Bands = None,
    roi: options.Roi = None,
    aoi: options.Aoi = None,
    nodata: options.Nodata = None,
    nodata_rule: options.NodataRule = "all",
    alpha: options.Alpha = "auto",
    level: options.Level = None,
    mpp: options.Mpp = None,
    source_mpp: options.SourceMpp = None,
    z: options.Plane = None,
    t: options.TimePoint = None,
    tissue: options.Tissue = "auto",
    labels_inside: options.LabelsInside = False,
    axis: options.Axis = None,
    neighbours: options.Neighbours = None,
    formats: options.FormatOfSource = None,
    dicom_seg: options.DicomSeg = "binary",
    scores: options.Scores = False,
    memory: options.Memory = None,
    workers: options.Workers = None,
    trust: options.Trust = False,
    out: options.PlannedOut = None,
    json: options.Json = False,
) -> None:
    """Say what `run` would do: tiles, memory, disk, time. The first plan of a model measures it once."""
    config = options.run_config(
        source, model, out or Path(), tile=tile, overlap=overlap, blend=blend, batch=batch, device=device,
        precision=precision, bands=bands, roi=roi, aoi=aoi, nodata=nodata, nodata_rule=nodata_rule, alpha=alpha,
        level=level, mpp=mpp, source_mpp=source_mpp, z=z, t=t, tissue=tissue, labels_inside=labels_inside,
        formats=formats, scores=scores, memory=memory, workers=workers, trust=trust,
        axis=axis, neighbours=neighbours, backend=backend, augmentation=augmentation, dicom_seg=dicom_seg,
    )  # fmt: skip
    from segment_tiles.workflows.run.describe import describe_plan
    from segment_tiles.workflows.run.request import plan_run

    document = describe_plan(plan_run(config, with_output=out is not None))
    if json:
        print_json(document)
        return
    from rich.table import Table

    table = Table(show_header=False)
    for name, value in document["summary"].items():
        table.add_row(name, value)
    text_console().print(table)
