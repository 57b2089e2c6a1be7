"""What libraries raise for bytes that are not what their format says, and the one line that becomes of it.

Parsers of formats check little: a wrong number in a header comes out as whatever the code behind it stumbles over. So
the doors of sources, which parse headers, take all of these as damage of the file; what lies behind the doors does not.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from lzma import LZMAError
from typing import Final
from xml.etree.ElementTree import ParseError

from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError

from segment_tiles.pipeline.errors import SourceError, one_line

GDAL_ERRORS: Final[tuple[type[Exception], ...]] = (
    # a name in the file that is no UTF-8 comes out of rasterio as it is
    RasterioError, CPLE_BaseError, OSError, UnicodeDecodeError,
)  # fmt: skip
"""What opening and reading through GDAL raises; rasterio hands some errors of GDAL on as they are."""
DAMAGE: Final[tuple[type[Exception], ...]] = (
    *GDAL_ERRORS, EOFError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError,
    RuntimeError, struct.error, zlib.error, LZMAError, ParseError,
)  # fmt: skip
"""What parsing the header of a damaged file raises."""


@contextmanager
def damage_refused(name: object, what: str, *further: type[Exception]) -> Iterator[None]:
    """Turn whatever parsing a header raises into the refusal of a file.

    Parameters
    ----------
    name
        Of the file.
    what
        It should be, with its article.
    further
        What else the library raises for damage.

    Raises
    ------
    SourceError
        In place of any of `DAMAGE` and ``further``.
    """
    try:
        yield
    except (*DAMAGE, *further) as error:
        msg = f"{name}: is not {what} that can be read ({said(error)}); copy or export it again"
        raise SourceError(msg) from error


_QUERY: Final = re.compile(r"(?<=\w)\?[^\s'\"]*=[^\s'\"]*?(?P<end>[,:;.]?)(?=\s|$)")
"""After a name, up to the next space; a comma or a colon there belongs to the sentence."""


_IN_MEMORY: Final = re.compile(r"(?:/vsisparse/)?/vsimem/[0-9a-f-]{36}/")
"""Before the name of a remote file that is read from memory."""


def said(error: Exception) -> str:
    """Return the text of an error, with its kind if the text alone tells little.

    >>> said(KeyError("sizes")), said(OSError("no such file"))
    ("KeyError: 'sizes'", 'no such file')

    GDAL names a remote file without its server, but with the query, which may be a secret.

    >>> said(OSError("a.tif?sig=x,y, band 1: IReadBlock failed"))
    'a.tif, band 1: IReadBlock failed'
    """
    if isinstance(error, UnicodeDecodeError):  # of a message of GDAL, which quotes what is no text
        return f"it holds what is no UTF-8: {one_line(Exception(error.object.decode(errors='replace')))}"
    if isinstance(error, RasterioError) and isinstance(error.__cause__, Exception):
        return said(error.__cause__)  # rasterio's own is "see previous exception"
    text = _IN_MEMORY.sub("", _QUERY.sub(r"\g<end>", one_line(error)))
    is_clear = isinstance(error, (*GDAL_ERRORS, EOFError)) or (isinstance(error, ValueError) and " " in text)
    return text if is_clear or text == type(error).__name__ else f"{type(error).__name__}: {text}"
