"""Files that lie on top of each other: each is read as what is said of it, and each of its bands by its own mask."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.enums import Resampling
from rasterio.merge import merge

from segment_tiles.pipeline.errors import SourceError, UsageError
from segment_tiles.pipeline.sources.open import open_source
from segment_tiles.pipeline.sources.protocol import TellsBands, notes_of
from segment_tiles.pipeline.sources.stacks.description import (
    Member,
    StackDescription,
    Told,
    identity_of,
    stack_named,
)
from segment_tiles.pipeline.sources.stacks.elements import name_of_elements
from segment_tiles.pipeline.sources.stacks.resolve import StackOptions, resolved
from segment_tiles.pipeline.sources.stacks.stack import StackSource


def write(path: Path, values: Any, column: int = 0, size: float = 10, **profile: Any) -> str:
    values = np.asarray(values)
    with rasterio.open(
        path, "w", driver="GTiff", count=len(values), height=values.shape[1], width=values.shape[2],
        dtype=values.dtype, crs="EPSG:32633", transform=Affine(size, 0, 600_000 + 10 * column, 0, -size, 5_000_000),
        **profile,
    ) as dataset:  # fmt: skip
        dataset.write(values)
    return str(path)


def noise(seed: int, bands: int = 2, shape: tuple[int, int] = (12, 14), holes: float = 0.2) -> Any:
    rng = np.random.default_rng(seed)
    values = rng.integers(1, 200, (bands, *shape)).astype(np.uint8)
    values[rng.random(values.shape) < holes] = 0
    return values


def item(name: str, href: str, **asset: Any) -> str:
    """A STAC item, as JSON."""
    return json.dumps(
        {
            "type": "Feature", "stac_version": "1.0.0", "id": name, "properties": {},
            "assets": {"data": {"href": href, "type": "image/tiff", "roles": ["data"], **asset}},
        }
    )  # fmt: skip


def named(*names: str) -> list[dict[str, str]]:
    return [{"name": name} for name in names]


def merged(*files: str) -> Any:
    """What rasterio.merge gives of the files, the last uppermost."""
    return merge(list(files), method="last")[0]


@pytest.mark.parametrize("assets", [("red", "nir"), ("data",)])
def test_bands_of_items_are_those_that_each_of_them_names(assets: tuple[str, ...], tmp_path: Path) -> None:
    """The upper item has its bands the other way round, and another nodata value."""
    lower, upper = noise(1), noise(2)
    files = [write(tmp_path / "lower.tif", lower, nodata=0), write(tmp_path / "turned.tif", upper[::-1], 6)]
    items = [
        item("may", files[0], **{"eo:bands": named("red", "nir")}),
        item("june", files[1], **{"eo:bands": named("nir", "red"), "raster:bands": [{"nodata": 0}, {"nodata": 0}]}),
    ]  # fmt: skip
    name = resolved(name_of_elements([items]), StackOptions(assets))
    assert resolved(name, StackOptions()) == name
    source = open_source(name)
    expected = merged(files[0], write(tmp_path / "upper.tif", upper, 6, nodata=0))
    np.testing.assert_array_equal(source.read(source.spec.window), expected)
    assert source.spec.band_names == ("red", "nir")
    source.close()


def test_what_the_lower_file_marks_may_be_a_value_of_the_upper(tmp_path: Path) -> None:
    """A single mark of such bands would be `validity.marked`, which takes 9 for missing in either file."""
    lower, upper = (
        np.random.default_rng(seed).integers(5, 12, (2, 12, 14), dtype=np.int16) for seed in (1, 2)
    )
    files = write(tmp_path / "lower.tif", lower, nodata=9), write(tmp_path / "upper.tif", upper, nodata=7)
    source = open_source(StackDescription((Member(files),)).text())
    window = source.spec.window
    values = source.read(window)
    expected = np.where(upper == 7, lower, upper)
    missing = (upper == 7) & (lower == 9)
    assert missing.any()
    np.testing.assert_array_equal(values[~missing], expected[~missing])
    assert isinstance(source, TellsBands)
    np.testing.assert_array_equal(source.missing(window, values), missing)
    source.close()


def test_files_without_holes_are_opened_once_for_all_bands(tmp_path: Path) -> None:
    files = [write(tmp_path / f"{seed}.tif", noise(seed, 3), 4 * seed) for seed in range(2)]
    source = open_source(StackDescription((Member(tuple(files)),)).text())
    assert isinstance(source, StackSource)
    assert [part.positions for part in source.parts] == [(0, 1, 2), (0, 1, 2)]
    read = source.read(source.spec.window)
    np.testing.assert_array_equal(read[:, :, :4], noise(0, 3)[:, :, :4])
    np.testing.assert_array_equal(read[:, :, 4:], noise(1, 3))
    source.close()


def test_bands_of_an_asset_that_an_item_does_not_have_are_refused() -> None:
    items = [
        item("may", "/a.tif", **{"eo:bands": named("red", "nir")}),
        item("june", "/b.tif", **{"eo:bands": named("nir", "blue")}),
    ]
    with pytest.raises(UsageError, match="of june lies on one with the bands red, nir, but has nir, blue"):
        resolved(name_of_elements([items]), StackOptions(("data",)))


def test_layers_of_other_numbers_of_bands_are_refused(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one.tif", noise(1, 1)), write(tmp_path / "two.tif", noise(2))
    name = StackDescription((Member((one, two), layers=(Told(), Told(nodata=0))),)).text()
    with pytest.raises(SourceError, match=r"two.tif: has 2 bands, but .*one.tif, on which it lies, has 1"):
        open_source(name)
    with pytest.raises(SourceError, match="layers are as many as files"):
        stack_named('stack:{"members":[{"files":["a.tif"],"layers":[{},{}]}]}')


def test_scales_of_layers_that_differ_are_said(tmp_path: Path) -> None:
    files = [write(tmp_path / f"{name}.tif", noise(seed, 1), seed) for seed, name in enumerate(("a", "b"))]
    for told, of_file in (((0.0, -0.1), (0.0, 0.0)), ((None, None), (0.0, -0.1))):
        for file, own in zip(files, of_file, strict=True):
            with rasterio.open(file, "r+") as dataset:
                dataset.offsets = (own,)
        items = [
            item(file, file, **({} if offset is None else {"raster:bands": [{"scale": 1, "offset": offset}]}))
            for file, offset in zip(files, told, strict=True)
        ]
        source = open_source(resolved(name_of_elements([items]), StackOptions(("data",))))
        assert source.spec.scale_offsets == ()
        notes = " ".join(notes_of(source))
        assert re.search(
            r"b.tif: has another scale or offset than .*a.tif, on which it lies: 1 and -0.1, not 1", notes
        )
        source.close()


def test_what_is_not_said_of_scale_and_offset_is_that_of_the_file(tmp_path: Path) -> None:
    file = write(tmp_path / "a.tif", noise(1, 1))
    with rasterio.open(file, "r+") as dataset:
        dataset.scales, dataset.offsets = (0.0001,), (5.0,)
    for member, pair in (
        (Member((file,), offset=-0.1), (0.0001, -0.1)),
        (Member((file,), scale=2), (2.0, 5.0)),
        (Member((file,)), (0.0001, 5.0)),
    ):
        source = open_source(StackDescription((member,)).text())
        assert source.spec.scale_offsets == (pair,)
        source.close()


def test_a_missing_band_of_an_upper_file_shows_the_band_below(tmp_path: Path) -> None:
    """As rasterio.merge has it, though by rule all the pixel of the upper file holds data."""
    files = [write(tmp_path / f"{seed}.tif", noise(seed), 5 * seed, nodata=0) for seed in range(3)]
    for rule in ("all", "any"):
        source = open_source(StackDescription((Member(tuple(files)),)).text(), nodata_rule=rule)  # type: ignore[arg-type]
        values = source.read(source.spec.window)
        expected = merged(*files)
        np.testing.assert_array_equal(values, expected)
        held = source.valid(source.spec.window, values)
        there = expected != 0
        np.testing.assert_array_equal(held, there.any(axis=0) if rule == "all" else there.all(axis=0))
        source.close()


def test_a_mask_that_hides_nothing_is_noted(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain.tif", noise(1, 1))
    nodata = write(tmp_path / "nodata.tif", noise(2, 1), nodata=0)
    masked = write(tmp_path / "masked.tif", noise(3, 1))
    with rasterio.open(masked, "r+") as dataset:
        dataset.write_mask(noise(4, 1)[0] > 0)
    layered = StackDescription((Member((masked, plain)), Member((nodata,)))).text()
    apart = resolved(f"{masked},{nodata}", StackOptions())
    for name, rule, expected in (
        (
            resolved(f"{masked},{plain}", StackOptions()),
            "all",
            "what masked.tif marks as missing is not hidden",
        ),
        (
            resolved(f"{plain},{nodata}", StackOptions()),
            "all",
            "and plain.tif has none that is; --nodata-rule any",
        ),
        (resolved(f"{masked},{plain}", StackOptions()), "any", ""),
        (apart, "all", ""),
        (layered, "all", "what masked.tif, nodata.tif marks"),
    ):
        source = open_source(name, nodata_rule=rule)  # type: ignore[arg-type]
        notes = [note for note in notes_of(source) if "is not hidden" in note]
        assert len(notes) == bool(expected)
        assert all(expected in note for note in notes)
        held = source.valid(source.spec.window, source.read(source.spec.window))
        assert (held is None) == bool(expected)  # GDAL's masks, all or any of them
        source.close()


def test_bands_are_read_alone_if_an_overview_has_other_pixels(tmp_path: Path) -> None:
    """Both files are on one grid, but their overviews are not: the joint mask of two bands is of no one of them."""
    grid = write(tmp_path / "grid.tif", noise(0, 1, (66, 84), 0), tiled=True, blockxsize=16, blockysize=16)
    file = write(
        tmp_path / "file.tif", noise(1, 2, (65, 83), 0.3), nodata=0, tiled=True, blockxsize=16, blockysize=16
    )
    for path in (grid, file):
        with rasterio.open(path, "r+") as dataset:
            dataset.build_overviews([2], Resampling.nearest)
    base = Member((grid,), name="grid")
    together = open_source(StackDescription((base, Member((file,))), "grid").text(), level=1)
    apart = open_source(
        StackDescription((base, Member((file,), 1), Member((file,), 2)), "grid").text(), level=1
    )
    window = together.spec.window
    np.testing.assert_array_equal(together.read(window), apart.read(window))
    for source in (together, apart):
        source.close()


def test_the_grid_is_called_without_the_secret_of_its_address() -> None:
    members = ("https://host/a.tif", "https://host/b.tif")

    def name(secret: str, grid: str) -> str:
        return resolved(
            ",".join(f"{file}?sig={secret}" for file in members), StackOptions(grid_of=f"{grid}?sig={secret}")
        )

    one, other = (name(secret, members[1]) for secret in ("secret", "another"))
    assert identity_of(one) == identity_of(other)
    assert "sig" not in identity_of(one)
    old = StackDescription((Member((f"{members[0]}?sig=secret",)),), f"{members[0]}?sig=secret").text()
    assert "sig" not in identity_of(old)


def test_the_member_of_a_grid_is_found_by_its_address_without_a_secret(tmp_path: Path) -> None:
    from served_folder import served_folder  # noqa: PLC0415

    for size, file in ((10, "a.tif"), (20, "b.tif")):
        write(tmp_path / file, noise(1, 1), size=size)
    with served_folder(tmp_path) as address:
        files = [f"{address}/{file}?sig=secret" for file in ("a.tif", "b.tif")]
        source = open_source(resolved(",".join(files), StackOptions(grid_of=files[1])))
        assert source.spec.georef.transform[0] == 20
        source.close()
        both = [f"{address}/a.tif?id={number}" for number in (1, 2)]
        with pytest.raises(
            UsageError, match=r"--grid-of is .*/a.tif, as 2 members are called; give them names"
        ):
            open_source(resolved(",".join(both), StackOptions(grid_of=both[1])))
