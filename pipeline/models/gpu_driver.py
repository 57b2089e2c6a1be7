"""Whether there can be a GPU at all, without torch, which takes seconds to import."""

from __future__ import annotations

import ctypes
import sys
from functools import cache


@cache
def has_gpu_driver() -> bool:
    """Return whether NVIDIA's driver library is there; without it torch cannot use a GPU either. Asked once."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True
