"""What may be said of a source that is made of several files or assets; declared once."""

from __future__ import annotations

from dataclasses import dataclass

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.workflows.options.declare import option


def parse_assets(text: str) -> tuple[str, ...]:
    """Return the names of a list such as red,green,nir.

    Raises
    ------
    UsageError
        If one is empty, or stands there twice.

    >>> parse_assets("red, green@2")
    ('red', 'green@2')
    """
    names = tuple(part.strip() for part in text.split(","))
    if not all(names) or len(set(names)) < len(names):
        msg = f"--assets is {text[:80]!r}; give different names of bands or assets by commas, such as red,green,nir"
        raise UsageError(msg)
    return names


@dataclass(
    frozen=True, kw_only=True
)  # no slots: of the classes that one inherits, a single one may have some
class StackSettings:
    """How several files become one source; empty for most."""

    assets: tuple[str, ...] = option(
        "Bands of a STAC item in the order of the model: asset keys, common names or names of bands; red@2: of the "
        "second item. Default: those that the model names.",
        default=(),
        metavar="NAME,NAME",
        parse=parse_assets,
    )
    grid_of: str | None = option(
        "Member of a stack whose grid the others are brought onto; default: the finest.",
        default=None,
        metavar="NAME",
    )
    sign: str | None = option(
        "Python callable that signs the URLs of a stack, again when a signature runs out: "
        "planetary_computer.sign.",
        default=None,
        metavar="MODULE.NAME",
    )
