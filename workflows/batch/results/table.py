"""The table of a batch: one row per job, as Parquet and as CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from segment_tiles.pipeline.names import shown_name
from segment_tiles.pipeline.outputs.finished_file import finished_files
from segment_tiles.workflows.batch.outcome import JobOutcome
from segment_tiles.workflows.buckets.address import shown_out
from segment_tiles.workflows.scenes.registry import kind_of_report

PARQUET, CSV = "jobs.parquet", "jobs.csv"
"""Names of the files in the results folder."""


def write_table(folder: Path, outcomes: Sequence[JobOutcome]) -> None:
    """Write both files.

    Areas and pixels of a class are in columns ``area <class>`` and ``pixels <class>``; areas are in the
    unit of the column ``area_unit``. Objects of a class are in columns ``objects <class>`` and ``density <class>``, on
    the area of the column ``density_unit``.

    Raises
    ------
    WriteFailedError
        If the disk is full or read-only.
    """
    frame = job_table(outcomes)
    with finished_files(folder / CSV, folder / PARQUET) as (text, binary):
        frame.to_csv(text, index=False)
        frame.to_parquet(binary, index=False)


def job_table(outcomes: Sequence[JobOutcome]) -> pd.DataFrame:
    """Return the table; whole numbers stay whole where a job has none."""
    return pd.DataFrame([job_row(outcome) for outcome in outcomes]).convert_dtypes()


def job_row(outcome: JobOutcome) -> dict[str, Any]:
    """Return what is known of a job, as plain values by column."""
    job, report = outcome.job, outcome.report or {}
    seconds, tiles = report.get("seconds", {}), report.get("tiles", {})
    row: dict[str, Any] = {
        "number": job.number,
        "job": job.name,
        "state": outcome.state,
        "error": outcome.error,
        "source": shown_name(job.config.source),
        "scenes": len(job.mosaic.scenes) if job.mosaic is not None else 1,
        "out": shown_out(job.config.out),
        "line": job.line,
        "seconds_this_time": round(outcome.seconds, 3),
        "seconds_prepare": seconds.get("prepare"),
        "seconds_segment": seconds.get("segment"),
        "seconds_finish": seconds.get("finish"),
        "seconds_total": seconds.get("total"),
        "peak_bytes": report.get("memory", {}).get("peak_bytes"),
        "tiles_computed": tiles.get("computed"),
        "tiles_skipped": tiles.get("skipped"),
        "model": report.get("model", {}).get("name"),
        "device": report.get("choices", {}).get("device_name"),
        "precision": report.get("choices", {}).get("precision"),
        "fingerprint": report.get("fingerprint"),
        "area_unit": report.get("area_unit"),
        **({"density_unit": report["objects"]["density_unit"]} if "objects" in report else {}),
    }
    # a part of a map has areas that say nothing
    return row if outcome.has_failed or "classes" not in report else row | class_columns(report)


def class_columns(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return how large every class is, in pixels and area, or in what else its Kind counts."""
    sizes = kind_of_report(report).sizes(report)
    count, size = sizes.count, sizes.size
    row = {}
    for entry in report["classes"]:
        # the columns of pixels without a class have that name
        name = entry["name"] if entry["name"] != "nodata" else "nodata (class)"
        row[f"{count} {name}"], row[f"{size} {name}"] = entry[count], entry[size]
    for entry in report.get("objects", {}).get("classes", ()):
        row[f"objects {entry['name']}"], row[f"density {entry['name']}"] = entry["objects"], entry["density"]
    row[f"{count} nodata"], row[f"{size} nodata"] = report["nodata"][count], report["nodata"][size]
    return row
