"""Vector tiles of finished rows, traced by a process of the lowest priority while others are computed.

Computing leaves gaps on every core, and on a GPU whole cores idle: the process takes those and nothing else. What it
has finished when the last row is done is taken over by ``polygonize``; the rest is traced then, as all tiles would be.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from segment_tiles.pipeline.durable import make_folder, remove
from segment_tiles.pipeline.json_text import json_text
from segment_tiles.pipeline.parent_process import start_module
from segment_tiles.pipeline.vectors.options import PolygonizeOptions

log = logging.getLogger(__name__)

PROCESS_BYTES: Final = 288 * 2**20
"""What the process takes for tiles of 1024 px: the libraries, and one tile of a map with areas, not of pure noise."""
_MODULE: Final = "segment_tiles.workflows.polygons.ahead_process"


@dataclass(frozen=True, slots=True)
class TracingRequest:
    """What the process needs to know."""

    raster: Path
    """The store in work."""
    rows: Path
    """Ledger of its finished rows."""
    tiles: Path
    """Folder for finished tiles."""
    options: PolygonizeOptions
    """What is asked for of polygons; their pixels are not changed before, which needs the whole raster."""

    def as_text(self) -> str:
        """Return it as one argument of a command."""
        paths = {name: str(getattr(self, name)) for name in ("raster", "rows", "tiles")}
        return json_text({**paths, "options": self.options_as_values()}, indent=None)

    def options_as_values(self) -> dict[str, Any]:
        """Return the options as plain values."""
        return asdict(self.options)

    @classmethod
    def of_text(cls, text: str) -> TracingRequest:
        """Return it from such an argument."""
        fields = json.loads(text)
        options: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in fields["options"].items()
        }
        return cls(
            Path(fields["raster"]), Path(fields["rows"]), Path(fields["tiles"]), PolygonizeOptions(**options)
        )


@contextmanager
def traced_ahead(request: TracingRequest) -> Iterator[None]:
    """Trace what is finished while the caller computes; a tile in work at the end is given up, and nothing waits."""
    remove(request.tiles)
    make_folder(request.tiles)
    process = start_module([_MODULE, request.as_text()], keeps_errors=True)
    try:
        yield
    finally:
        ended = process.poll()
        process.kill()
        said = process.communicate()[1]
        if ended:
            _log_end(ended, said)


def _log_end(status: int, said: bytes) -> None:
    lines = said.decode(errors="replace").strip().splitlines()
    log.warning(
        "the process that traced polygons beside the computation ended with status %d (%s); what it did not do is done "
        "after the last tile",
        status,
        lines[-1] if lines else "it said nothing",
    )
