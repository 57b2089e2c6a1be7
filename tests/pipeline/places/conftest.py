"""Places are asked of a real server."""

from __future__ import annotations

from servers.s3_server import bucket, s3, s3_server

__all__ = ["bucket", "s3", "s3_server"]
