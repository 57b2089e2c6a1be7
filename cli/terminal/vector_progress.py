"""What a person sees of a polygonisation: one bar for each step, on a terminal only."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING

from segment_tiles.cli.terminal.console import text_column, text_console

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class VectorProgress:
    """Bars on stderr where it is a terminal, unless quiet."""

    def __init__(self, *, quiet: bool) -> None:
        self._shows = sys.stderr.isatty() and not quiet
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> VectorProgress:
        if self._shows:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

            columns = (
                text_column("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
            )
            self._progress = Progress(*columns, console=text_console(stderr=True))
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def show(self, step: str, finished: int, total: int) -> None:
        """Move the bar of a step."""
        if self._progress is None:
            return
        if step not in self._tasks:
            self._tasks[step] = self._progress.add_task(f"{step} vector tiles", total=total)
        self._progress.update(self._tasks[step], completed=finished, total=total)
