"""Places are asked of real servers."""

from __future__ import annotations

from servers.s3_server import bucket, s3, servers, settle

__all__ = ["bucket", "s3", "servers", "settle"]
