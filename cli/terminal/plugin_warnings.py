"""An entry point of another distribution that is left out is one line on stderr."""

from __future__ import annotations

import sys
import warnings
from typing import TextIO

from segment_tiles.pipeline.plugins import PluginWarning


def tell_of_plugins() -> None:
    """From now on, an entry point of another distribution that is left out is one line on stderr."""
    show = warnings.showwarning

    def say(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, PluginWarning):
            print(f"segment-tiles: warning: {message}", file=sys.stderr)
        else:
            show(message, category, filename, lineno, file, line)

    warnings.showwarning = say


def show_plugin_warnings() -> None:
    """Let these warnings through, whatever is silenced; ``python -W`` says otherwise."""
    if not sys.warnoptions:
        warnings.filterwarnings("always", category=PluginWarning)
