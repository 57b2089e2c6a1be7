"""What a user names becomes the members of a stack, or one line of refusal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import yaml
from affine import Affine
from served_folder import served_folder

from segment_tiles.pipeline.errors import SegmentTilesError, SourceError, UsageError
from segment_tiles.pipeline.names import shown_name, title_of
from segment_tiles.pipeline.sources.open import open_source
from segment_tiles.pipeline.sources.stacks.description import (
    Member,
    StackDescription,
    identity_of,
    stack_named,
)
from segment_tiles.pipeline.sources.stacks.elements import elements_of, name_of_elements
from segment_tiles.pipeline.sources.stacks.resolve import OF_NO_STACK, StackOptions, resolved


def write(
    path: Path,
    size: float = 10,
    shape: tuple[int, int] = (12, 12),
    crs: str | None = "EPSG:32633",
    **place: float,
) -> str:
    with rasterio.open(
        path, "w", driver="GTiff", width=shape[1], height=shape[0], count=1, dtype="uint8", crs=crs,
        transform=Affine(size, place.get("turned", 0), place.get("x", 600_000), 0, -size, 5_000_000) if crs else None,
    ) as dataset:  # fmt: skip
        dataset.write(np.ones((1, *shape), np.uint8))
    return str(path)


def item(folder: Path, assets: dict[str, Any], name: str = "item.json", **properties: Any) -> str:
    document = {
        "type": "Feature", "stac_version": "1.0.0", "id": name.removesuffix(".json"), "geometry": None, "links": [],
        "properties": {"datetime": "2026-05-01T10:00:00Z", **properties},
        "assets": {
            key: {"href": f"./{key}.tif", "type": "image/tiff", "roles": ["data"], **asset}
            for key, asset in assets.items()
        },
    }  # fmt: skip
    (folder / name).write_text(json.dumps(document))
    return str(folder / name)


def eo(name: str, common: str | None = None) -> dict[str, Any]:
    return {"eo:bands": [{"name": name, **({"common_name": common} if common else {})}]}


@pytest.mark.parametrize(
    ("source", "elements"),
    [
        ("a.tif,b.tif", [["a.tif"], ["b.tif"]]),
        ("a.tif, b.tif", [["a.tif"], ["b.tif"]]),
        ("https://host/a.tif?x=1,2,https://host/b.tif?y=3,4", [["https://host/a.tif?x=1,2"], ["https://host/b.tif?y=3,4"]]),
        ("vrt://a.tif?bands=3,2,1", None),
        ('NETCDF:"a,b.nc":x', None),
        ('NETCDF:"a,b.nc":x,c.tif', [['NETCDF:"a,b.nc":x'], ["c.tif"]]),
        ("/vsisubfile/100_200,a.tif", None),
        ("<VRTDataset rasterXSize='1,2'/>", None),
        ("PG:dbname=a,table=b", None),
        ("scene.tif", None),
        (name_of_elements(["a.tif", ["b.tif", "c.tif"]]), [["a.tif"], ["b.tif", "c.tif"]]),
    ],
)  # fmt: skip
def test_a_list_is_taken_apart(source: str, elements: list[list[str]] | None) -> None:
    found = elements_of(source)
    assert (None if found is None else [list(group) for group in found]) == elements


def test_a_file_whose_name_has_a_comma_is_one_raster(tmp_path: Path) -> None:
    path = write(tmp_path / "a,b.tif")
    assert resolved(path, OF_NO_STACK) == path
    with pytest.raises(UsageError, match=r"--grid-of is a, but .*a,b.tif is one raster"):
        resolved(path, StackOptions(grid_of="a"))


def test_secrets_are_in_no_name_that_is_kept() -> None:
    members = (
        Member(("https://me:secret@host/a.tif?sig=secret",)),
        Member(("/vsicurl/https://host/b.tif?t=secret",)),
    )
    name = StackDescription(members).text()
    assert stack_named(name).files == tuple(file for member in members for file in member.files)
    for text in (shown_name(name), identity_of(name), title_of(name)):
        assert "secret" not in text
        assert "b.tif" in text


def members_of(
    source: str, *assets: str, wanted: tuple[str, ...] = (), **options: Any
) -> list[tuple[str, str]]:
    found = stack_named(resolved(source, StackOptions(assets, **options), lambda: wanted))
    return [(member.name, Path(member.files[0]).name) for member in found.members]


def test_assets_are_found_by_key_common_name_and_name(tmp_path: Path) -> None:
    path = item(
        tmp_path,
        {
            "B04": eo("B04", "red"), "nir": eo("B08", "nir"),
            "visual": {"eo:bands": [{"common_name": "red"}, {"common_name": "green"}]},
            "B11": {"bands": [{"name": "B11", "eo:common_name": "swir16"}]}, "SCL": {},
        },
    )  # fmt: skip
    assert members_of(path, "red", "nir", "swir16", "SCL") == [
        ("red", "B04.tif"), ("nir", "nir.tif"), ("swir16", "B11.tif"), ("SCL", "SCL.tif"),
    ]  # fmt: skip
    assert members_of(path, wanted=("b08", "B04")) == [("b08", "nir.tif"), ("B04", "B04.tif")]
    assert members_of(path, "green")[0][1] == "visual.tif"
    assert stack_named(resolved(path, StackOptions(("green",)))).members[0].band == 2
    assert members_of(path, "visual") == [("red", "visual.tif"), ("green", "visual.tif")]
    assert [name for name, _ in members_of(path)] == ["B04", "nir", "red", "green", "B11", "SCL"]


def test_two_items_are_two_dates(tmp_path: Path) -> None:
    may, august = (item(tmp_path, {"red": {}, "nir": {}}, f"{name}.json") for name in ("may", "august"))
    both = f"{may},{august}"
    dated = ["red@1", "nir@1", "red@2", "nir@2"]
    assert [name for name, _ in members_of(both, "red", "nir")] == dated
    assert [name for name, _ in members_of(both, wanted=("red@2", "red@1"))] == ["red@2", "red@1"]
    assert [name for name, _ in members_of(both, "red@2", "nir@1")] == ["red@2", "nir@1"]
    with pytest.raises(UsageError, match=r"2 items, but the names of the model's bands \(red\) .*--assets"):
        members_of(both, wanted=("red",))
    with pytest.raises(UsageError, match="band red@3 is asked for, but the source is 2 items"):
        members_of(both, wanted=("red@3",))


def test_what_an_item_cannot_say_is_one_line(tmp_path: Path) -> None:
    path = item(tmp_path, {"B04": eo("B04", "red"), "B04-jp2": eo("B04", "red"), "a": {"href": ""}})
    for words, name in {
        r"asset 'B04' and asset 'B04-jp2' have the name 'red'; name one by its key": "red",
        r"item item has no asset or band 'nir'; its assets are B04, B04-jp2, a: name": "nir",
    }.items():
        with pytest.raises(UsageError, match=words):
            members_of(path, name)
    (tmp_path / "list.json").write_text('{"type": "FeatureCollection", "features": []}')
    assert resolved(str(tmp_path / "list.json"), OF_NO_STACK) == str(tmp_path / "list.json")  # GDAL's STACIT
    with pytest.raises(UsageError, match="--assets is red, but none of the files is a STAC item"):
        members_of("a.tif,b.tif", "red")


def test_scale_and_offset_are_those_of_the_item_or_of_the_stack_file(tmp_path: Path) -> None:
    """STAC 1.0 says them in raster:bands, 1.1 in fields of the band or the asset."""
    for name in ("a", "b", "c"):
        write(tmp_path / f"{name}.tif")
    path = item(
        tmp_path,
        {
            "a": {"raster:bands": [{"nodata": 0, "scale": 0.0001, "offset": -0.1}]},
            "b": {"bands": [{"name": "b"}], "raster:scale": 0.5, "nodata": "nan"},
        },
    )
    source = open_source(resolved(path, StackOptions(("a", "b"))))
    assert source.spec.scale_offsets == ((0.0001, -0.1), (0.5, 0.0))
    assert source.spec.nodata == (0.0, None)
    source.close()
    told = {"members": [{"file": "c.tif", "offset": 3}, {"item": Path(path).name, "asset": "a", "scale": 2}]}
    source = open_source(resolved(yaml_of(tmp_path, told), OF_NO_STACK))
    assert source.spec.scale_offsets == ((1.0, 3.0), (2.0, -0.1))
    source.close()


def test_items_on_a_server(tmp_path: Path) -> None:
    """Addresses of assets are relative to that of the item; what is no item is left to GDAL."""
    item(tmp_path, {"red": {}})
    (tmp_path / "list.json").write_text('{"type": "FeatureCollection", "features": []}')
    with served_folder(tmp_path) as address:
        found = stack_named(resolved(f"{address}/item.json?token=secret", StackOptions(("red",))))
        assert found.files == (f"{address}/red.tif",)
        assert resolved(f"{address}/list.json", OF_NO_STACK) == f"{address}/list.json"
        with pytest.raises(SourceError, match=r"/items/gone: cannot be read \(HTTP Error 404"):
            resolved(f"{address}/items/gone", OF_NO_STACK)
    with pytest.raises(UsageError, match=r"a.tif: lies in the same bands as STAC items, but is none"):
        resolved(name_of_elements([[str(tmp_path / "item.json"), "a.tif"]]), OF_NO_STACK)
    with pytest.raises(
        SourceError, match=r"s3://bucket/scene.stack.yaml: documents are read from paths and https"
    ):
        resolved("s3://bucket/scene.stack.yaml", OF_NO_STACK)


def yaml_of(tmp_path: Path, document: Any) -> str:
    path = tmp_path / "scene.stack.yaml"
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
    return str(path)


def test_a_stack_file_says_all_of_a_member(tmp_path: Path) -> None:
    red = item(tmp_path, {"B04": eo("B04", "red")})
    path = yaml_of(
        tmp_path,
        {
            "grid-of": "scl",
            "members": [
                {"item": Path(red).name, "asset": "red"},
                {"file": "sub/SCL.tif", "name": "scl", "resampling": "nearest", "nodata": 0, "band": 1},
                "https://host/c.tif?sig=1",
            ],
        },
    )
    assert stack_named(resolved(path, OF_NO_STACK)) == StackDescription(
        (
            Member((str(tmp_path / "B04.tif"),), name="red"),
            Member((str(tmp_path / "sub/SCL.tif"),), 1, "scl", "nearest", 0),
            Member(("https://host/c.tif?sig=1",)),
        ),
        "scl",
    )


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("members: [", r"scene.stack.yaml, line 1: is not YAML"),
        ("[]", "is no stack: it needs a list `members`"),
        ({"members": [{"file": "a.tif", "nam": "x"}]}, "member 1: the key nam is not known; known are asset, band,"),
        ({"members": [{"file": "a.tif", "resampling": "cubic"}]}, "resampling is 'cubic'; it must be one of nearest"),
        ({"members": [{"name": "x"}]}, "member 1: has name; give a file, or an item and its asset"),
        ({"members": [{"file": "a.tif", "band": 0}]}, "band is 0; bands are counted from 1"),
        ({"members": [{"file": "a.tif", "band": "1"}]}, "band is '1'; give a number"),
        ({"members": [{"file": 3}]}, "file is 3; give text"),
        ({"members": [{"file": "a.tif", "name": "x"}, {"file": "b", "name": "X"}]}, "members 1 and 2 have one name"),
        ({"members": ["a.tif"], "grid": "x"}, "the key grid is not known"),
        ({"members": [7]}, "member 1: is 7; give file"),
    ],
)  # fmt: skip
def test_a_stack_file_that_is_wrong_is_one_line(document: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(SegmentTilesError, match=words) as caught:
        resolved(yaml_of(tmp_path, document), OF_NO_STACK)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ({"crs": "EPSG:32634"}, r"b.tif: has EPSG:32634, but .*a.tif has EPSG:32633; .*--like"),
        ({"crs": None}, r"b.tif: has no CRS, but .*a.tif has EPSG:32633"),
        ({"x": 700_000}, r"b.tif: has no pixel in common with .*a.tif"),
        ({"turned": 3}, r"b.tif: its rows are turned against those of .*a.tif"),
    ],
)
def test_members_that_cannot_be_brought_together_are_one_line(
    place: dict[str, Any], words: str, tmp_path: Path
) -> None:
    one, other = write(tmp_path / "a.tif"), write(tmp_path / "b.tif", **place)
    with pytest.raises(SourceError, match=words) as caught:
        open_source(resolved(f"{one},{other}", OF_NO_STACK))
    assert "\n" not in str(caught.value)


def test_members_that_are_not_there_or_not_known_are_named(tmp_path: Path) -> None:
    one = write(tmp_path / "a.tif")
    with pytest.raises(SourceError, match=r"b.tif: no such file"):
        open_source(resolved(f"{one},{tmp_path / 'b.tif'}", OF_NO_STACK))
    two = f"{one},{write(tmp_path / 'c.tif', 20)}"
    with pytest.raises(UsageError, match=r"--grid-of is 'B04'; it must be one of the members: a.tif, c.tif"):
        open_source(resolved(two, StackOptions(grid_of="B04")))
    with pytest.raises(UsageError, match="--bands names band 3, but the stack has bands 1 to 2"):
        open_source(resolved(two, OF_NO_STACK), bands=(3,))
    source = open_source(resolved(two, StackOptions(grid_of="c")))
    assert source.spec.georef.transform[0] == 20
    source.close()


def test_pictures_without_a_position_have_one_size(tmp_path: Path) -> None:
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        one, other = write(tmp_path / "a.tif", crs=None), write(tmp_path / "b.tif", shape=(6, 6), crs=None)
    with pytest.raises(
        SourceError, match=r"b.tif: has 6 x 6 px and no georeference, but .*a.tif has 12 x 12"
    ):
        open_source(resolved(f"{one},{other}", OF_NO_STACK))
    source = open_source(resolved(f"{one},{one}", OF_NO_STACK))
    assert source.spec.bands == 2
    source.close()


def test_files_of_one_band_lie_on_top_of_each_other(tmp_path: Path) -> None:
    """A band of two scenes side by side: their grid is that of both, and the later one is seen where they overlap."""
    names = []
    for number, column in enumerate((0, 8)):
        name = tmp_path / f"{number}.tif"
        with rasterio.open(
            name, "w", driver="GTiff", width=12, height=6, count=1, dtype="uint8", crs="EPSG:32633", nodata=0,
            transform=Affine(10, 0, 600_000 + 10 * column, 0, -10, 5_000_000),
        ) as dataset:  # fmt: skip
            values = np.full((1, 6, 12), number + 1, np.uint8)
            values[0, 0] = 0
            dataset.write(values)
        names.append(str(name))
    source = open_source(StackDescription((Member(tuple(names), name="red"),)).text())
    assert source.spec.window.shape == (6, 20)
    values = source.read(source.spec.window)
    valid = source.valid(source.spec.window, values)
    assert valid is not None
    assert values[0, 1].tolist() == [1] * 8 + [2] * 12
    assert valid.tolist() == [[False] * 20] + [[True] * 20] * 5
    source.close()
