"""How a run looks on a terminal: progress and warnings on stderr, results on stdout."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from segment_tiles.pipeline.json_text import json_text
from segment_tiles.workflows.logs.output import logs_to_terminal

if TYPE_CHECKING:
    from rich.console import Console as RichConsole  # noqa: TID251 - its name alone
    from rich.progress import Progress, TaskID, TextColumn  # noqa: TID251 - its name alone

    from segment_tiles.workflows.plans.plan import Plan


def print_json(document: Mapping[str, Any] | list[Any]) -> None:
    """Print one JSON document on stdout."""
    print(json_text(document))


def text_console(*, stderr: bool = False, quiet: bool = False) -> RichConsole:
    """Return a console of Rich that prints text, and cells of tables, as they are.

    By itself it takes ``[b]`` as an order to print in bold, ``[/tmp/a]`` as an error, and ``:tree:`` as a picture; all
    of them may be in the names of classes and files.
    """
    from rich.console import Console as RichConsole  # noqa: TID251 - here alone

    return RichConsole(stderr=stderr, quiet=quiet, markup=False, emoji=False)


def text_column(pattern: str) -> TextColumn:
    """Return a column of a progress bar that shows text as it is."""
    from rich.progress import TextColumn  # noqa: TID251 - here alone

    return TextColumn(pattern, markup=False)


class Console:
    """Listens to a run; shows progress only if stderr is a terminal and the user wants it."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._shows = sys.stderr.isatty() and not quiet and not logs_to_terminal()
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._tile_pixels = 0

    def __enter__(self) -> Console:
        if self._shows:
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )

            self._progress = Progress(
                text_column("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                text_column("tiles  {task.fields[rate]}"),
                TimeElapsedColumn(),
                text_column("left"),
                TimeRemainingColumn(),
                console=text_console(stderr=True),
            )
            self._progress.start()
            self._task = self._progress.add_task("preparing", total=None, rate="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def warn(self, text: str) -> None:
        """Print a warning on stderr, above the progress if there is one."""
        if self._progress is not None:
            self._progress.console.print(f"warning: {text}", style="yellow", highlight=False)
        else:
            print(f"segment-tiles: warning: {text}", file=sys.stderr)

    def note(self, text: str) -> None:
        """Print a line on stderr that is no warning, where progress is shown at all."""
        if self._progress is not None:
            self._progress.console.print(text, highlight=False, soft_wrap=True)
        elif not self._quiet:
            print(f"segment-tiles: {text}", file=sys.stderr)

    def stage(self, name: str) -> None:
        """Show the stage that begins."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, description=name)

    def planned(self, plan: Plan) -> None:
        """Show the bar, now that the number of tiles is known."""
        self._tile_pixels = plan.scene.lattice.columns.stride * plan.scene.lattice.rows.stride
        if self._progress is not None and self._task is not None:
            self._progress.reset(self._task, total=plan.tiles, description="segmenting")

    def tiles(self, computed: int, skipped: int) -> None:
        """Move the bar."""
        if self._progress is None or self._task is None:
            return
        task = self._progress.tasks[self._task]
        speed = (task.speed or 0.0) * self._tile_pixels / 1e6
        self._progress.update(self._task, advance=computed + skipped, rate=f"{speed:.2f} Mpx/s")
