"""Made rasters of many kinds: what `info` says and what a run makes of them is what rasterio reads."""

# ruff: noqa: E501 - a case stands on one line, as long as it may be

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning

from segment_tiles.cli.main import run_command_line
from segment_tiles.pipeline.outputs.stores.store import open_store, read_georef

RGB = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
ALPHA = ColorInterp.alpha
PAM = "<PAMDataset>{}</PAMDataset>"


@dataclass(frozen=True)
class Case:
    """A raster, how it is run, and what is known of it beyond rasterio's answers."""

    name: str
    make: Callable[[Any, Path], Path | str]
    bands: tuple[int, ...] | None = None
    threshold: float = 100.5
    options: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    warned: tuple[str, ...] = ()
    has_dataset_mask: bool = True


def sidecar(path: Path, suffix: str, text: str) -> Path:
    """Write a file beside a raster and return the raster."""
    (Path(f"{path}{suffix[1:]}") if suffix.startswith("+") else path.with_suffix(suffix)).write_text(text)
    return path


def world(path: Path, suffix: str) -> Path:
    """Write a world file: it gives the centre of the first pixel."""
    return sidecar(path, suffix, "10\n0\n0\n-10\n500005\n4999995\n")


def external_mask(m: Any, path: Path) -> Path:
    """Write a raster with a .msk beside it."""
    mask = np.ones((m.HEIGHT, m.WIDTH), bool)
    mask[m.BLANK] = False
    return m.write(path, m.noise(3), mask=mask, environment={"GDAL_TIFF_INTERNAL_MASK": False})


def internal_mask(m: Any, path: Path, **options: Any) -> Path:
    """Write a raster with a mask in it."""
    mask = np.ones((m.HEIGHT, m.WIDTH), bool)
    mask[m.BLANK] = False
    return m.write(path, m.noise(3), mask=mask, environment={"GDAL_TIFF_INTERNAL_MASK": True}, **options)


def with_alpha(m: Any, bands: int, dtype: str = "uint8", **options: Any) -> Any:
    """Return colours and an alpha band that hides BLANK."""
    values = m.noise(bands, dtype)
    values[-1] = np.iinfo(dtype).max if np.dtype(dtype).kind in "ui" else 255
    values[-1][m.BLANK] = 0
    return values


def three_nodata(m: Any, folder: Path) -> Path:
    """Write a VRT with nodata 0, 255 and 17; BLANK is missing in all bands, other pixels in one or two."""
    values = m.blanked(m.noise(3), (0, 255, 17))
    values[0, :5], values[1, 3:8], values[2, 50:] = 0, 255, 17
    source = m.write(folder / "source.tif", values)
    bands = [f"Byte|<NoDataValue>{value}</NoDataValue>" for value in (0, 255, 17)]
    return m.vrt(folder / "a.vrt", source, bands, m.PLACE)


def own_masks(m: Any, folder: Path) -> Path:
    """Write a VRT whose bands have a mask each: other pixels of each are hidden."""
    mask = np.full((2, m.HEIGHT, m.WIDTH), 255, np.uint8)
    mask[0, :20], mask[1, 10:30] = 0, 0
    m.write(folder / "masks.tif", mask)
    source = m.write(folder / "source.tif", m.noise(2))
    bands = [
        'Byte|<MaskBand><VRTRasterBand dataType="Byte"><SimpleSource><SourceFilename relativeToVRT="1">masks.tif'
        f"</SourceFilename><SourceBand>{band}</SourceBand></SimpleSource></VRTRasterBand></MaskBand>"
        for band in (1, 2)
    ]
    return m.vrt(folder / "a.vrt", source, bands, m.PLACE)


def float_with(m: Any, folder: Path, value: float, dtype: str = "float32", **options: Any) -> Path:
    """Write floats with a value in BLANK."""
    return m.write(folder / "a.tif", m.blanked(m.noise(1, dtype), value), **options)


def zipped(m: Any, folder: Path) -> str:
    """Write a raster and its world file into a ZIP archive."""
    inside = folder / "inside"
    inside.mkdir()
    world(m.write(inside / "a.tif", m.noise(), crs=None, transform=None), ".tfw")
    shutil.make_archive(str(folder / "a"), "zip", inside)
    return f"/vsizip/{folder}/a.zip/a.tif"


def sparse(m: Any, folder: Path, **options: Any) -> Path:
    """Write a tiled file in which all tiles but the first are holes."""
    path = folder / "a.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=2, height=m.HEIGHT, width=m.WIDTH, dtype="uint8", tiled=True, blockxsize=16,
        blockysize=16, sparse_ok=True, crs="EPSG:32633", transform=m.NORTH_UP, **options,
    ) as dataset:  # fmt: skip
        dataset.write(m.noise(2)[:, :16, :32], window=((0, 16), (0, 32)))
    return path


def plain(name: str, **options: Any) -> Case:
    """Return a case of one band in BLANK and noise, written with these options."""
    values = options.pop("values", lambda m: m.noise())
    return Case(name, lambda m, f: m.write(f / "a.tif", values(m), **options))


SRS = '<SRS dataAxisToSRSAxisMapping="1,2">EPSG:32633</SRS>'
NO_PLACE = {"crs": None, "transform": None}
ROTATED = rasterio.Affine(8, 6, 500000, 6, -8, 5000000)
CASES = [
    # drivers and layouts
    plain("gtiff"),
    plain("gtiff-bigtiff-big-endian", BIGTIFF="YES", ENDIANNESS="BIG"),
    plain("gtiff-tiled-band", values=lambda m: m.noise(2), tiled=True, blockxsize=32, blockysize=16, interleave="band"),
    plain("gtiff-tiled-pixel-lzw", values=lambda m: m.noise(3), tiled=True, blockxsize=16, blockysize=32, interleave="pixel", compress="lzw"),
    Case("cog", lambda m, f: m.write(f / "a.tif", m.noise(3), driver="COG", compress="deflate")),
    Case("png", lambda m, f: m.write(f / "a.png", m.noise(3), driver="PNG", **NO_PLACE)),
    Case("jpeg-2000", lambda m, f: m.write(f / "a.jp2", m.noise(3), driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES")),
    Case("envi-img-hdr", lambda m, f: m.write(f / "a.img", m.noise(2, "uint16"), driver="ENVI", names=("nir", "red"))),
    Case("ehdr-bil-hdr-prj", lambda m, f: m.write(f / "a.bil", m.noise(1, "int16"), driver="EHdr")),
    Case("hfa-img", lambda m, f: m.write(f / "a.img", m.noise(2), driver="HFA", nodata=0)),
    Case("arc-ascii-prj", lambda m, f: m.write(f / "a.asc", m.blanked(m.noise(1, "int32"), -9999), driver="AAIGrid", nodata=-9999)),
    Case("jpeg-in-tiff-with-mask", lambda m, f: internal_mask(m, f / "a.tif", photometric="YCBCR", compress="jpeg", tiled=True, blockxsize=64, blockysize=64)),
    # types
    plain("one-bit", values=lambda m: m.noise(1, low=0, high=1) , NBITS=1),
    *(plain(f"type-{dtype}", values=lambda m, dtype=dtype: m.noise(2, dtype)) for dtype in
      ("int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")),
    plain("half-float", values=lambda m: m.noise(1, "float32"), NBITS=16),
    Case("vrt-of-two-types", lambda m, f: m.vrt(f / "a.vrt", m.write(f / "s.tif", m.noise(2, "uint16")), ["Byte|", "UInt16|"], m.PLACE)),
    # sidecars
    *(Case(f"world-file-{suffix}", lambda m, f, d=driver, e=end, s=suffix: world(m.write(f / f"a{e}", m.noise(3), driver=d, **NO_PLACE), s))
      for driver, end, suffix in (("GTiff", ".tif", ".tfw"), ("GTiff", ".tif", ".wld"), ("PNG", ".png", ".pgw"), ("PNG", ".png", ".wld"))),
    Case("world-file-.jgw", lambda m, f: world(m.write(f / "a.jpg", m.noise(3), driver="JPEG", **NO_PLACE), ".jgw")),
    Case("world-file-upper-case", lambda m, f: world(m.write(f / "A.TIF", m.noise(), **NO_PLACE), ".TFW")),
    Case("world-file-in-zip", zipped),
    Case("aux-xml-crs", lambda m, f: sidecar(world(m.write(f / "a.tif", m.noise(), **NO_PLACE), ".tfw"), "+.aux.xml", PAM.format(SRS))),
    Case("aux-xml-nodata", lambda m, f: sidecar(m.write(f / "a.tif", m.blanked(m.noise(), 7)), "+.aux.xml", PAM.format('<PAMRasterBand band="1"><NoDataValue>7</NoDataValue></PAMRasterBand>'))),
    Case("aux-xml-nodata-of-two-bands", lambda m, f: sidecar(m.write(f / "a.tif", m.blanked(m.noise(2), (7, 8))), "+.aux.xml", PAM.format("".join(f'<PAMRasterBand band="{b}"><NoDataValue>{b + 6}</NoDataValue></PAMRasterBand>' for b in (1, 2))))),
    Case("aux-xml-names", lambda m, f: sidecar(m.write(f / "a.png", m.noise(3), driver="PNG", **NO_PLACE), "+.aux.xml", PAM.format('<PAMRasterBand band="2"><Description>green</Description></PAMRasterBand>'))),
    Case("external-mask", lambda m, f: external_mask(m, f / "a.tif"), facts={"mask": "dataset"}),
    Case("external-overviews", lambda m, f: m.write(f / "a.tif", m.noise(), overviews=(2,), environment={"TIFF_USE_OVR": True}), options={"level": 1}),
    Case("external-overviews-and-mask", lambda m, f: m.write(external_mask(m, f / "a.tif"), m.noise(3), overviews=(2,), environment={"TIFF_USE_OVR": True}, mask=np.eye(61, 75) == 0), options={"level": 1}),
    # masks
    Case("internal-mask", lambda m, f: internal_mask(m, f / "a.tif"), facts={"mask": "dataset"}),
    Case("internal-mask-beside-nodata", lambda m, f: internal_mask(m, f / "a.tif", nodata=50), facts={"mask": "dataset", "nodata": 50.0}),
    Case("internal-mask-tiled", lambda m, f: internal_mask(m, f / "a.tif", tiled=True, blockxsize=16, blockysize=16, compress="deflate")),
    Case("nodata-values-of-the-dataset", lambda m, f: m.vrt(f / "a.vrt", m.write(f / "s.tif", m.blanked(m.noise(3), (9, 8, 7))), ["Byte|"] * 3, m.PLACE + '<Metadata><MDI key="NODATA_VALUES">9 8 7</MDI></Metadata>'), facts={"mask": "dataset"}),
    Case("masks-of-bands-all", own_masks, facts={"mask": "band"}),
    Case("masks-of-bands-any", own_masks, options={"nodata_rule": "any"}),
    Case("masks-of-bands-one-read", own_masks, bands=(2,), has_dataset_mask=False),
    Case("alpha-grey", lambda m, f: m.write(f / "a.tif", with_alpha(m, 2), alpha="YES"), bands=(1,), facts={"mask": "alpha"}),
    Case("alpha-rgb", lambda m, f: m.write(f / "a.tif", with_alpha(m, 4), photometric="RGB", alpha="YES"), bands=(1, 2, 3), facts={"mask": "alpha"}),
    Case("alpha-rgb-16-bit", lambda m, f: m.write(f / "a.tif", with_alpha(m, 4, "uint16"), photometric="RGB", alpha="YES"), bands=(1, 2, 3)),
    Case("alpha-png", lambda m, f: m.write(f / "a.png", with_alpha(m, 4), driver="PNG", **NO_PLACE), bands=(1, 2, 3)),
    Case("alpha-is-the-first-of-three", lambda m, f: m.write(f / "a.tif", with_alpha(m, 3)[::-1].copy(), colors=(ALPHA, ColorInterp.gray, ColorInterp.undefined)), bands=(2, 3), has_dataset_mask=False),
    # nodata
    Case("nodata-zero", lambda m, f: m.write(f / "a.tif", m.blanked(m.noise(3), 0), nodata=0), facts={"mask": "nodata", "nodata": 0.0}),
    Case("nodata-zero-any", lambda m, f: m.write(f / "a.tif", m.noise(3, low=0, high=9), nodata=0), options={"nodata_rule": "any"}, threshold=4.5),
    Case("nodata-0-255-17-all", three_nodata, facts={"mask": "nodata", "nodata": 0.0}),
    Case("nodata-0-255-17-any", three_nodata, options={"nodata_rule": "any"}),
    Case("nodata-0-255-17-two-bands-turned", three_nodata, bands=(3, 1), options={"nodata_rule": "any"}),
    Case("nodata-of-one-band-only", lambda m, f: m.vrt(f / "a.vrt", m.write(f / "s.tif", m.blanked(m.noise(2), 9)), ["Byte|", "Byte|<NoDataValue>9</NoDataValue>"], m.PLACE)),
    Case("nodata-of-one-band-only-any", lambda m, f: m.vrt(f / "a.vrt", m.write(f / "s.tif", m.blanked(m.noise(2), 9)), ["Byte|", "Byte|<NoDataValue>9</NoDataValue>"], m.PLACE), options={"nodata_rule": "any"}),
    Case("nodata-beyond-the-type", lambda m, f: m.vrt(f / "a.vrt", m.write(f / "s.tif", m.noise()), ["Byte|<NoDataValue>-9999</NoDataValue>"], m.PLACE), facts={"mask": "none", "nodata": None}),
    Case("nodata-with-a-fraction", lambda m, f: m.vrt(f / "a.vrt", m.write(f / "s.tif", m.noise(low=0, high=3)), ["Byte|<NoDataValue>2.5</NoDataValue>"], m.PLACE), threshold=0.5),
    Case("nodata-beyond-exact-floats", lambda m, f: m.vrt(f / "a.vrt", m.write(f / "s.tif", np.where(m.noise() > 99, 2**53 + 1, 2**53 + m.noise(1, "int64", seed=1) % 3)), [f"Int64|<NoDataValue>{2**53 + 1}</NoDataValue>"], m.PLACE), threshold=0.5, facts={"nodata": 2**53 + 1}),
    Case("nodata-signed-byte", lambda m, f: m.write(f / "a.tif", m.blanked(m.noise(1, "int8", -100, 100), -128), nodata=-128), threshold=0.5),
    Case("nodata-nan", lambda m, f: float_with(m, f, np.nan, nodata=np.nan), facts={"nodata": "nan"}),
    Case("nan-undeclared", lambda m, f: float_with(m, f, np.nan)),
    Case("infinity-float32", lambda m, f: float_with(m, f, np.inf)),
    Case("infinity-float64", lambda m, f: float_with(m, f, -np.inf, "float64")),
    Case("infinity-in-one-band-all", lambda m, f: m.write(f / "a.tif", m.blanked(m.noise(2, "float32"), (np.inf, 3)))),
    Case("infinity-in-one-band-any", lambda m, f: m.write(f / "a.tif", m.blanked(m.noise(2, "float32"), (-np.inf, 3))), options={"nodata_rule": "any"}),
    Case("nodata-lowest-float32", lambda m, f: float_with(m, f, np.float32(-3.4028235e38), nodata=-3.4028234663852886e38)),
    Case("nodata-nearly-lowest-float32", lambda m, f: float_with(m, f, np.float32(-3.4028231e38), nodata=-3.4028234663852886e38)),
    Case("nodata-tenth-float32", lambda m, f: float_with(m, f, np.float32(0.1), nodata=0.1)),
    Case("nodata-of-two-types", lambda m, f: m.vrt(f / "a.vrt", m.write(f / "s.tif", m.blanked(m.noise(2, "int16"), (3, -5))), ["Byte|<NoDataValue>3</NoDataValue>", "Int16|<NoDataValue>-5</NoDataValue>"], m.PLACE)),
    Case("nodata-in-holes", lambda m, f: sparse(m, f, nodata=0)),
    Case("holes-without-nodata", sparse),
    Case("holes-with-nodata-of-aux-xml", lambda m, f: sidecar(sparse(m, f, nodata=3), "+.aux.xml", PAM.format('<PAMRasterBand band="1"><NoDataValue>9</NoDataValue></PAMRasterBand>')), options={"nodata_rule": "any"}),
    # where it lies
    plain("rotated", transform=ROTATED),
    plain("south-up", transform=rasterio.Affine(10, 0, 500000, 0, 10, 4000000)),
    plain("west-up-sheared", transform=rasterio.Affine(-10, 1, 500000, 2, -9, 5000000)),
    plain("pixel-is-point", AREA_OR_POINT="Point"),
    plain("geographic-lat-lon-axes", crs="EPSG:4326", transform=rasterio.Affine(0.001, 0, 15, 0, -0.001, 45)),
    plain("northing-easting-axes", crs="EPSG:2193"),
    plain("feet", crs="EPSG:2263"),
    plain("web-mercator", crs="EPSG:3857"),
    plain("custom-crs", crs="+proj=laea +lat_0=52 +lon_0=10 +ellps=GRS80 +units=m"),
    plain("local-crs", crs='LOCAL_CS["arbitrary",UNIT["metre",1]]'),
    plain("transform-without-crs", crs=None),
    plain("across-180-degrees", crs="EPSG:4326", transform=rasterio.Affine(0.1, 0, 177, 0, -0.1, 10)),
    # what is said of bands
    Case("names", lambda m, f: m.write(f / "a.tif", m.noise(3), names=("red", "", "nir"))),
    Case("scale-and-offset", lambda m, f: m.write(f / "a.tif", m.noise(2, "int16"), scales=(0.5, 2.0), offsets=(0.0, -10.0)), warned=("scale",)),
    Case("scale-in-vrt", lambda m, f: m.vrt(f / "a.vrt", m.write(f / "s.tif", m.noise()), ["Byte|<Scale>0.1</Scale><Offset>3</Offset><UnitType>K</UnitType>"], m.PLACE), warned=("scale of 0.1", "offset of 3")),
]  # fmt: skip


def opened(path: str, level: int | None) -> Any:
    """Open as users of rasterio do."""
    return rasterio.open(path, **({"overview_level": level - 1} if level else {}))


def lacking(dataset: Any, bands: tuple[int, ...]) -> Any:
    """Return what the mask of one band alone hides; 0, and nodata of uint8, mark whole pixels (decision 0183)."""
    hidden = []
    for band in bands:
        flags, mark = set(dataset.mask_flag_enums[band - 1]), dataset.nodatavals[band - 1]
        is_own = not flags & {MaskFlags.per_dataset, MaskFlags.alpha, MaskFlags.all_valid}
        if MaskFlags.nodata in flags:
            is_own = is_own and mark != 0 and dataset.dtypes[band - 1] != "uint8" and len(bands) > 1
        masked = dataset.read_masks(band) == 0
        hidden.append(masked if is_own else np.zeros_like(masked))
    return np.stack(hidden)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_raster_means_what_rasterio_says(
    case: Case, tmp_path, made, threshold_model, expected_classes, thresholded, capsys
):
    path = str(case.make(made, tmp_path))
    level = case.options.get("level")
    # GDAL's default, said because a test that sets the environment variable leaves it in GDAL's options
    with warnings.catch_warnings(), rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="FALSE"):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with opened(path, level) as dataset:
            bands = case.bands or tuple(range(1, dataset.count + 1))
            values = np.stack([dataset.read(band).astype(np.float64) for band in bands])
            by_rasterio, hidden = dataset.dataset_mask() > 0, lacking(dataset, bands)
            check_info(case, path, dataset, bands, capsys)
            crs, transform = dataset.crs, dataset.transform
            valid = made.expected_valid(dataset, values, bands, case.options.get("nodata_rule", "all"))
            if case.has_dataset_mask and len(bands) in {dataset.count, dataset.count - 1}:
                rule_is_rasterios = case.options.get("nodata_rule", "all") == "all"
                assert not rule_is_rasterios or np.array_equal(
                    valid, by_rasterio & np.isfinite(values).any(axis=0)
                )
            dtype = str(np.result_type(*(dataset.dtypes[band - 1] for band in bands)))
    model = threshold_model(len(bands), case.threshold, dtype)
    classes, report, said = thresholded(path, model, bands=case.bands, **case.options)
    filled = np.where(np.isfinite(values) & ~hidden, values, 0)  # the network sees the mean, 0, instead
    assert np.array_equal(classes, expected_classes(filled, valid, case.threshold))
    assert report["nodata"]["pixels"] == int((~valid).sum())
    assert report["source"]["dtype"] == dtype
    assert all(any(word in line for line in said) for word in case.warned), said
    georef = read_georef(open_store(tmp_path / "result-1" / "classes.zarr"))
    # of a raster without a transform rasterio says the identity, and QGIS draws it with y = -row (decision 0069)
    has_none = crs is None and transform.is_identity
    assert georef.transform == ((1, 0, 0, 0, -1, 0) if has_none else tuple(transform)[:6])
    assert (georef.crs_wkt is None) == (crs is None)
    assert crs is None or CRS.from_wkt(georef.crs_wkt) == crs


def check_info(case: Case, path: str, dataset: Any, bands: tuple[int, ...], capsys: Any) -> None:
    """Compare what `info --json` says with an open dataset."""
    level = ["--level", str(case.options["level"])] if "level" in case.options else []
    assert run_command_line(["info", path, "--json", *level]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["height"], said["width"]) == dataset.shape
    assert said["transform"] == list(dataset.transform)[:6]
    assert (said["crs_wkt"] is None) == (dataset.crs is None)
    assert dataset.crs is None or CRS.from_wkt(said["crs_wkt"]) == dataset.crs
    details = said["band_details"]
    assert [d["name"] for d in details] == list(dataset.descriptions)
    assert [d["scale"] for d in details] == list(dataset.scales)
    assert [d["offset"] for d in details] == list(dataset.offsets)
    assert [d["unit"] for d in details] == list(dataset.units)
    assert [d["color"] for d in details] == [kind.name for kind in dataset.colorinterp]
    assert [d["dtype"] for d in details] == list(dataset.dtypes)
    if (
        set(bands) != set(range(1, dataset.count + 1))
        and case.bands == bands
        and case.name.startswith("alpha")
    ):
        assert [d["read"] for d in details] == [band in bands for band in range(1, dataset.count + 1)]
    for fact, value in case.facts.items():
        assert details[0][fact] == value
    files = {Path(name).name for name in dataset.files}
    assert {Path(name).name for name in said["sidecars"]} == files - {Path(path).name}
    noted = [line for line in said["notes"] for word in case.warned if word in line]
    assert len(noted) == len(case.warned)
