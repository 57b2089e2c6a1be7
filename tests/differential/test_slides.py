"""Slides and microscope images as openslide, tifffile and zarr read them, made and real, and runs on them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pytest
import tifffile
import zarr
from numpy.typing import NDArray

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.errors import SegmentTilesError, SourceError
from segment_tiles.pipeline.sources.open import open_source
from segment_tiles.pipeline.sources.pyramids.pyramid_source import PyramidSource
from segment_tiles.pipeline.sources.view import WHOLE, View
from segment_tiles.workflows.run.describe import describe_source

Call = Callable[..., Any]
SIDES = (150, 190)


def drawn(shape: tuple[int, ...], dtype: str = "uint8") -> NDArray[Any]:
    """Return noise over the whole range of a byte."""
    return np.random.default_rng(4).integers(1, 255, shape).astype(dtype)


def read(path: Path | str, view: View = WHOLE, level: int = 0) -> tuple[NDArray[Any], PyramidSource]:
    """Return bands x rows x columns as a run reads them, and the source, closed."""
    source = open_source(str(path), view=view, level=level)
    try:
        return source.read(source.spec.window), source  # type: ignore[return-value]
    finally:
        source.close()


def resolution(mpp: float) -> dict[str, Any]:
    """Return TIFF's resolution tags for micrometres per pixel, as tifffile takes them."""
    return {"resolution": (1e4 / mpp, 1e4 / mpp), "resolutionunit": "CENTIMETER"}


def qptiff(path: Path, planes: NDArray[Any], mpp: float, names: list[str]) -> None:
    """Write channels x rows x columns (or one RGB page) as PerkinElmer does: page by page, then the levels."""
    with tifffile.TiffWriter(path) as file:
        for step in (1, 2):
            for plane, name in zip(planes, names, strict=True):
                part = plane[: plane.shape[0] // step * step : step, : plane.shape[1] // step * step : step]
                description = (
                    '<?xml version="1.0" encoding="utf-16"?><PerkinElmer-QPI-ImageDescription>'
                    f"<ImageType>FullResolution</ImageType><Name>{name}</Name></PerkinElmer-QPI-ImageDescription>"
                ).replace(' encoding="utf-16"', "")
                file.write(
                    part, tile=(64, 64), software="PerkinElmer-QPI", description=description, metadata=None,
                    photometric="rgb" if plane.ndim == 3 else "minisblack",
                    subfiletype=int(step > 1), **resolution(mpp * step),
                )  # fmt: skip
            if step == 1:  # the thumbnail lies between
                small = planes[0][::8, ::8]
                file.write(small, software="PerkinElmer-QPI", metadata=None, subfiletype=1)


def make(kind: str, path: Path) -> tuple[NDArray[Any], View]:
    """Write an image of one kind; return what it holds as bands x rows x columns, and how to ask for it."""
    colours = drawn((*SIDES, 3))
    if kind == "tiled":
        tifffile.imwrite(path, colours, tile=(64, 64), photometric="rgb", metadata=None, **resolution(0.5))
        return colours.transpose(2, 0, 1), WHOLE
    if kind == "svs":
        tifffile.imwrite(path, colours, tile=(64, 64), photometric="rgb", metadata=None,
                         description="Aperio Image Library v10.0\r\n190x150|AppMag = 20|MPP = 0.5")  # fmt: skip
        return colours.transpose(2, 0, 1), WHOLE
    if kind == "ome-tiff":
        values = drawn((2, 3, *SIDES), "uint16")
        tifffile.imwrite(path, values, ome=True, metadata={"axes": "ZCYX", "PhysicalSizeX": 500, "PhysicalSizeY": 500,
                         "PhysicalSizeXUnit": "nm", "PhysicalSizeYUnit": "nm"})  # fmt: skip
        return values[1], View(z=1)
    if kind == "imagej":
        values = drawn((2, 3, 4, *SIDES), "uint16")  # t, z, c
        tifffile.imwrite(
            path, values, imagej=True, resolution=(2, 2), metadata={"axes": "TZCYX", "unit": "um"}
        )
        return values[1, 2], View(z=2, t=1)
    if kind == "imagej-micron":
        values = drawn((3, *SIDES), "float32")
        tifffile.imwrite(
            path, values, imagej=True, resolution=(2, 2), metadata={"axes": "ZYX", "unit": "\\u00B5m"}
        )
        return values[1:2], View(z=1)
    if kind == "imagej-single":
        values = drawn(SIDES, "uint16")
        tifffile.imwrite(
            path, values, imagej=True, resolution=(2000, 2000), metadata={"axes": "YX", "unit": "mm"}
        )
        return values[np.newaxis], WHOLE
    if kind == "qptiff":
        values = drawn((5, *SIDES))
        qptiff(path, values, 0.5, ["DAPI", "CD3", "CD8", "PanCK", "AF"])
        return values, WHOLE
    if kind == "qptiff-colours":
        qptiff(path, colours[np.newaxis], 0.5, ["HE"])
        return colours.transpose(2, 0, 1), WHOLE
    if kind == "named-axes":
        values = drawn((3, 2, *SIDES))
        tifffile.imwrite(path, values, photometric="minisblack", metadata={"axes": "ZCYX"}, **resolution(0.5))
        return values[0], View(z=0)
    assert kind == "big-endian"
    values = drawn((2, *SIDES), "uint16")
    tifffile.imwrite(
        path, values, imagej=True, byteorder=">", resolution=(2, 2), metadata={"axes": "CYX", "unit": "um"}
    )
    return values, WHOLE


KINDS = [
    "tiled", "svs", "ome-tiff", "imagej", "imagej-micron", "imagej-single", "qptiff", "qptiff-colours",
    "named-axes", "big-endian",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_read_pixel_for_pixel(
    kind: str, thresholded: Call, threshold_model: Call, expected_classes: Call, tmp_path: Path
) -> None:
    path = tmp_path / ("x.svs" if kind == "svs" else "x.tif")
    values, view = make(kind, path)
    theirs = tifffile.imread(path)
    if kind in {"tiled", "svs", "qptiff-colours"}:
        np.testing.assert_array_equal(values, theirs.squeeze().transpose(2, 0, 1))
    mine, source = read(path, view)
    np.testing.assert_array_equal(mine, values)
    assert source.facts.mpp == pytest.approx((0.5, 0.5))
    document = describe_source(str(path), view=View(z=view.z or 0, t=view.t or 0))
    assert (document["bands"], document["dtype"]) == (len(values), values.dtype.name)
    assert document["mpp"] == pytest.approx([0.5, 0.5])
    model = threshold_model(len(values), 120.5, values.dtype.name, 64)
    codes, _, warnings = thresholded(path, model, z=view.z, t=view.t, tissue="off", tile=64)
    np.testing.assert_array_equal(codes, expected_classes(values, None, 120.5))
    assert not [text for text in warnings if "CRS" in text]


def test_names_and_levels_of_qptiff(tmp_path: Path) -> None:
    make("qptiff", tmp_path / "x.qptiff")
    document = describe_source(str(tmp_path / "x.qptiff"))
    assert document["band_names"] == ["DAPI", "CD3", "CD8", "PanCK", "AF"]
    assert [level["height"] for level in document["levels"]] == [150, 75]
    half, _ = read(tmp_path / "x.qptiff", level=1)
    np.testing.assert_array_equal(half, drawn((5, *SIDES))[:, ::2, ::2])


def test_an_imagej_stack_with_one_directory_for_all_planes(tmp_path: Path) -> None:
    """Beyond 4 GiB ImageJ writes one directory and the planes behind each other: GDAL sees the first alone."""
    values = drawn((3, *SIDES), "uint16")
    with tifffile.TiffWriter(tmp_path / "one.tif", byteorder=">") as file:
        file.write(values, photometric="minisblack", metadata=None, contiguous=True, truncate=True,
                   description="ImageJ=1.53\nimages=3\nslices=3\nunit=um\n", resolution=(2, 2))  # fmt: skip
    with tifffile.TiffFile(tmp_path / "one.tif") as file:
        assert len(file.pages) == 1
    for z in range(3):
        np.testing.assert_array_equal(read(tmp_path / "one.tif", View(z=z))[0][0], values[z])


@pytest.mark.parametrize("tiled", [True, False])
def test_pages_without_meaning_are_refused_with_their_number(
    tiled: bool, thresholded: Call, threshold_model: Call, tmp_path: Path
) -> None:
    path = tmp_path / "x.tif"
    values = drawn((4, *SIDES))
    further = {"tile": (64, 64), **resolution(0.5)} if tiled else {}
    with tifffile.TiffWriter(path) as file:
        for page in values:
            file.write(page, metadata=None, **further)
    with pytest.raises(
        SourceError, match=r"has 4 full-size pages and does not say what they are.*GTIFF_DIR:1:"
    ):
        open_source(str(path))
    with pytest.raises(SourceError, match="4 full-size pages"):
        thresholded(path, threshold_model(1, 120.5))
    for number in range(4):
        np.testing.assert_array_equal(read(f"GTIFF_DIR:{number + 1}:{path}")[0][0], values[number])
    tifffile.imwrite(
        tmp_path / "axes.tif", values, photometric="minisblack"
    )  # of which nothing names the first axis
    with pytest.raises(SourceError, match="4 full-size pages"):
        open_source(str(tmp_path / "axes.tif"))


def test_a_smaller_page_or_a_mask_is_no_second_picture(tmp_path: Path) -> None:
    values = drawn(SIDES)
    with tifffile.TiffWriter(tmp_path / "x.tif") as file:
        file.write(values, metadata=None)
        file.write(values[::4, ::4], metadata=None)
        file.write(values, subfiletype=1, metadata=None)
        file.write(np.ones(SIDES, bool), subfiletype=4, metadata=None, photometric="minisblack")
    np.testing.assert_array_equal(read(tmp_path / "x.tif")[0][0], values)


def test_openslides_generic_tiff_with_levels_is_openslides(tmp_path: Path) -> None:
    values = drawn((256, 320, 3))
    with tifffile.TiffWriter(tmp_path / "x.tif") as file:
        file.write(values, tile=(64, 64), photometric="rgb", metadata=None, **resolution(0.25))
        file.write(values[::4, ::4], tile=(64, 64), photometric="rgb", metadata=None, subfiletype=1)
    slide = openslide.OpenSlide(str(tmp_path / "x.tif"))
    for level in range(2):
        theirs = np.asarray(slide.read_region((0, 0), level, slide.level_dimensions[level]))[..., :3]
        np.testing.assert_array_equal(read(tmp_path / "x.tif", level=level)[0], theirs.transpose(2, 0, 1))


@pytest.mark.parametrize(("mpp", "accepted"), [(0.0005, False), (0.021, True), (49.0, True), (500.0, False)])
def test_a_pixel_size_that_no_microscope_has_is_refused(
    mpp: float, accepted: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A slide whose micrometres are nanometres, or millimetres, planned millions of tiles."""
    path = tmp_path / "x.svs"
    tifffile.imwrite(path, drawn((*SIDES, 3)), tile=(64, 64), photometric="rgb", metadata=None,
                     description=f"Aperio Image Library v10.0\r\n190x150|AppMag = 20|MPP = {mpp}")  # fmt: skip
    if accepted:
        assert describe_source(str(path))["mpp"] == pytest.approx([mpp, mpp])
        return
    assert run_command_line(["info", str(path)]) == 2
    said = capsys.readouterr().err
    assert f"says that its pixels are {mpp:g} x {mpp:g} micrometres" in said
    assert "0.02 to 50 are accepted); give its own with --source-mpp" in said
    assert describe_source(str(path), view=View(source_mpp=0.5))["mpp"] == [0.5, 0.5]


def test_an_enlargement_of_more_than_eight_is_refused(
    small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make("tiled", tmp_path / "x.tif")
    source = str(tmp_path / "x.tif")
    read(source, View(mpp=0.0626))
    with pytest.raises(
        SegmentTilesError, match=r"0.5 micrometres per pixel and would be enlarged 10 times.*--source-mpp"
    ):
        open_source(source, view=View(mpp=0.05))
    for command in (["plan"], ["run", "--out", str(tmp_path / "out")]):
        words = [command[0], source, "--model", str(small_model), "--mpp", "0.05", *command[1:]]
        assert run_command_line(words) == 2
        assert "would be enlarged 10 times" in capsys.readouterr().err
    read(source, View(mpp=0.05, source_mpp=0.2))


@pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
@pytest.mark.parametrize("kind", ["tiled", "svs", "ome-tiff", "imagej", "plain"])
def test_a_file_whose_end_is_missing_says_so(kind: str, share: float, tmp_path: Path) -> None:
    whole = tmp_path / ("w.svs" if kind == "svs" else "w.tif")
    if kind == "plain":
        tifffile.imwrite(whole, drawn((*SIDES, 3)), metadata=None)
    else:
        make(kind, whole)
    cut = whole.with_stem("cut")
    cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
    with pytest.raises(
        SourceError,
        match=r"ends early or is damaged: .* reach(es)? to byte [\d,]+, and the file has .*copy it again",
    ):
        open_source(str(cut))


def test_several_images_and_missing_planes_of_ome_tiff_are_refused(tmp_path: Path) -> None:
    values = drawn((2, *SIDES))
    with tifffile.TiffWriter(tmp_path / "two.ome.tif") as file:
        for _ in range(2):
            file.write(values, metadata={"axes": "CYX"})
    with pytest.raises(SourceError, match="holds 2 images of the same size; export one"):
        open_source(str(tmp_path / "two.ome.tif"))
    uuid = "urn:uuid:00000000-0000-0000-0000-00000000000"
    plane = '<TiffData FirstC="{0}" IFD="0" PlaneCount="1"><UUID FileName="{1}">{2}</UUID></TiffData>'
    xml = (
        '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
        f'UUID="{uuid}1"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="190" '
        'SizeY="150" SizeC="2" SizeZ="1" SizeT="1"><Channel ID="C:0" SamplesPerPixel="1"/>'
        '<Channel ID="C:1" SamplesPerPixel="1"/>'
        f"{plane.format(0, 'a.ome.tif', uuid + '1')}{plane.format(1, 'gone.ome.tif', uuid + '2')}"
        "</Pixels></Image></OME>"
    )
    tifffile.imwrite(tmp_path / "a.ome.tif", values[0], description=xml, metadata=None)
    with pytest.raises(SourceError, match="1 of its 2 planes are in no file beside it"):
        open_source(str(tmp_path / "a.ome.tif"))


def test_a_codec_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = drawn((3, *SIDES))
    tifffile.imwrite(tmp_path / "x.tif", values, ome=True, compression="zstd", metadata={"axes": "CYX"})
    np.testing.assert_array_equal(read(tmp_path / "x.tif")[0], values)

    class Without(dict[Any, Any]):
        def __getitem__(self, name: Any) -> Any:
            raise KeyError(f"{name!r} requires the 'imagecodecs' package")

    monkeypatch.setitem(vars(tifffile.TIFF), "DECOMPRESSORS", Without())
    with pytest.raises(SegmentTilesError, match="is compressed as ZSTD, which needs imagecodecs"):
        open_source(str(tmp_path / "x.tif"))


@pytest.mark.parametrize(("unit", "factor"), [(None, None), ("nanometer", 1e-3), ("millimeter", 1e3)])
def test_labels_inside_have_the_scale_and_unit_of_their_image(
    unit: str | None,
    factor: float | None,
    thresholded: Call,
    threshold_model: Call,
    expected_classes: Call,
    tmp_path: Path,
) -> None:
    """Viewers lay labels over an image by numbers: 1.0 over 0.5 is twice as large."""
    values = drawn((2, *SIDES))
    image = zarr.open_group(tmp_path / "image.zarr", mode="w", zarr_format=3)
    image.create_array("0", data=values, chunks=(1, 64, 64))
    image.create_array("1", data=values[:, ::2, ::2], chunks=(1, 64, 64))
    said = {} if unit is None else {"unit": unit}
    scale = [1.0, 0.25, 0.5]
    image.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [{
            "axes": [{"name": "c", "type": "channel"}, *({"name": a, "type": "space", **said} for a in "yx")],
            "datasets": [
                {"path": str(level), "coordinateTransformations": [
                    {"type": "scale", "scale": [1.0, scale[1] * 2**level, scale[2] * 2**level]},
                    {"type": "translation", "translation": [0.0, 7.0, 9.0]},
                ]}
                for level in range(2)
            ],
        }],
    }  # fmt: skip
    further = {} if factor is None else {"source_mpp": 0.5}
    codes, _, _ = thresholded(
        tmp_path / "image.zarr",
        threshold_model(2, 120.5),
        formats=("zarr", "ome-zarr"),
        labels_inside=True,
        **further,
    )
    np.testing.assert_array_equal(codes, expected_classes(values, None, 120.5))
    labels = zarr.open_group(tmp_path / "image.zarr" / "labels", mode="r")
    (name,) = labels.attrs["ome"]["labels"]  # type: ignore[index,call-overload]
    multiscale = labels[name].attrs["ome"]["multiscales"][0]
    assert [axis.get("unit") for axis in multiscale["axes"]] == [unit, unit]
    for level, dataset in enumerate(multiscale["datasets"]):
        given, moved = dataset["coordinateTransformations"]
        assert given["scale"] == [0.25 * 2**level, 0.5 * 2**level]
        if level == 0:
            assert moved["translation"] == [7.0, 9.0]
    np.testing.assert_array_equal(labels[name]["0"][:], codes)


# real files


@pytest.mark.shared
def test_a_real_svs_is_openslides(
    shared_real: Path, thresholded: Call, threshold_model: Call, expected_classes: Call
) -> None:
    path = shared_real / "openslide-rs" / "default.svs"
    slide = openslide.OpenSlide(str(path))
    theirs = np.asarray(slide.read_region((0, 0), 0, slide.dimensions))[..., :3].transpose(2, 0, 1)
    mine, source = read(path)
    np.testing.assert_array_equal(mine, theirs)
    assert source.facts.mpp == pytest.approx(
        (float(slide.properties["openslide.mpp-y"]), float(slide.properties["openslide.mpp-x"]))
    )
    codes, report, warnings = thresholded(
        path, threshold_model(3, (210.5, 150.5, 190.5), "uint8", 256), tissue="off"
    )
    np.testing.assert_array_equal(codes, expected_classes(theirs, None, (210.5, 150.5, 190.5)))
    assert report["source"]["micrometers_per_pixel"]["read"] == pytest.approx(list(source.facts.mpp or ()))
    assert not [text for text in warnings if "CRS" in text]


@pytest.mark.shared
@pytest.mark.parametrize("name", ["sm_image", "sm_image_dots", "sm_image_numbers", "sm_image_control"])
def test_real_dicom_slides_are_their_frames_put_together(
    name: str, shared_real: Path, thresholded: Call, threshold_model: Call, expected_classes: Call
) -> None:
    import pydicom  # noqa: PLC0415

    path = shared_real / "highdicom" / f"{name}.dcm"
    frames = pydicom.dcmread(path).pixel_array  # 25 tiles of 10 x 10, row by row
    theirs = frames.reshape(5, 5, 10, 10, 3).transpose(0, 2, 1, 3, 4).reshape(50, 50, 3).transpose(2, 0, 1)
    np.testing.assert_array_equal(read(path)[0], theirs)
    codes, _, _ = thresholded(path, threshold_model(3, 120.5), tissue="off")
    np.testing.assert_array_equal(codes, expected_classes(theirs, None, 120.5))


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("sm_image_jpegls", "is compressed as JPEG-LS, which OpenSlide does not decode; transcode"),
        ("sm_image_jpegls_nobot", "is compressed as JPEG-LS"),
        (
            "sm_image_grayscale",
            "pixels of a kind that OpenSlide does not read .*BitsAllocated value 16.*OME-TIFF",
        ),
        ("sm_image_grayscale_reversed", "pixels of a kind that OpenSlide does not read"),
    ],
)
def test_dicom_slides_that_openslide_does_not_read_say_why(name: str, words: str, shared_real: Path) -> None:
    with pytest.raises(SourceError, match=words):
        open_source(str(shared_real / "highdicom" / f"{name}.dcm"))


EXAMPLES = {
    "valid/image-01": (1000, 1000), "valid/image-02": (200, 200), "valid/image-03": (100, 100),
    "valid/image-04": (64, 64), "warning/image-01": (64, 64),
    "valid/plate-01": "is an OME-Zarr plate; give one image of it",
    "invalid/image-01": "is an empty Zarr group",
    "invalid/image-02": r"list of images \(multiscales\) is empty",
    "invalid/image-03": "its level '0' is missing or damaged",
    "invalid/image-04": r"its level 1 has 2 dimensions, but its axes are 3 \(z, y, x\)",
}  # fmt: skip


@pytest.mark.shared
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_ome_zarr_examples_are_read_or_refused_in_one_line(
    name: str, shared_real: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, expected = shared_real / "ome-zarr-examples" / f"{name}.zarr", EXAMPLES[name]
    if isinstance(expected, str):
        with pytest.raises(SourceError, match=expected):
            describe_source(str(path))
        assert run_command_line(["info", str(path)]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
        return
    assert run_command_line(["info", str(path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["height"], document["width"]) == expected
    array = zarr.open_group(path, mode="r")["0"]
    plane = np.asarray(array[:] if array.ndim == 2 else array[0])
    np.testing.assert_array_equal(read(path, View(z=0))[0][0], plane)


def test_a_damaged_ome_zarr_is_refused_in_one_line(tmp_path: Path) -> None:
    """Siblings of the examples: metadata of every wrong type, levels that grow, a scale of zero."""
    axes = [{"name": "y", "unit": "micrometer"}, {"name": "x", "unit": "micrometer"}]
    good = {"axes": axes, "datasets": [{"path": "0"}]}
    cases: list[tuple[Any, str]] = [
        ({"multiscales": None}, "empty or no list"),
        ({"multiscales": "image"}, "empty or no list"),
        ({"multiscales": [7]}, "empty or no list"),
        ({"multiscales": [{**good, "datasets": []}]}, "names no levels"),
        ({"multiscales": [{**good, "datasets": [{}]}]}, "cannot be understood"),
        ({"multiscales": [{**good, "axes": [{"name": "y"}, {"name": "q"}]}]}, "an image has y and x"),
        ({"multiscales": [{**good, "axes": axes[:1]}]}, "has 2 dimensions, but its axes are 1"),
        ({"multiscales": [{**good, "datasets": [{"path": "1"}, {"path": "0"}]}]}, "does not shrink"),
        ({"multiscales": [{**good, "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale"}]}]}]},
         "cannot be understood"),
    ]  # fmt: skip
    for number, (metadata, words) in enumerate(cases):
        path = tmp_path / f"{number}.zarr"
        group = zarr.open_group(path, mode="w", zarr_format=3)
        group.create_array("0", data=drawn((20, 30)))
        group.create_array("1", data=drawn((10, 15)))
        group.attrs["ome"] = {"version": "0.5", **metadata}
        with pytest.raises(SourceError, match=words):
            open_source(str(path))
