"""The Kinds: ours and those of installed plug-ins, by name; and the one way to a Scene."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from segment_tiles.pipeline.errors import SourceError
from segment_tiles.pipeline.plugins import Registry
from segment_tiles.pipeline.sources.view import View
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.scenes.kind import Kind
from segment_tiles.workflows.scenes.scene import Scene, open_models
from segment_tiles.workflows.scenes.stack_source import with_resolved_source

KINDS: Final = Registry("segment_tiles.kinds", "kind", Kind)  # type: ignore[type-abstract] # none is made of it


def kind_named(name: str) -> Kind:
    """Return a Kind.

    Raises
    ------
    SourceError
        If it is not installed.
    """
    kind = KINDS.get(name)
    if kind is None:
        msg = f"nothing that is installed knows sources of the kind {name!r}; known are {', '.join(KINDS.names())}"
        raise SourceError(msg)
    return kind


def recognised(uri: str, view: View) -> Kind:
    """Return the Kind of a source, which is looked at once by every Kind until one knows it.

    Raises
    ------
    SourceError, MissingExtraError
        If no Kind reads such a source.
    """
    for kind in sorted(KINDS.all(), key=lambda kind: kind.turn):
        if kind.recognises(uri, view):
            return kind
    msg = f"{uri}: no kind of source that is installed knows it"
    raise SourceError(msg)


def open_scene(config: RunConfig) -> Scene:
    """Open source and models, and check one against the other.

    Raises
    ------
    SourceError, ModelError, UsageError
        If one of them is missing, damaged, or does not fit the other.
    """
    models = open_models(config)
    config = with_resolved_source(config)
    scene = recognised(config.source, config.view).open(config, models)
    return replace(scene, companions=models.companions, warnings=(*scene.warnings, *models.notes))


def kind_of_report(report: Mapping[str, Any]) -> Kind:
    """Return the Kind of the scene that a report is of; reports of earlier versions do not name it."""
    return kind_named(str(report.get("kind") or ("volume" if "volume_unit" in report else "raster")))
