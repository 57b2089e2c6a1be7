"""Names in a document are relative to it, wherever it lies."""

from __future__ import annotations

import pytest

from segment_tiles.pipeline.sources.stacks.documents import beside


@pytest.mark.parametrize(
    ("document", "href", "expected"),
    [
        ("s3://b/i/item.json", "./B04.tif", "s3://b/i/B04.tif"),
        ("gs://b/i/item.json", "../B04.tif", "gs://b/B04.tif"),
        ("az://c/i/item.json", "B04.tif", "az://c/i/B04.tif"),
        ("abfs://c@host/i/item.json", "B04.tif", "abfs://c@host/i/B04.tif"),
        ("s3://b/i/item.json", "/B04.tif", "s3://b/B04.tif"),
        ("s3://b/i/item.json", "/vsis3/c/B04.tif", "/vsis3/c/B04.tif"),
        ("/vsis3/b/i/item.json", "./B04.tif", "/vsis3/b/i/B04.tif"),
        ("/vsicurl/https://host/i/item.json", "../B04.tif", "/vsicurl/https://host/B04.tif"),
        ("https://host/i/item.json?sig=1", "./a b.tif?x=1", "https://host/i/a b.tif?x=1"),
        ("http://host:81/i/item.json", "//other/B04.tif", "http://other/B04.tif"),
        ("file:///data/i/item.json", "../B04.tif", "/data/B04.tif"),
        ("s3://b/i/item.json", "file:///data/B04.tif", "/data/B04.tif"),
        ("https://host/i/item.json", 'NETCDF:"a.nc":x', 'NETCDF:"a.nc":x'),
    ],
)
def test_a_name_is_beside_its_document(document: str, href: str, expected: str) -> None:
    assert beside(document, href) == expected
