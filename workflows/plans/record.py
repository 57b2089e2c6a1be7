"""The fingerprint of a run: every setting that can change a byte of the result, and nothing else.

Workers, memory, Regions and formats are not in it: the result does not depend on them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from segment_tiles.pipeline.durable import write_whole
from segment_tiles.pipeline.errors import ChangedRunError, OutputError, UsageError, one_line
from segment_tiles.pipeline.grid.objects import rules_json
from segment_tiles.pipeline.installed import installed_version
from segment_tiles.pipeline.json_text import json_text
from segment_tiles.pipeline.names import is_stack, is_url, shown_name
from segment_tiles.pipeline.sources.areas.tissue import TissueMask
from segment_tiles.pipeline.sources.areas.vector_file import content_checksum
from segment_tiles.pipeline.sources.stacks.description import identity_of
from segment_tiles.pipeline.sources.versions.version import (
    Version,
    differing,
    is_same_version,
    reads_overviews,
    source_version,
)
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.plans.compute.kept_probe import Probe
from segment_tiles.workflows.scenes.computed_area import AreaChecksums
from segment_tiles.workflows.scenes.registry import kind_named
from segment_tiles.workflows.scenes.scene import Scene, SceneMask
from segment_tiles.workflows.scenes.scene_statistics import scaling_settings, shown_scalings

MASK_IDENTITY: Final = {"--model", "model.json", "--bands", "--tile", "--overlap"}
"""Settings of the run of a mask that always stand in the record of the run that it limits."""
HEAD: Final = "--head"
"""Setting that records of earlier versions do not have: there ``model.json`` alone says which it was."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What ``run.json`` of an output directory holds."""

    settings: Mapping[str, Any]
    """From the user, the source and the model."""
    choices: Mapping[str, Any]
    """From the probe: precision, batch, backend, device name."""

    @property
    def fingerprint(self) -> str:
        """sha256 over all of it, hexadecimal."""
        text = json_text({"settings": self.settings, "choices": self.choices}, sort_keys=True, indent=None)
        return sha256(text.encode()).hexdigest()


def settings_of(config: RunConfig, scene: Scene) -> dict[str, Any]:
    """Return the settings of a run that are known before the probe, as plain JSON values."""
    own = _own_settings(config, scene)
    return own if scene.mask is None else own | _mask(own, scene.mask)


def _own_settings(config: RunConfig, scene: Scene) -> dict[str, Any]:
    return {
        "source": source_name(scene.uri),
        "source version": source_version(scene.uri, overviews=reads_overviews(config.level, scene.view)),
        "--bands": list(scene.bands),
        "--roi": [scene.roi.row, scene.roi.column, scene.roi.height, scene.roi.width],
        "--aoi": None if config.aoi is None else content_checksum(config.aoi),
        "--nodata": scene.spec.nodata_summary,
        "--nodata-rule": config.nodata_rule,
        # the other one is a file of the same name
        **({"--dicom-seg": config.dicom_seg} if config.dicom_seg != "binary" else {}),
        "--alpha": config.alpha,
        "--level": scene.level,
        "--mpp": scene.view.mpp,
        "--source-mpp": scene.view.source_mpp,
        **_pixels(scene),
        "--z": scene.view.z,
        "--t": scene.view.t,
        "--tissue": _tissue_version(scene.tissue),
        "--model": scene.manifest.weights_checksum,
        **_head(config, scene),
        # the same weights can be scaled, or their classes be named, otherwise
        "model.json": scene.manifest.map_checksum,
        # of polygons alone, but the store says them too; most models have none
        **({"objects of model.json": rules_json(scene.classes.objects)} if scene.classes.objects else {}),
        **scaling_settings(scene),
        "--tile": scene.lattice.tile,
        "--overlap": scene.lattice.overlap / scene.lattice.tile,
        "--blend": config.blend,
        **_looks(config, scene),
        # of runs without, nothing: those of earlier versions can go on
        **_thresholds(scene),
        **({} if scene.reclass is None else {"--reclass": scene.reclass.as_plain()}),
        "--scores": config.scores,
        "program version": installed_version("segment-tiles"),
        **kind_named(scene.kind).settings(scene),
    }


def _head(config: RunConfig, scene: Scene) -> dict[str, Any]:
    """Return which output of a model that has several is computed; asked before ``model.json``, which it changes."""
    heads = scene.manifest.heads
    return {HEAD: config.head or heads[0].name} if heads else {}


def _thresholds(scene: Scene) -> dict[str, Any]:
    """Return by which bytes classes are given, by their names, if not by the highest."""
    if scene.decision is None:
        return {}
    names = scene.manifest.classes.names
    found: dict[str, Any] = {"--threshold": {names[code]: byte for code, byte in scene.decision.thresholds}}
    return found | ({} if scene.decision.unsure is None else {"--unsure": scene.decision.unsure})


def _mask(own: Mapping[str, Any], mask: SceneMask) -> dict[str, Any]:
    """Return which classes of which model limit a run, and what of that model's run is not as in the run's own."""
    settings = settings_of(mask.config, mask.scene)
    found: dict[str, Any] = {f"mask {'keeps' if mask.keeps else 'leaves out'}": sorted(mask.names)}
    for name in sorted(own.keys() | settings.keys()):
        # the version is compared by the record of the mask: with overviews it may be another one of the same file
        if name != "source version" and (name in MASK_IDENTITY or own.get(name) != settings.get(name)):
            found[f"mask {name}"] = settings.get(name)
    return found


def _pixels(scene: Scene) -> dict[str, Any]:
    """Return at which size of pixels a scene is computed, and on which grid its result lies, if it is resampled."""
    found: dict[str, Any] = {}
    if scene.view.metres is not None:
        found["--resolution"] = scene.view.metres
    if scene.view.metres is not None or scene.result.result_grid is not None:
        found["--grid"] = "model" if scene.result.result_grid is None else "source"
    if scene.result.coarser > 1:
        found["--grid"], found["coarser"] = "model", scene.result.coarser
    return found


def _looks(config: RunConfig, scene: Scene) -> dict[str, Any]:
    """Return what distinguishes averages of several looks at a tile, which most runs are not."""
    found: dict[str, Any] = {}
    if config.augmentation != "none":
        found["--tta"] = config.augmentation
    if scene.companions:
        found["further --model"] = [manifest.map_checksum for _, manifest in scene.companions]
    return found


def choices_of(probe: Probe) -> dict[str, Any]:
    """Return what the probe chose, as it stands in the record."""
    return {
        "precision": probe.precision,
        "batch": probe.batch,
        "backend": probe.backend,
        "device_name": probe.device_name,
        **({"calibrations": list(probe.calibrations)} if probe.calibrations else {}),
    }


def source_name(uri: str) -> str:
    """Return what identifies a source: its absolute path, or its URL without what may change under it.

    Of a stack all that it is made of.
    """
    if is_stack(uri):
        return identity_of(uri)
    return shown_name(uri) if is_url(uri) else str(Path(uri).absolute())


def _tissue_version(tissue: TissueMask | Path | None) -> str | None:
    """Return the checksum of what limits a run to tissue."""
    if tissue is None:
        return None
    return tissue.checksum if isinstance(tissue, TissueMask) else content_checksum(tissue)


def area_checksums(settings: Mapping[str, Any]) -> AreaChecksums:
    """Return the checksums of the files of AOI and tissue in the settings of a run.

    A mask of tissue that was found in the slide has one too: nothing is read again for it, and nothing compared.
    """
    return settings.get("--aoi"), settings.get("--tissue")


def read_record(path: Path) -> RunRecord | None:
    """Return the record of an output directory, or None if there is none.

    Raises
    ------
    OutputError
        If it is there but cannot be understood.
    """
    if not path.exists():
        return None
    try:
        fields = json.loads(path.read_text())
        record = RunRecord(fields["settings"], fields["choices"])
        if record.fingerprint != fields["fingerprint"]:
            raise ValueError("its fingerprint is of other settings")
        return record
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"{path}: cannot be understood ({one_line(error)}); use --restart or another --out"
        raise OutputError(msg) from error


def write_record(path: Path, record: RunRecord) -> None:
    """Write the record: whole, under its final name at once, and on the disk."""
    text = {"fingerprint": record.fingerprint, "settings": record.settings, "choices": record.choices}
    write_whole(path, json_text(text))


def check_same_run(record: RunRecord, settings: Mapping[str, Any], config: RunConfig, out: Path) -> None:
    """Refuse to go on with the work of a run that had other settings.

    Raises
    ------
    ChangedRunError
        Naming the first setting that differs, what it was, and what it is.
    """
    plain = json.loads(json_text(settings, indent=None))
    asked = {
        "--precision": ("precision", config.precision),
        "--batch": ("batch", config.batch),
        "--backend": ("backend", config.backend),
    }
    for name in [*plain, *record.settings]:
        before, now = record.settings.get(name), plain.get(name)
        if name == "source version":
            # a server has told nothing, this time or before
            is_silent = is_url(str(plain.get("source"))) and (before is None or now is None)
            is_same = is_silent or is_same_version(before, now)
        elif name.endswith(HEAD) and name not in record.settings:
            is_same = True
        else:
            is_same = before == now
        if not is_same:
            _refuse(out, name, before, now)
    for option, (name, value) in asked.items():
        if value not in {None, "auto", record.choices.get(name)}:
            _refuse(out, option, record.choices.get(name), value)


def check_same_source(record: RunRecord, now: Version, out: Path) -> None:
    """Refuse a finished run whose source is there, but another than the one of the run.

    Raises
    ------
    ChangedRunError
        With both versions. What cannot be known of either is not compared.
    """
    before = record.settings.get("source version")
    if before is not None and now is not None and not is_same_version(before, now):
        _refuse(out, "source version", before, now)


def _refuse(out: Path, name: str, before: Any, now: Any) -> None:
    if name == "--scaling" and shown_scalings(before) != shown_scalings(now):
        before, now = shown_scalings(before), shown_scalings(now)
    before, now = differing(before, now)
    msg = (
        f"{out}: holds a run with another setting: {name} was {before}, is now {now}; "
        "give the same settings to go on, --restart to begin anew, or another --out"
    )
    raise ChangedRunError(msg)


def require_device(record: RunRecord, probe: Probe) -> None:
    """Refuse to go on with a run on another kind of device: its numbers would differ.

    Raises
    ------
    UsageError
        Naming both devices.
    """
    before = record.choices.get("device_name")
    if before != probe.device_name:
        msg = (
            f"the run was begun on {before}, this is {probe.device_name}: the bytes would differ; "
            "choose the same with --device, or use --restart"
        )
        raise UsageError(msg)
