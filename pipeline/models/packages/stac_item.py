"""A model manifest as a STAC item with the Machine Learning Model extension, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pystac

from segment_tiles.pipeline.accepted import CHANNELS_LAST
from segment_tiles.pipeline.errors import ModelError
from segment_tiles.pipeline.grid.classes import ClassTable, MapClass, model_table
from segment_tiles.pipeline.grid.objects import rules_json
from segment_tiles.pipeline.models.packages.checksum import MULTIHASH_SHA256
from segment_tiles.pipeline.models.packages.geometry import PLAIN, OutputGeometry
from segment_tiles.pipeline.models.packages.item_fields import (
    ClassEntry,
    HeadEntry,
    Hyperparameters,
    parse_item,
)
from segment_tiles.pipeline.models.packages.manifest import Architecture, Head, ModelManifest
from segment_tiles.pipeline.models.packages.object_rules import with_rules
from segment_tiles.pipeline.models.packages.stac_fields import (
    CLASSIFICATION_SCHEMA,
    FILE_SCHEMA,
    LONG_AGO,
    class_slugs,
    color_hint,
    file_fields,
)
from segment_tiles.pipeline.models.scaling.mlm import scaling_json, scaling_of_json
from segment_tiles.pipeline.models.scaling.scaling import Scaling

MLM_SCHEMA = "https://stac-extensions.github.io/mlm/v1.5.0/schema.json"
MODEL_ASSET = "model"

# a model holds for any time: the extension's examples write it as this interval
_ALWAYS = (LONG_AGO, datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
_OWN = "segment_tiles:"


def to_stac_item(
    manifest: ModelManifest, file_name: str, file_size: int, parameters: int | None, framework: str
) -> pystac.Item:
    """Describe a model package as a STAC item.

    Parameters
    ----------
    manifest
        What the package says of itself, with the checksum of its weights.
    file_name
        Name of the weights or graph beside ``model.json``.
    file_size
        Its size in bytes.
    parameters
        Number of trained numbers, if known.
    framework
        ``PyTorch`` or ``ONNX``.
    """
    item = pystac.Item(
        id=manifest.name,
        geometry=None,
        bbox=None,
        datetime=None,
        start_datetime=_ALWAYS[0],
        end_datetime=_ALWAYS[1],
        properties=_properties(manifest, parameters, framework),
        stac_extensions=[MLM_SCHEMA, FILE_SCHEMA, CLASSIFICATION_SCHEMA],
    )
    kind, artifact = _ASSET_TYPES[file_name.rsplit(".", maxsplit=1)[-1]]
    asset = pystac.Asset(
        href=f"./{file_name}",
        title=f"Weights of {manifest.name}",
        media_type=kind,
        roles=["mlm:model", "mlm:weights", "data"],
        extra_fields={
            "mlm:artifact_type": artifact,
            # STAC 1.1 wants the bands of an item in an asset as well; MLM looks for them in the item
            "bands": _bands(manifest),
            **file_fields(manifest.weights_checksum, file_size),
        },
    )
    item.add_asset(MODEL_ASSET, asset)
    return item


def from_stac_item(document: Mapping[str, Any], name: object = "model.json") -> ModelManifest:
    """Read a model manifest from the JSON document of a STAC item, which errors call by ``name``.

    Raises
    ------
    ModelError
        The document is not a STAC item of a model, or lacks what the network needs.
    """
    fields = parse_item(document, name)
    properties = fields.properties
    tile_input = properties.inputs[0]
    entries = properties.outputs if properties.heads else properties.outputs[:1]
    tables = with_rules(
        [model_table(tuple(map(_map_class, entry.classes))) for entry in entries], properties.objects, name
    )
    return ModelManifest(
        name=properties.name,
        architecture=_architecture(properties.architecture, properties.hyperparameters),
        bands=tuple(tile_input.bands),
        dtype=tile_input.input.data_type,
        scaling=_scaling(tile_input.value_scaling, properties.values, name),
        tile=tile_input.input.side,
        overlap=properties.overlap,
        classes=tables[0],
        pixel_size=properties.pixel_size.value,
        pixel_unit=properties.pixel_size.unit,
        description=properties.description,
        extra=properties.extra,
        weights_checksum=fields.assets.model.checksum.removeprefix(MULTIHASH_SHA256),
        output=OutputGeometry(**properties.output.model_dump()),
        heads=tuple(map(_head, properties.heads, tables)) if properties.heads else (),
    )


def _head(entry: HeadEntry, classes: ClassTable) -> Head:
    return Head(
        entry.name, classes, entry.details, entry.output_stride, OutputGeometry(**entry.output.model_dump())
    )


def _scaling(entries: object, values: str, name: object) -> Scaling:
    try:
        return scaling_of_json(entries, values)
    except ValueError as error:
        msg = f"{name}: properties.mlm:input.0.{error}"
        raise ModelError(msg) from error


_ASSET_TYPES = {
    "safetensors": ("application/octet-stream; application=safetensors", "safetensors.torch.save_file"),
    "torchscript": ("application/octet-stream; application=torchscript", "torch.jit.save"),
    "pt2": ("application/octet-stream; application=pytorch", "torch.export.save"),
    "onnx": ("application/octet-stream; application=onnx", "torch.onnx.export"),
}


def _properties(manifest: ModelManifest, parameters: int | None, framework: str) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "mlm:name": manifest.name,
        "mlm:architecture": manifest.architecture.arch,
        "mlm:tasks": ["semantic-segmentation"],
        "mlm:framework": framework,
        "mlm:input": [_input(manifest)],
        "mlm:output": _outputs(manifest),
        "mlm:hyperparameters": _hyperparameters(manifest.architecture),
        "bands": _bands(manifest),
        f"{_OWN}overlap": manifest.overlap,
        f"{_OWN}pixel_size": {"value": manifest.pixel_size, "unit": manifest.pixel_unit},
        f"{_OWN}extra": dict(manifest.extra),
    }
    if manifest.output != PLAIN:
        properties[f"{_OWN}output"] = manifest.output.to_json()
    if manifest.heads:
        properties[f"{_OWN}heads"] = [_head_json(head) for head in manifest.heads]
    if manifest.scaling.values != "stored":
        properties[f"{_OWN}values"] = manifest.scaling.values
    rules = dict.fromkeys(rule for table in manifest.tables for rule in table.objects)
    if rules:
        properties[f"{_OWN}objects"] = rules_json(tuple(rules))
    if manifest.description:
        properties["description"] = manifest.description
    if parameters is not None:
        properties["mlm:total_parameters"] = parameters
    if manifest.pixel_size is not None and manifest.pixel_unit == "m":
        properties["gsd"] = manifest.pixel_size
    return properties


def _bands(manifest: ModelManifest) -> list[dict[str, Any]]:
    return [{"name": name, "data_type": manifest.dtype} for name in manifest.bands]


def _input(manifest: ModelManifest) -> dict[str, Any]:
    return {
        "name": "tile",
        "bands": list(manifest.bands),
        "input": {
            **_tensor(manifest, "input_layout", "bands", len(manifest.bands), manifest.tile),
            "data_type": manifest.dtype,
        },
        "value_scaling": scaling_json(manifest.scaling),
        "resize_type": None,
        "pre_processing_function": None,
    }


def _tensor(manifest: ModelManifest, layout: str, channels: str, count: int, side: int) -> dict[str, Any]:
    """Return shape and order of the axes of input or output, as a packaged graph has them."""
    details = manifest.architecture.details
    sizes = {"batch": details.get("batch", -1), channels: count, "height": side, "width": side}
    order = ["batch", channels, "height", "width"]
    if details.get(layout) == CHANNELS_LAST:
        order = ["batch", "height", "width", channels]
    return {"shape": [sizes[axis] for axis in order], "dim_order": order}


def _outputs(manifest: ModelManifest) -> list[dict[str, Any]]:
    heads = [_output(manifest.with_head(head.name), head.name) for head in manifest.heads]
    return heads or [_output(manifest, "class scores")]


def _head_json(head: Head) -> dict[str, Any]:
    return {
        "name": head.name,
        "details": _plain(head.details),
        "output_stride": head.output_stride,
        "output": head.output.to_json(),
    }


def _output(manifest: ModelManifest, name: str) -> dict[str, Any]:
    side = manifest.output.scored(manifest.tile) // manifest.output.coarser
    return {
        "name": name,
        "tasks": ["semantic-segmentation"],
        "result": {
            **_tensor(manifest, "output_layout", "class", manifest.classes.count, side),
            "data_type": "float32",
        },
        "classification:classes": [
            {
                "value": map_class.code,
                "name": slug,
                "description": map_class.name,
                "color_hint": color_hint(map_class.color),
            }
            for map_class, slug in zip(manifest.classes.classes, class_slugs(manifest.classes), strict=True)
        ],
        "post_processing_function": None,
    }


def _hyperparameters(architecture: Architecture) -> dict[str, Any]:
    return {
        "backbone": architecture.backbone,
        "output_stride": architecture.output_stride,
        "atrous_rates": list(architecture.atrous_rates),
        "image_pooling": architecture.image_pooling,
        "image_pooling_window": architecture.image_pooling_window,
        "align_corners": architecture.align_corners,
        "details": _plain(architecture.details),
    }


def _plain(value: Any) -> Any:
    """Write tuples as lists and mappings as dictionaries, as JSON has them."""
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(entry) for entry in value]
    return value


def _architecture(arch: str, fields: Hyperparameters) -> Architecture:
    return Architecture(
        arch=arch,
        backbone=fields.backbone,
        output_stride=fields.output_stride,
        atrous_rates=tuple(fields.atrous_rates),
        image_pooling=fields.image_pooling,
        image_pooling_window=fields.image_pooling_window,
        align_corners=fields.align_corners,
        details=fields.details,
    )


def _map_class(entry: ClassEntry) -> MapClass:
    color = bytes.fromhex(entry.color_hint)
    return MapClass(entry.value, entry.description or entry.name, (color[0], color[1], color[2]))
