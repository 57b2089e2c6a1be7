"""Reads the jobs file; whatever is wrong is said with the line of the file it stands on."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from segment_tiles.pipeline.errors import UsageError, one_line
from segment_tiles.pipeline.wording import counted
from segment_tiles.workflows.batch.settings import BatchSettings
from segment_tiles.workflows.buckets.address import address_of, on_this_disk, refuse_secrets


@dataclass(frozen=True, slots=True)
class JobsFile:
    """A jobs file, checked."""

    path: Path
    """As the user named it."""
    settings: BatchSettings
    """What it says."""
    job_lines: tuple[int, ...]
    """Line at which each entry of ``jobs`` begins, from 1."""

    @property
    def folder(self) -> Path:
        """Where relative paths start."""
        return self.path.absolute().parent

    @property
    def results(self) -> Path:
        """Folder of table, collection and mosaics, or its URL as a path.

        Raises
        ------
        UsageError
            If it is a URL of a place that is not known, or has secrets in it.
        """
        return self.located(self.settings.results or f"{self.path.stem}-results", "results", self.folder)

    def located(self, name: str, key: str, folder: Path) -> Path:
        """Return the path that a key names, relative to a folder, or its URL as a path.

        Raises
        ------
        UsageError
            If it is a URL of a place that is not known, or has secrets in it.
        """
        address_of(Path(name), f"{self.path}: {key}")  # refuses what is no place
        named = on_this_disk(Path(name).expanduser())
        address = address_of(named)
        if address is None:
            if ".." in named.parts and address_of(folder) is not None:
                msg = (
                    f"{self.path}: {key} {name}: a URL has no '..'; give the whole URL, or a name in results"
                )
                raise UsageError(msg)
            return folder / named
        refuse_secrets(address, f"{self.path}: {key}")
        return named

    def error(self, line: int, text: str) -> UsageError:
        """Return the error for the user about a line."""
        return UsageError(f"{self.path}, line {line}: {text}")


def read_jobs_file(path: Path) -> JobsFile:
    """Read and check a jobs file.

    Raises
    ------
    UsageError
        With the line: it is no YAML, a key is unknown or given twice, a value cannot be accepted.
    """
    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        document = yaml.safe_load(text)
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror}); give a YAML file with a list of jobs"
        raise UsageError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"{path} is not text in UTF-8 ({one_line(error)}); give a YAML file with a list of jobs"
        raise UsageError(msg) from error
    except yaml.YAMLError as error:
        raise _syntax_error(path, error) from error
    if not isinstance(document, dict) or root is None:
        found = "nothing" if document is None else f"a {type(document).__name__}"
        msg = f"{path}, line 1: holds {found}; a mapping with the key jobs is needed"
        raise UsageError(msg)
    for key in _keys_given_twice(root):
        msg = f"{path}, line {_line(key)}: the key {key.value} is given twice; keep one"
        raise UsageError(msg)
    try:
        settings = BatchSettings.model_validate(document)
    except ValidationError as error:
        raise UsageError(_complaint(path, root, error)) from error
    lines = tuple(line_at(root, ("jobs", number)) for number in range(len(settings.jobs)))
    return JobsFile(path, settings, lines)


def line_at(root: yaml.Node, location: Sequence[int | str]) -> int:
    """Return the line of a location in the file; of what surrounds it if it is not there."""
    node, line = root, _line(root)
    for part in location:
        found = _entry(node, part)
        if found is not None:
            mark, node = found
            line = _line(mark)
    return line


def _entry(node: yaml.Node, part: int | str) -> tuple[yaml.Node, yaml.Node] | None:
    """Return what marks an entry and its value: a key of a mapping, an item of a sequence."""
    if isinstance(node, yaml.MappingNode):
        return next(((key, value) for key, value in node.value if key.value == part), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        item = node.value[part]
        return item, item
    return None  # pydantic puts the name of a type into the location if a value may be of several


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _keys_given_twice(root: yaml.Node) -> Iterator[yaml.ScalarNode]:
    """Yield keys that a mapping already has: YAML itself silently takes the last."""
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            names: set[str] = set()
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode) and key.value in names:
                    yield key
                names.add(key.value if isinstance(key, yaml.ScalarNode) else "")
                waiting.append(value)
        elif isinstance(node, yaml.SequenceNode):
            waiting.extend(node.value)


def _syntax_error(path: Path, error: yaml.YAMLError) -> UsageError:
    mark = getattr(error, "problem_mark", None)
    where = f"{path}, line {mark.line + 1}" if mark is not None else str(path)
    problem = getattr(error, "problem", None) or one_line(error)
    return UsageError(f"{where}: is not YAML: {problem}")


def _complaint(path: Path, root: yaml.Node, error: ValidationError) -> str:
    """Return the first complaint, in the order of lines, as one line."""
    entries = error.errors()
    complaints = sorted(
        # of the types that a value may have, the one that says most is the deepest
        (line_at(root, entry["loc"]), -len(entry["loc"]), _reason(dict(entry)))
        for entry in entries
        if not any(_is_inside(_keys(other["loc"]), _keys(entry["loc"])) for other in entries)
    )
    line, _, text = complaints[0]
    others = len({number for number, _, _ in complaints}) - 1
    more = f" (and {counted(others, 'more line is', 'more lines are')} wrong)" if others else ""
    return f"{path}, line {line}: {text}{more}"


def _keys(location: Sequence[int | str]) -> list[int | str]:
    """Return a location without the names of types that pydantic puts into it."""
    return [part for part in location if isinstance(part, int) or _is_key(part)]


def _is_inside(location: Sequence[int | str], outer: Sequence[int | str]) -> bool:
    """Whether a location lies inside another: what is wrong inside explains what is wrong outside."""
    return len(location) > len(outer) and location[: len(outer)] == outer


def _reason(entry: dict[str, Any]) -> str:
    location = _keys(entry["loc"])
    key = ".".join(str(part) for part in location)
    if entry["type"] == "extra_forbidden":
        known = _keys_at(BatchSettings, location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
        return f"the key {key} is not known; {hint}"
    if entry["type"] == "missing":
        return f"the key {key} is missing"
    text = entry["msg"].removeprefix("Value error, ")
    shown = entry["input"] if not isinstance(entry["input"], dict) else None
    return f"{key}: {text}" if shown is None else f"{key} is {shown!r}: {text}"


def _is_key(part: str) -> bool:
    """Whether a part of a location is a key of ours or the user's, not the name of a type of pydantic."""
    return "[" not in part and part not in {"str", "int", "bool", "date", "MosaicSettings", "constrained-str"}


def _keys_at(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """Return the keys that are known at a location in the file."""
    for part in location:
        fields = {field.alias or name: field for name, field in model.model_fields.items()}
        if isinstance(part, str) and part in fields:
            model = _model_in(fields[part].annotation) or model
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the class of keys inside a type such as tuple[JobEntry, ...]."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in {tuple, Union, types.UnionType}:
        found = (_model_in(argument) for argument in get_args(annotation))
        return next((model for model in found if model is not None), None)
    return None
