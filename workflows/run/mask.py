"""The run of the model of a mask, before the run whose map it limits: into a folder of that one's output directory.

It is a run like any other: it is taken up after a kill, and a finished one is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from segment_tiles.pipeline.errors import ChangedRunError
from segment_tiles.pipeline.outputs.finished_file import write_failed
from segment_tiles.pipeline.outputs.stores.seals import read_sealed, write_sealed
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.executors import Executor
from segment_tiles.workflows.output_folder.directory import MASK_FOLDER, OutputDirectory
from segment_tiles.workflows.plans.plan import Plan
from segment_tiles.workflows.run.in_flight import Alone
from segment_tiles.workflows.run.listener import Listener, LoggedListener, RunResult
from segment_tiles.workflows.run.taken_up import is_store_kept
from segment_tiles.workflows.scenes.scene import SceneMask

Segment = Callable[[RunConfig, Listener, Executor, Alone], RunResult]
"""Does a run."""


@dataclass(frozen=True, slots=True)
class Masked:
    """What became of the run of a mask."""

    mask: SceneMask
    """Which it was."""
    report: Mapping[str, Any]
    """What its ``report.json`` says."""
    left_out: int = 0
    """Pixels with a class that are left out of the other map."""
    notes: tuple[str, ...] = ()
    """What the user was told of it that its checks did not say."""

    @property
    def failures(self) -> list[dict[str, Any]]:
        """Windows that could not be done, each with the reason."""
        return [{**one, "reason": self.mask.said(one["reason"])} for one in self.report["failures"]]

    def summary(self) -> dict[str, Any]:
        """Return what the report of the other run says of it."""
        return {
            "model": dict(self.report["model"]),
            "classes": list(self.mask.names),
            "are": "kept" if self.mask.keeps else "left out",
            "pixels_left_out": self.left_out,
            "folder": MASK_FOLDER,
            "fingerprint": self.report["fingerprint"],
            "tiles": dict(self.report["tiles"]),
            "seconds": self.report["seconds"].get("total"),
        }

    def pixels(self) -> tuple[int, int]:
        """Return how many pixels with a class are left out, and how many stay."""
        area = self.mask.area
        if area.may_overlap:  # no count of one class says how many pixels have several
            return area.pixels()
        named = [entry["name"] in self.mask.names for entry in self.report["classes"]]
        counts = [entry["pixels"] for entry in self.report["classes"]]
        stay = sum(
            count for count, is_named in zip(counts, named, strict=True) if is_named == self.mask.keeps
        )
        return sum(counts) - stay, stay


def run_mask(
    mask: SceneMask,
    limited: OutputDirectory,
    listener: Listener,
    said: tuple[str, ...],
    do: Callable[[RunConfig, Listener], RunResult],
) -> Masked:
    """Do what is missing of the run of a mask, or find it finished.

    Parameters
    ----------
    mask
        Which it is.
    limited
        Output directory of the run that it limits, which was begun.
    listener
        Of that run.
    said
        What the user was told before.
    do
        Does a run.

    Raises
    ------
    KeyboardInterrupt, SegmentTilesError
        As ``segment``.
    ChangedRunError
        If it is not the mask under which rows of the run were done.
    """
    directory = OutputDirectory(mask.config.out)
    if directory.report.exists() and not is_store_kept(directory):
        directory.report.unlink()  # every byte of it decides about another map: what is damaged is computed again
    heard = _Heard(listener, mask, said)
    # what lay there was thrown away with the results of the other run
    result = do(replace(mask.config, restart=False), heard)
    masked = Masked(mask, result.report)
    if masked.failures:
        return replace(masked, notes=tuple(heard.notes))
    left_out, stay = _counted(limited, masked)
    # a mask that leaves out keeps what has no class: of that it says nothing
    if not stay and (left_out or mask.keeps):
        names = " or ".join(mask.names)
        what = f"no pixel is {names}" if mask.keeps else f"every pixel is {names}"
        heard.warn(f"{what}, so nothing is computed; run without --mask-model to see all")
    return replace(masked, left_out=left_out, notes=tuple(heard.notes))


def _counted(directory: OutputDirectory, masked: Masked) -> tuple[int, int]:
    """Return `Masked.pixels`, counted once, and keep which mask limits the run.

    Raises
    ------
    ChangedRunError
        If it is another than that of an earlier start: of two, computed differently, no map is made.
    """
    fingerprint = masked.report["fingerprint"]
    kept = read_sealed(directory.mask_fingerprint)
    if kept is not None:
        _require_same_mask(directory, kept["fingerprint"], fingerprint)
        if "pixels" in kept:
            left_out, stay = kept["pixels"]
            return left_out, stay
    left_out, stay = masked.pixels()
    try:
        write_sealed(directory.mask_fingerprint, {"fingerprint": fingerprint, "pixels": [left_out, stay]})
    except OSError as error:
        raise write_failed(directory.mask_fingerprint, error) from error
    return left_out, stay


def _require_same_mask(directory: OutputDirectory, before: str, now: str) -> None:
    if before != now:
        msg = (
            f"{directory.mask}: is not the mask with which the run was begun (another precision, backend or source); "
            "begin anew with --restart, or give another --out"
        )
        raise ChangedRunError(msg)


class _Heard(LoggedListener):
    """Passes on what the run of a mask tells, and says of whom it is; the listener of the other run logs it.

    Parameters
    ----------
    listener
        Of the run that it limits.
    mask
        The mask.
    said
        What the user was told before.
    """

    def __init__(self, listener: Listener, mask: SceneMask, said: tuple[str, ...]) -> None:
        super().__init__(listener)
        self._mask, self._said = mask, said
        self.notes: list[str] = []

    def warn(self, text: str) -> None:
        """Pass on what was not said yet."""
        told = self._mask.said(text)
        if told not in self._said and text not in self._said:
            self.notes.append(told)
            self._listener.warn(told)

    def stage(self, name: str) -> None:
        """Pass on the stage that begins."""
        self._listener.stage(f"mask: {name}")

    def planned(self, plan: Plan) -> None:
        """Pass on its Plan."""
        self._listener.planned(plan)

    def tiles(self, computed: int, skipped: int) -> None:
        """Pass on progress."""
        self._listener.tiles(computed, skipped)
