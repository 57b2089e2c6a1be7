"""What an ``.aux.xml`` beside a raster says, without what viewers write there of their own accord.

QGIS, ArcGIS and ``gdalinfo -stats`` keep statistics and histograms in it, which change no pixel, mask or position.
"""

from __future__ import annotations

import time
from hashlib import sha256
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

AUX: Final = ".aux.xml"
"""Ending of GDAL's sidecar."""
_STATISTICS: Final = "STATISTICS_"
_HISTOGRAMS: Final = ("Histograms", "HistItem")
_ATTEMPTS, _SECONDS = 5, 0.1
"""GDAL does not replace the file but writes it anew, so that half of it may be read."""


def aux_meaning(path: Path) -> str | None:
    """Return a checksum of what an ``.aux.xml`` says; None if it says nothing that counts, or is not there.

    A file that is no XML has the checksum of its bytes.
    """
    content = b""
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_SECONDS)
        try:
            content = path.read_bytes()
            root = ElementTree.fromstring(content)
        except OSError:
            return None
        except ElementTree.ParseError:
            continue
        _strip(root)
        if not root.attrib and not _says_something(root):
            return None
        plain = ElementTree.canonicalize(ElementTree.tostring(root), strip_text=True)
        return sha256(plain.encode()).hexdigest()
    return sha256(content).hexdigest()


def _strip(element: ElementTree.Element) -> None:
    """Remove statistics and histograms, and what is empty without them."""
    for child in list(element):
        _strip(child)
        if _is_viewers(child) or (child.tag in {"Metadata", "PAMRasterBand"} and not _says_something(child)):
            element.remove(child)


def _is_viewers(element: ElementTree.Element) -> bool:
    return element.tag in _HISTOGRAMS or (
        element.tag == "MDI" and element.get("key", "").startswith(_STATISTICS)
    )


def _says_something(element: ElementTree.Element) -> bool:
    return len(element) > 0 or bool((element.text or "").strip())


def is_aux(path: Path) -> bool:
    """Return whether a file is GDAL's sidecar."""
    return path.name.lower().endswith(AUX)
