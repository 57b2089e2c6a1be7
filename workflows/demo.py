"""The demos: small real data that ships with the program, or a file of the user, through its bundled models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import segment_tiles.pipeline.sources as sources_package
from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.names import shown_name
from segment_tiles.workflows.config import RunConfig

SAMPLES: Final = Path(sources_package.__file__).parent / "samples"
DEMO_SCENE: Final = SAMPLES / "yellowstone_crop.tif"
"""NEON airborne RGB at 0.1 m, Yellowstone; see NOTICE."""
FOLDER: Final = "segment-tiles-demo"
"""Default output directory of the first demo, and how those of the others begin."""


@dataclass(frozen=True, slots=True)
class Demo:
    """One sample through one model."""

    sample: Path | None
    """What is mapped; where it comes from stands in NOTICE. None: a file that the user names, as none ships."""
    shows: str
    """The sample, or what may be named, in a few words."""
    model: str
    """Name of a bundled model."""
    out: str
    """Output directory unless told."""
    look: str
    """Where to look at the results, and how to do the same with a file of one's own; ``{out}`` is the directory,
    ``{source}`` what was mapped."""
    formats: tuple[str, ...] = ()
    """Formats that are made; empty: those that a run makes of such a source."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of `RunConfig`: what the file of the sample does not say."""


DEMOS: Final[Mapping[str, Demo]] = {
    "canopy": Demo(
        DEMO_SCENE,
        "an aerial scene",
        "canopy-rgb",
        FOLDER,
        "look first at {out}/preview.png; open {out}/classes.tif and {out}/polygons.parquet in QGIS;\n"
        "your own scene: segment-tiles run SCENE.tif --model canopy-rgb --out RESULT",
        ("zarr", "cog", "parquet", "gpkg"),
    ),
    # 64 axial slices of the MNI ICBM 152 T1 template, 1 mm; its notice lies beside it too
    "brain": Demo(
        SAMPLES / "mni_icbm152_t1_slab.nii.gz",
        "a slab of a brain scan",
        "brain-tissue",
        f"{FOLDER}-brain",
        "look first at {out}/preview.png: slices of the scan beside grey and white matter;\n"
        "lay {out}/classes.nii.gz over the scan in ITK-SNAP, 3D Slicer or FSLeyes (same affine); millilitres per\n"
        "class are in {out}/report.json, confidence in {out}/classes.zarr;\n"
        "the scan: MNI ICBM 152 template, Copyright (C) 1993-2009 Louis Collins, McConnell Brain Imaging Centre,\n"
        "Montreal Neurological Institute, McGill University;\n"
        "your own scan: segment-tiles run SCAN.nii.gz --model brain-tissue --out RESULT",
    ),
    # a whole field of the 2018 Data Science Bowl, of the fold that no step of the training saw
    "nuclei": Demo(
        SAMPLES / "stained_nuclei.png",
        "nuclei in a stained smear",
        "nuclei",
        f"{FOLDER}-nuclei",
        "look first at {out}/preview.png; {out}/polygons.qupath.geojson has a detection for each nucleus: drag it\n"
        "onto the picture in QuPath; sizes and shapes are in {out}/objects.parquet, outlines in\n"
        "{out}/polygons.parquet, the number of each nucleus in {out}/labels.zarr;\n"
        "the picture: 2018 Data Science Bowl (CC0), a field that the model was not trained on;\n"
        "for research use, not for diagnosis;\n"
        "your own picture: segment-tiles run PICTURE.png --model nuclei --out RESULT\n"
        "(a grey one: with --bands 1,1,1)",
        ("zarr", "cog", "parquet", "qupath", "objects", "labels"),
    ),
    # the whole picture of an animal that no step of the training saw; its licence lies beside it
    "axon": Demo(
        SAMPLES / "axon_sem.png",
        "nerve fibres in an electron micrograph",
        "axon-myelin",
        f"{FOLDER}-axon",
        "look first at {out}/preview.png: axons and their myelin; {out}/objects.parquet has a row for each axon:\n"
        "axon_diameter_um, fibre_diameter_um, myelin_thickness_um and g_ratio; {out}/polygons.qupath.geojson has a\n"
        "detection for each: drag it onto the picture in QuPath; outlines are in {out}/polygons.parquet;\n"
        "the picture: sub-rat6 of data_axondeepseg_sem, MIT licence, Copyright (c) 2020 ivadomed; an animal that the\n"
        "model was not trained on; for research use, not for diagnosis;\n"
        "your own picture, of 0.1 micrometres per pixel:\n"
        "segment-tiles run PICTURE.png --source-mpp 0.1 --model axon-myelin --out RESULT",
        ("zarr", "cog", "parquet", "qupath", "objects"),
        {"source_mpp": 0.13},
    ),
    # its training pictures are not shipped
    "landcover": Demo(
        None,
        "FILE, a colour picture from above",
        "landcover-rgb",
        f"{FOLDER}-landcover",
        "look first at {out}/preview.png: buildings, bare land, roads, vegetation and water beside the picture;\n"
        "open {out}/classes.tif and {out}/polygons.parquet in QGIS; the model has seen one city in a desert, in\n"
        "pixels of about a metre: expect worse maps elsewhere;\n"
        "with options: segment-tiles run {source} --model landcover-rgb --out RESULT",
        ("zarr", "cog", "parquet"),
    ),
}
"""By name; the first is the default."""


def demo_named(name: str) -> Demo:
    """Return a demo by its name.

    Raises
    ------
    UsageError
        If there is no demo of this name.
    """
    if name not in DEMOS:
        msg = f"there is no demo {name!r}; give one of {', '.join(DEMOS)}"
        raise UsageError(msg)
    return DEMOS[name]


def demo_config(
    out: Path | None = None,
    device: str = "auto",
    *,
    name: str = "canopy",
    file: str | None = None,
    restart: bool = False,
) -> RunConfig:
    """Return the run that ``segment-tiles demo`` makes.

    ``file`` is what is mapped by a demo that has no sample.

    Raises
    ------
    UsageError
        If there is no demo of this name, or it wants a file and has none, or has a sample and is given a file.
    """
    demo = demo_named(name)
    return RunConfig(
        source=_source(demo, name, file),
        model=demo.model,
        out=Path(demo.out) if out is None else out,
        device=device,
        formats=demo.formats,
        restart=restart,
        **demo.options,
    )


def _source(demo: Demo, name: str, file: str | None) -> str:
    """Return what a demo maps."""
    if demo.sample is None:
        if file is None:
            msg = f"demo {name} maps a file of yours, and none is named; give one: segment-tiles demo {name} FILE"
            raise UsageError(msg)
        return file
    if file is not None:
        msg = (
            f"demo {name} maps a sample that ships with the program, and is given {shown_name(file)!r}; leave it out, "
            f"or map it by segment-tiles run {shown_name(file)} --model {demo.model} --out RESULT"
        )
        raise UsageError(msg)
    return str(demo.sample)
