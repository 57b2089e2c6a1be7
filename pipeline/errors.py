"""Errors: one root; each says the offending value, what was required, and what to do.

The exit status that the command line returns for an error is part of its class:
2 if the user's options or input are at fault, 1 if the run failed on the way.
"""

from __future__ import annotations

from segment_tiles.pipeline.names import without_secrets


class SegmentTilesError(Exception):
    """Root of every error that this program raises on purpose; its text is one line for the user, without secrets."""

    exit_status = 1

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(without_secrets(a) if isinstance(a, str) else a for a in arguments))


class UsageError(SegmentTilesError):
    """An option or a configuration has a value that cannot be accepted."""

    exit_status = 2


class SourceError(SegmentTilesError):
    """An input is missing, is not a raster, or does not fit the request."""

    exit_status = 2


class ModelError(SegmentTilesError):
    """A model package or a checkpoint is absent, damaged, or does not fit the input."""

    exit_status = 2


class PlanError(SegmentTilesError):
    """The run does not fit the memory or the disk that it was given."""

    exit_status = 2


class OutputError(SegmentTilesError):
    """The output directory belongs to another run, or cannot be written."""

    exit_status = 2


class ChangedRunError(OutputError):
    """The output directory holds an earlier run whose source or settings were others."""


class PlaceError(SegmentTilesError):
    """A folder or bucket does not answer, is not there, or does not let us; in one line."""

    exit_status = 2


class VectorError(SegmentTilesError):
    """A class raster cannot be turned into polygons as asked."""

    exit_status = 2


class TrainingError(SegmentTilesError):
    """A training or an evaluation cannot be made of what was given: labels do not fit the scene, say."""

    exit_status = 2


class TrainingFailedError(TrainingError):
    """Training stopped on the way: the loss or the weights are no longer numbers."""

    exit_status = 1


class MissingExtraError(SegmentTilesError):
    """An optional dependency is needed; the text names the extra that brings it."""

    exit_status = 2


class ReadFailedError(SegmentTilesError):
    """A source stopped answering in the middle of a run, after retries."""


class WriteFailedError(SegmentTilesError):
    """A result could not be written: the disk is full or became read-only."""


class RunFailedError(SegmentTilesError):
    """Some Regions failed; the run can be resumed."""


class SourceChangedError(RunFailedError):
    """A source became another while it was read."""


class AreaChangedError(RunFailedError):
    """A file of polygons that limits a run became another while the run used it."""


class SegmentTilesWarning(UserWarning):
    """What the user of the Python library should know before trusting a map."""


def one_line(error: BaseException) -> str:
    r"""Return the text of any exception as one line, without secrets: libraries name URLs as they got them.

    >>> one_line(ValueError("a\n  b"))
    'a b'
    """
    return " ".join(without_secrets(str(error)).split()) or type(error).__name__
