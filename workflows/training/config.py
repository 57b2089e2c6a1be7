"""The YAML file of a training: read, checked, refused with the name of the nearest valid key."""

from __future__ import annotations

import difflib
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from segment_tiles.pipeline.errors import TrainingError, one_line
from segment_tiles.pipeline.learning.settings import TrainingSettings
from segment_tiles.pipeline.learning.training.initialization import FROM_TIMM


def read_training_config(path: Path) -> TrainingSettings:
    """Read and check a training configuration.

    Raises
    ------
    TrainingError
        The file is missing, is not YAML, has a key that is not known, or a value out of range.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror}); a YAML file with scenes and classes is needed"
        raise TrainingError(msg) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        msg = f"{path} is not YAML: {one_line(error)}"
        raise TrainingError(msg) from error
    if not isinstance(document, dict):
        msg = f"{path} holds a {type(document).__name__}; a mapping with the keys name, scenes, classes is needed"
        raise TrainingError(msg)
    try:
        return TrainingSettings.model_validate(document)
    except ValidationError as error:
        msg = f"{path}: {_first_complaint(error)}"
        raise TrainingError(msg) from error


def with_pretrained_backbone(settings: TrainingSettings) -> TrainingSettings:
    """Return the configuration with timm's ImageNet weights as the first ones of its backbone."""
    network = settings.network.model_copy(update={"initial_backbone": FROM_TIMM})
    return settings.model_copy(update={"network": network})


def _first_complaint(error: ValidationError) -> str:
    """Return the first complaint in one line."""
    # an unknown key first: the one that is missing may be spelt so
    first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    location = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        *parents, key = first["loc"]
        known = _keys_at(TrainingSettings, parents)
        near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
        return f"the key {location} is not known; {hint}"
    if first["type"] == "missing":
        return f"the key {location} is missing"
    text = first["msg"].removeprefix("Value error, ")
    if not location:
        return text
    return f"{location} is {first['input']!r}: {text}"


def _keys_at(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """Return the keys that are known at a location in the configuration."""
    for part in location:
        if isinstance(part, str) and part in model.model_fields:
            inner = _model_in(model.model_fields[part].annotation)
            if inner is None:
                return []
            model = inner
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the settings class inside a type such as tuple[SceneSettings, ...]."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (tuple, list, Union, types.UnionType):
        found = (_model_in(argument) for argument in get_args(annotation))
        return next((model for model in found if model is not None), None)
    return None
