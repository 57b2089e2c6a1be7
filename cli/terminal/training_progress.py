"""What a person sees of a training: a bar on a terminal, and lines for scores and notes."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING

from segment_tiles.cli.terminal.console import text_column, text_console

if TYPE_CHECKING:
    from rich.progress import TaskID
    from rich.table import Table

    from segment_tiles.workflows.training.report import TrainingReport


class ConsoleProgress:
    """Progress on stderr: the bar only if it is a terminal, scores and notes always, unless quiet."""

    def __init__(self, *, quiet: bool) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

        self._console = text_console(stderr=True, quiet=quiet)
        self._bar = Progress(
            text_column("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            text_column("loss {task.fields[loss]:.3f}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=quiet or not self._console.is_terminal,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> ConsoleProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def started(self, name: str, first_step: int, steps: int) -> None:
        """Begin a bar."""
        self._task = self._bar.add_task(name, total=steps, completed=first_step, loss=float("nan"))
        from segment_tiles.pipeline.wording import counted

        start = f"goes on after step {first_step}" if first_step else "starts"
        self._console.print(f"{name}: {start}, {counted(steps, 'step')}")

    def stepped(self, row: Mapping[str, float]) -> None:
        """Move the bar."""
        if self._task is not None:
            self._bar.update(self._task, completed=int(row["step"]), loss=row["loss"])

    def scored(self, row: Mapping[str, float]) -> None:
        """Say the scores of the held-out areas."""
        scores = ", ".join(f"{name} {value:.3f}" for name, value in row.items() if name != "step")
        self._console.print(f"step {int(row['step'])}: {scores}")

    def noted(self, text: str) -> None:
        """Say what was repaired or left out."""
        self._console.print(text)


def score_table(report: TrainingReport) -> Table:
    """Return the scores of a finished training as a table."""
    from rich.table import Table

    table = Table(title=f"{report.name}, {report.steps} steps")
    has_objects = any(
        "objects" in v for of in report.scores.values() for v in of.values() if isinstance(v, dict)
    )
    f1 = ("object F1",) if has_objects else ()
    for column in ("area", "class", "IoU", "Dice", "precision", "recall", *f1):
        table.add_column(column, justify="left" if column in ("area", "class") else "right")
    left_out = {f"{name} (left out)": scores for name, scores in report.left_out.items()}
    for area, scores in {**report.scores, **left_out}.items():
        for name, values in scores.items():
            if isinstance(values, dict):
                numbers = [values[key] for key in ("iou", "dice", "precision", "recall")]
                if has_objects:
                    numbers.append(values.get("objects", {}).get("f1"))
                table.add_row(area, name, *("-" if n is None else f"{n:.3f}" for n in numbers))
    return table
