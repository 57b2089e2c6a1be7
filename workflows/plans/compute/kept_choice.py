"""The Choice: backend and precision of a model on this machine, measured once and kept in the user's cache folder.

It depends on weights, scaling, machine and versions alone: never on a scene, its size, the number of workers or the
load of the moment. So the same command gives the same bytes, and the second scene is not measured again.
"""

from __future__ import annotations

import json
import logging
import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import date
from hashlib import sha256
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any, Final

from segment_tiles.pipeline.durable import make_folder, write_whole
from segment_tiles.pipeline.errors import one_line
from segment_tiles.pipeline.grid.lattice import Lattice
from segment_tiles.pipeline.installed import cache_folder, installed_version
from segment_tiles.pipeline.json_text import json_text
from segment_tiles.pipeline.models.gpu_driver import has_gpu_driver
from segment_tiles.pipeline.models.trials import PrecisionTrial

LIBRARIES: Final = ("segment-tiles", "torch", "openvino", "onnxruntime")
"""Packages whose versions decide what is fastest, and what it computes."""
MEASURED_WITH: Final = 1
"""How Choices are made, part of what they depend on: another way of measuring needs another number."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tuning:
    """What `tune` found beside backend and precision: the side of a tile with which a raster is done soonest."""

    batch: int
    """Tiles of a forward pass."""
    overlap: int
    """In pixels, the same for all tiles."""
    seconds_per_tile: Mapping[int, float]
    """By side of a tile in pixels."""

    def tile_for(self, height: int, width: int) -> int:
        """Return the side with which a raster of this size is done soonest; the smallest of equals."""

        def seconds(side: int) -> float:
            return Lattice(height, width, side, self.overlap).count * self.seconds_per_tile[side]

        return min(sorted(self.seconds_per_tile), key=seconds)


@dataclass(frozen=True, slots=True)
class Choice:
    """How a model is computed on a machine."""

    trials: tuple[PrecisionTrial, ...] = ()
    """What was measured."""
    pair: tuple[str, str] | None = None
    """Backend and precision if the user names neither; None before that was asked for."""
    batches: Mapping[int, int] | None = None
    """On a GPU: tiles of a forward pass, by side of a tile in pixels."""
    tuning: Tuning | None = None
    """If `tune` made it."""
    made: str = ""
    """The day, as 2026-11-29."""

    def of(self, calibration: str) -> Choice:
        """Return it with those trials alone that a run can choose among that has this calibration, or none."""
        return replace(self, trials=tuple(t for t in self.trials if t.calibration in {"", calibration}))

    def trial(self, pair: tuple[str, str]) -> PrecisionTrial | None:
        """Return what was measured of a backend and a precision, or None."""
        return next((trial for trial in self.trials if trial.pair == pair), None)

    def with_trials(self, trials: Sequence[PrecisionTrial]) -> Choice:
        """Return it with further trials; what was measured first stands."""
        known = {(trial.pair, trial.calibration) for trial in self.trials}
        new = (trial for trial in trials if (trial.pair, trial.calibration) not in known)
        return replace(self, trials=(*self.trials, *new))


@dataclass(frozen=True, slots=True)
class ChoiceFile:
    """Where the Choice of a model on a device of this machine is kept."""

    path: Path
    """Its name holds weights, processor and device."""

    def read(self) -> Choice | None:
        """Return what was kept by these versions, or None."""
        return self._stored()[0]

    def replaced(self) -> str | None:
        """Return what a Choice that is there but does not count was made with, such as ``torch 2.8.0``; or None."""
        _, versions = self._stored()
        if versions is None:
            others = [path for path in self.path.parent.glob(f"{self._weights}-*.json") if path != self.path]
            return "another processor or device" if others else None
        now = _versions()
        changed = [f"{name} {value}" for name, value in versions.items() if now.get(name) != value]
        return ", ".join(changed) or None

    def keep(self, choice: Choice) -> Choice:
        """Keep a Choice, and return the one that counts: that of a process that was quicker, if there is one."""
        other, _ = self._stored()
        if other is not None and other.pair is not None and choice.tuning is None:
            choice = replace(
                other.with_trials(choice.trials), batches={**(choice.batches or {}), **(other.batches or {})}
            )
        choice = replace(choice, made=choice.made or date.today().isoformat())
        try:
            make_folder(self.path.parent)
            write_whole(self.path, json_text({**asdict(choice), "versions": _versions()}))
        except OSError as error:
            # costs the next start some seconds, never a run
            log.info("%s: the Choice cannot be kept: %s", self.path, one_line(error))
        return choice

    @property
    def _weights(self) -> str:
        return self.path.name.partition("-")[0]

    def _stored(self) -> tuple[Choice | None, Mapping[str, Any] | None]:
        """Return the Choice in the file, if it counts, and the versions that it was made with."""
        try:
            fields = json.loads(self.path.read_text())
            versions = fields.pop("versions")
            return (_choice_of(fields) if versions == _versions() else None), dict(versions)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            # what cannot be read is no Choice: it is made anew
            return None, None


def choice_file(checksums: Sequence[str], device_label: str) -> ChoiceFile:
    """Return where the Choice of a model, or of several as one, is kept.

    Parameters
    ----------
    checksums
        Of every member the `calibration_checksum`: its network, and a scaling of the user's, for precisions that agree
        on values of one size may not on those of another.
    device_label
        ``cpu``, or the name of the GPU.
    """
    weights = sha256(json_text(list(checksums), indent=None).encode()).hexdigest()[:16]
    machine = sha256(json_text([_processor(), device_label], indent=None).encode()).hexdigest()[:12]
    return ChoiceFile(cache_folder() / "choices" / f"{weights}-{machine}.json")


def label_of(device: str) -> str:
    """Return ``cpu`` or the name of the GPU for a user's ``--device``; without torch if there can be no GPU.

    Raises
    ------
    UsageError
        If the device is not there.
    """
    if device == "cpu" or (device == "auto" and not has_gpu_driver()):
        return "cpu"
    from segment_tiles.pipeline.models.devices import device_label, resolve_device  # noqa: PLC0415 - brings torch

    return device_label(resolve_device(device))


def _choice_of(fields: Mapping[str, Any]) -> Choice:
    tuning, pair = fields["tuning"], fields["pair"]
    return Choice(
        trials=tuple(PrecisionTrial(**trial) for trial in fields["trials"]),
        pair=None if pair is None else (str(pair[0]), str(pair[1])),
        batches={int(side): int(batch) for side, batch in (fields["batches"] or {}).items()},
        tuning=None if tuning is None else _tuning_of(tuning),
        made=str(fields["made"]),
    )


def _tuning_of(fields: Mapping[str, Any]) -> Tuning:
    seconds = {int(side): float(value) for side, value in fields["seconds_per_tile"].items()}
    return Tuning(int(fields["batch"]), int(fields["overlap"]), seconds)


def _versions() -> dict[str, Any]:
    found: dict[str, Any] = {"way of measuring": MEASURED_WITH}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            found[name] = installed_version(name)
    return found


def _processor() -> list[Any]:
    """Return what kind of processor this is, and how many of its cores the machine has."""
    name = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line for line in lines if line.startswith("model name")), name)
    return [name, os.cpu_count()]
