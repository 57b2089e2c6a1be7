"""Stores of obstore for a bucket, by the scheme of its URL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from obstore.store import ObjectStore

Maker = Callable[[str, str, str, float], "ObjectStore"]
"""Takes bucket, prefix, URL as it may be shown, and patience as `settings.retries` has it; raises `PlaceError`."""


def _s3(bucket: str, prefix: str, name: str, patience: float) -> ObjectStore:
    from obstore.store import S3Store  # noqa: PLC0415 - of an extra

    from segment_tiles.pipeline.sources.buckets.settings import s3_settings  # noqa: PLC0415 - brings GDAL

    return S3Store(bucket, prefix=prefix or None, **s3_settings(name, patience))


def _gcs(bucket: str, prefix: str, name: str, patience: float) -> ObjectStore:
    from obstore.store import GCSStore  # noqa: PLC0415 - of an extra

    from segment_tiles.pipeline.sources.buckets.google import google_settings  # noqa: PLC0415 - brings GDAL

    return GCSStore(bucket, prefix=prefix or None, **google_settings(name, patience))


def _azure(bucket: str, prefix: str, name: str, patience: float) -> ObjectStore:
    from obstore.store import AzureStore  # noqa: PLC0415 - of an extra

    from segment_tiles.pipeline.sources.buckets.azure import azure_settings  # noqa: PLC0415 - brings GDAL

    return AzureStore(bucket, prefix=prefix or None, **azure_settings(name, patience))


STORES: Final[Mapping[str, Maker]] = {"s3": _s3, "gs": _gcs, "az": _azure}
"""By the scheme of a URL, which GDAL has as ``/vsis3/``, ``/vsigs/`` and ``/vsiaz/``."""
