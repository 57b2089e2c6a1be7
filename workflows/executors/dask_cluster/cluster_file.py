"""The YAML file of ``--cluster``: any Dask cluster class, its arguments, and how many workers."""

from __future__ import annotations

import difflib
import importlib
import os
from pathlib import Path
from typing import Annotated, Any

import yaml
from distributed.deploy import Cluster as DaskCluster
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from segment_tiles.pipeline.errors import UsageError, one_line


class AdaptiveWorkers(BaseModel):
    """Between how many workers the cluster may choose."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    minimum: int = Field(1, ge=1)
    """Kept even where nothing is to do: a run asks the workers that are there before it gives them work."""
    maximum: int = Field(ge=1)
    """Regions are laid out for this many."""

    @model_validator(mode="after")
    def _ordered(self) -> AdaptiveWorkers:
        if self.minimum > self.maximum:
            msg = f"minimum is {self.minimum}, above maximum {self.maximum}"
            raise ValueError(msg)
        return self


class ClusterFile(BaseModel):
    """A cluster, described."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path = Field(exclude=True)
    """Where it was read from."""
    cluster: str
    """``module.Class``."""
    arguments: dict[str, Any] = {}
    """Of the class."""
    workers: Annotated[int, Field(ge=1)] | None = None
    """Their number."""
    adapt: AdaptiveWorkers | None = None
    """Or a range, in which the cluster chooses as work comes and goes."""
    wait_seconds: Annotated[float, Field(gt=0)] = 3600.0
    """How long the first worker may take, or another when all are lost: jobs wait in queues."""
    environment: tuple[str, ...] = ()
    """Names of variables of this process that workers get too, such as those of cloud credentials."""

    @field_validator("cluster")
    @classmethod
    def _dotted(cls, name: str) -> str:
        if "." not in name or not all(part.isidentifier() for part in name.split(".")):
            msg = "give module.Class, such as dask_jobqueue.SLURMCluster"
            raise ValueError(msg)
        return name

    @model_validator(mode="after")
    def _one_number(self) -> ClusterFile:
        if (self.workers is None) == (self.adapt is None):
            msg = "give either workers, a number, or adapt, with minimum and maximum"
            raise ValueError(msg)
        return self

    @property
    def most_workers(self) -> int:
        """For how many workers Regions are laid out."""
        if self.adapt is not None:
            return self.adapt.maximum
        assert self.workers is not None  # one of them is given
        return self.workers

    def environment_values(self) -> dict[str, str]:
        """Return the variables by name.

        Raises
        ------
        UsageError
            If one is not set here.
        """
        for name in self.environment:
            if name not in os.environ:
                msg = f"{self.path}: environment names {name}, which is not set here; set it, or take it out"
                raise UsageError(msg)
        return {name: os.environ[name] for name in self.environment}


def read_cluster_file(path: Path) -> ClusterFile:
    """Read and check a description.

    Raises
    ------
    UsageError
        The file is missing, is not YAML, has a key that is not known, or a value that cannot be accepted.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"--cluster {path}: cannot be read ({error.strerror}); give a YAML file, see docs/clusters.md"
        raise UsageError(msg) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        msg = f"--cluster {path}: is not YAML: {one_line(error)}"
        raise UsageError(msg) from error
    if not isinstance(document, dict):
        msg = f"--cluster {path}: holds a {type(document).__name__}; the keys cluster and workers are needed"
        raise UsageError(msg)
    if "path" in document:
        msg = f"--cluster {path}: the key path is not known"
        raise UsageError(msg)
    try:
        return ClusterFile.model_validate({**document, "path": path})
    except ValidationError as error:
        msg = f"--cluster {path}: {_first_complaint(error)}"
        raise UsageError(msg) from error


def cluster_class(description: ClusterFile) -> type[Any]:
    """Return the class that a description names.

    Raises
    ------
    UsageError
        If its module is not installed, has no such class, or it is no Dask cluster.
    """
    module_name, _, class_name = description.cluster.rpartition(".")
    start = f"--cluster {description.path}: names the class {description.cluster}, but"
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        msg = f"{start} {module_name} cannot be imported ({one_line(error)}); install what it comes in"
        raise UsageError(msg) from error
    found = getattr(module, class_name, None)
    if found is None:
        near = difflib.get_close_matches(class_name, dir(module), n=1)
        hint = f"did you mean {near[0]}?" if near else "see the documentation of that module"
        msg = f"{start} {module_name} has no {class_name}; {hint}"
        raise UsageError(msg)
    if not (isinstance(found, type) and issubclass(found, DaskCluster)):
        msg = f"{start} that is no Dask cluster class; give one such as dask_jobqueue.SLURMCluster"
        raise UsageError(msg)
    return found


def _first_complaint(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = [name for name in ClusterFile.model_fields if name != "path"]
        if len(first["loc"]) > 1:
            known = list(AdaptiveWorkers.model_fields)
        near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
        return f"the key {key} is not known; {hint}"
    if first["type"] == "missing":
        return f"the key {key} is missing"
    text = first["msg"].removeprefix("Value error, ")
    return f"{key} is {first['input']!r}: {text}" if key and isinstance(first["input"], str | int) else text
