"""The JSON schema of a jobs file, for editors and for checks before a file is sent anywhere."""

from __future__ import annotations

from typing import Any

from segment_tiles.workflows.batch.settings import BatchSettings


def jobs_schema() -> dict[str, Any]:
    """Return the schema, draft 2020-12, as plain JSON values."""
    schema = BatchSettings.model_json_schema(by_alias=True)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "Jobs file of segment-tiles batch",
    }
