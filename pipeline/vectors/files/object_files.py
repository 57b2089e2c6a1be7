"""Files of objects alone: a table without geometry, and label images with their numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pyarrow.compute as pc
import pyarrow.parquet as pq

from segment_tiles.pipeline.errors import VectorError
from segment_tiles.pipeline.outputs.finished_file import write_failed
from segment_tiles.pipeline.vectors.files.layer import Layer
from segment_tiles.pipeline.vectors.files.parts import read_ahead

LARGEST_NUMBER: Final = 2**32 - 1
"""Of an object in a label image of 32 bits."""


def write_object_table(path: Path, layer: Layer) -> tuple[str, ...]:
    """Write the columns of objects without their outlines as Parquet, in the order of the other files."""
    schema = layer.schema.remove(layer.schema.get_field_index("geometry"))
    with pq.ParquetWriter(
        path, schema, compression="zstd", write_statistics=True, use_dictionary=["class_name", "color"]
    ) as writer:
        for rows in read_ahead(layer.part_batches()):
            batch = layer.columns(rows).select(schema.names)
            writer.write_batch(batch.filter(pc.is_valid(batch["object"])))
    return ()


def write_label_zarr(path: Path, layer: Layer) -> tuple[str, ...]:
    """Write the numbers of objects as OME-Zarr labels.

    Raises
    ------
    WriteFailedError
        If the disk is full or cannot be written.
    """
    from segment_tiles.pipeline.outputs.object_labels import write_labels_zarr  # noqa: PLC0415

    return _write(path, layer, write_labels_zarr)


def is_label_zarr(path: Path) -> bool:
    """Return whether a folder is what `write_label_zarr` writes, so that another may take its name."""
    try:
        from segment_tiles.pipeline.outputs.object_labels import NO_OBJECT_LABEL  # noqa: PLC0415

        document = json.loads((path / "zarr.json").read_text(encoding="utf-8"))
        label = document["attributes"]["ome"]["image-label"]
        return bool(label["properties"] == NO_OBJECT_LABEL)
    except (OSError, ValueError, KeyError, TypeError):  # another folder
        return False


def write_label_cog(path: Path, layer: Layer) -> tuple[str, ...]:
    """Write the numbers of objects as a COG.

    Raises
    ------
    WriteFailedError
        If the disk is full or cannot be written.
    """
    from segment_tiles.pipeline.outputs.object_labels import write_labels_cog  # noqa: PLC0415

    return _write(path, layer, write_labels_cog)


def _write(path: Path, layer: Layer, write: Any) -> tuple[str, ...]:
    pixels, numbers = layer.object_pixels, layer.objects
    assert pixels is not None
    assert numbers is not None
    if len(numbers.identities) > LARGEST_NUMBER:
        msg = (
            f"{path.name}: {len(numbers.identities)} objects are more than the {LARGEST_NUMBER} numbers of 32 bits; "
            "leave some out, such as with --min-area, or write no label image"
        )
        raise VectorError(msg)
    codes = [entry.code for entry in layer.classes]
    try:
        write(path, pixels.shape, layer.georef, lambda window: pixels.numbers(window, numbers, codes))
    except OSError as error:
        raise write_failed(path, error) from error
    return ()
