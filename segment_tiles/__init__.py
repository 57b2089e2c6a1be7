"""Segment rasters, slides and volumes of any size, in bounded memory.

>>> import segment_tiles as st
>>> result = st.segment("scene.tif", model="canopy-rgb", out="result")
>>> classes = st.open_result("result").classes

Everything in ``__all__`` is public and follows semantic versioning; the rest is not. Each name is loaded when it is
first used, so that importing this package costs nothing.
"""

from __future__ import annotations

TYPE_CHECKING = (
    False  # type checkers take it for true; typing itself would take half of the time of this import
)
if TYPE_CHECKING:
    from typing import Any

    from segment_tiles.pipeline.errors import (
        AreaChangedError,
        ChangedRunError,
        MissingExtraError,
        ModelError,
        OutputError,
        PlaceError,
        PlanError,
        ReadFailedError,
        RunFailedError,
        SegmentTilesError,
        SegmentTilesWarning,
        SourceChangedError,
        SourceError,
        TrainingError,
        TrainingFailedError,
        UsageError,
        VectorError,
        WriteFailedError,
    )
    from segment_tiles.pipeline.plugins import InstallationError
    from segment_tiles.workflows.face.arrays.segment import segment_array
    from segment_tiles.workflows.face.models import Model, list_models, load_model
    from segment_tiles.workflows.face.polygons import polygonize
    from segment_tiles.workflows.face.result import Result, open_result
    from segment_tiles.workflows.face.segment import PlannedRun, plan, segment
    from segment_tiles.workflows.face.training import evaluate, train
    from segment_tiles.workflows.polygons.report import PolygonizeReport
    from segment_tiles.workflows.training.report import TrainingReport

    __version__: str

__all__ = [
    "AreaChangedError",
    "ChangedRunError",
    "InstallationError",
    "MissingExtraError",
    "Model",
    "ModelError",
    "OutputError",
    "PlaceError",
    "PlanError",
    "PlannedRun",
    "PolygonizeReport",
    "ReadFailedError",
    "Result",
    "RunFailedError",
    "SegmentTilesError",
    "SegmentTilesWarning",
    "SourceChangedError",
    "SourceError",
    "TrainingError",
    "TrainingFailedError",
    "TrainingReport",
    "UsageError",
    "VectorError",
    "WriteFailedError",
    "__version__",
    "evaluate",
    "list_models",
    "load_model",
    "open_result",
    "plan",
    "polygonize",
    "segment",
    "segment_array",
    "train",
]

_HOMES = {
    "segment_tiles.pipeline.plugins": ("InstallationError",),
    "segment_tiles.workflows.face.arrays.segment": ("segment_array",),
    "segment_tiles.workflows.face.models": ("Model", "list_models", "load_model"),
    "segment_tiles.workflows.face.polygons": ("polygonize",),
    "segment_tiles.workflows.face.result": ("Result", "open_result"),
    "segment_tiles.workflows.face.segment": ("PlannedRun", "plan", "segment"),
    "segment_tiles.workflows.face.training": ("evaluate", "train"),
    "segment_tiles.workflows.polygons.report": ("PolygonizeReport",),
    "segment_tiles.workflows.training.report": ("TrainingReport",),
}
"""Module -> public names that live in it; errors and warnings live in `segment_tiles.pipeline.errors`."""


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used."""
    if name not in __all__:
        msg = f"module 'segment_tiles' has no attribute {name!r}"
        raise AttributeError(msg)
    value = _loaded(name)
    globals()[name] = value  # found directly from now on
    return value


def _loaded(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - a tenth of the cost of an import

        return version("segment-tiles")
    from importlib import import_module  # noqa: PLC0415

    home = next(
        (module for module, names in _HOMES.items() if name in names), "segment_tiles.pipeline.errors"
    )
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    """Return the public names, loaded or not."""
    return sorted({*globals(), *__all__})
