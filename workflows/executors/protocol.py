"""What a run asks of whatever does its Regions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from segment_tiles.workflows.executors.interruption import Interruption

if TYPE_CHECKING:  # worker processes are started before this process has spent seconds on importing torch
    from segment_tiles.pipeline.outputs.stores.sent_folder import SentFolder
    from segment_tiles.pipeline.places.protocol import Traffic
    from segment_tiles.workflows.regions.region_task import Progress, RegionReport, RegionTask
    from segment_tiles.workflows.regions.strips import Strip
    from segment_tiles.workflows.scenes.cut import Opener

Result = TypeVar("Result")
Request = TypeVar("Request")
IsStopped = Callable[[], bool]
WholeWork = Callable[[Request, IsStopped, IsStopped], Result]
"""Does all of a small run; asks whether to end with the rows in work, and whether to end with the batch in work."""
Tell = Callable[[str], None]
"""Shows the user one line, such as the address of a dashboard."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """How much works at once."""

    workers: int = 1
    """Regions that are done at the same time."""
    memory: int | None = None
    """Bytes that each worker may take; None if only this machine sets a limit."""
    is_elsewhere: bool = False
    """Whether Regions are done in other processes."""


@dataclass(frozen=True, slots=True)
class RunPaths:
    """What every worker must see under the same name."""

    opener: Opener | None
    """Opens the source; None: no worker needs to see it."""
    plane: int
    """Of the result, on whose tiles is measured what has to be."""
    model: str
    """Name of a bundled model, or absolute folder of a package."""
    checksum: str
    """Of its manifest and weights: `ModelManifest.map_checksum`."""
    own_folder: Path | SentFolder | None
    """Where the run keeps its books, in the output directory, or where workers find copies; None: none needs it."""
    place: str | None = None
    """URL that workers write finished rows to instead."""


class Executor(Protocol):
    """Does Regions; in any order, on any worker, with the same bytes.

    It starts when a run first needs it and serves any number of runs until it is closed, also several at once.
    """

    choices: dict[tuple[str, ...], Any]
    """A `Choice` by `network_checksum` of the models of a run: all scenes of a batch have one, on any worker."""

    def start(self) -> Capacity:
        """Start what is not started yet, and return what it offers.

        Raises
        ------
        UsageError
            If workers are not to be had, or are of another version of this program.
        """
        ...

    def check(self, paths: RunPaths) -> RunPaths:
        """Refuse a run whose source, model or output directory a worker cannot see; return what workers are told.

        Raises
        ------
        UsageError
            Naming the worker and what it cannot see.
        """
        ...

    def call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Return what a function returns where Regions are done."""
        ...

    def do_whole(
        self, work: WholeWork[Request, Result], request: Request, interruption: Interruption
    ) -> Result:
        """Return what the work on a small run returns, done where its Regions would be done.

        Raises
        ------
        RunFailedError
            If nothing is left that could do it, or if it ended all workers that tried it.
        """
        ...

    def run(
        self, tasks: Sequence[RegionTask], progress: Progress | None, interruption: Interruption
    ) -> list[RegionReport]:
        """Do the tasks and return their reports; after an interruption, of those that were begun.

        Raises
        ------
        RunFailedError
            If nothing is left that could do them.
        """
        ...

    def trace(self, strips: Sequence[Strip], interruption: Interruption) -> list[Traffic]:
        """Trace vector tiles of a whole class map where its Regions were done; return what was asked of a place.

        Raises
        ------
        RunFailedError
            If nothing is left that could do it.
        """
        ...

    def close(self, *, at_once: bool = False) -> None:
        """Give back what was started; ``at_once`` does not wait for work in flight."""
        ...
