"""Keys of a jobs file made of the declared options of `run`: their types, limits and descriptions for pydantic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.workflows.options.declare import Option


def fields_of(options: Sequence[Option]) -> dict[str, Any]:
    """Return keyword -> type and description, as ``pydantic.create_model`` takes them; every key may be missing."""
    return {
        declared.keyword: (
            _type(declared) | None,
            Field(default=None, description=_description(declared)),
        )
        for declared in options
        if declared.in_jobs
    }


def _type(declared: Option) -> Any:
    """Return the type of a key: the value itself, or a text that the option reads."""
    kind = _one(declared)
    if declared.is_list:
        kind = tuple[kind, ...]  # type: ignore[valid-type]
    elif declared.parse is not None and declared.type is not str:
        kind |= _text(declared)
    return kind if declared.parse is None else Annotated[kind, AfterValidator(_check(declared))]


def _one(declared: Option) -> Any:
    """Return the type of a value, or of one entry of a list."""
    if declared.choices:
        return Literal[declared.choices]
    if declared.type in {int, float}:
        limits = Field(ge=declared.minimum, gt=declared.above, lt=declared.below)
        return Annotated[declared.type, limits]
    if declared.type is bool:
        return bool
    return _text(declared) | int | float if declared.or_number else _text(declared)


def _text(declared: Option) -> Any:
    return str if declared.pattern is None else Annotated[str, Field(pattern=declared.pattern)]


def _description(declared: Option) -> str:
    relative = " Relative to the jobs file." if declared.is_file else ""
    return declared.help + relative


def _check(declared: Option) -> Callable[[Any], Any]:
    """Return a function that refuses what the command line refuses, without the name, which pydantic says."""

    def check(value: Any) -> Any:
        try:
            declared.read(value)
        except UsageError as error:
            _, _, wanted = str(error).partition("; ")
            raise ValueError(wanted or str(error)) from error
        return value

    return check
