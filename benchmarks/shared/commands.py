"""Commands as processes of their own, and the arguments of the scripts that time them."""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

PROGRAM = str(Path(sys.executable).with_name("segment-tiles"))


def arguments_of(documentation: str | None) -> argparse.ArgumentParser:
    """Return a parser whose help is the documentation of a script, as it is written."""
    return argparse.ArgumentParser(
        description=documentation, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def timed(command: list[str]) -> tuple[float, float]:
    """Return seconds of a command, and seconds of processor of it and all processes that it started."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
