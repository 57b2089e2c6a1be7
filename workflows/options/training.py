"""The options of `segment-tiles train`, declared once; what is trained is said by a configuration file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.options.declare import argument, chosen, option, options_of
from segment_tiles.workflows.options.keywords import values_of
from segment_tiles.workflows.options.parsers import parse_device

MOST_SEEDS: Final = 100
MOST_RATES: Final = 10_000


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """One training, as asked for."""

    config: Path = argument("Scenes, classes, network, training.", metavar="CONFIG.yaml")
    out: Path = option("Folder or URL of the model, logs, pictures.", metavar="DIR")
    data: Path | None = option(
        "Where relative paths start; default: beside CONFIG.", default=None, metavar="DIR"
    )
    device: str = option(chosen(RunConfig, "device")[0].help, default="auto", parse=parse_device)
    resume: bool = option("Go on from the checkpoint in --out.", default=False)
    restart: bool = option("Begin anew if --out has a checkpoint.", default=False)
    pretrained: bool = option(
        "Start from timm's ImageNet weights, downloaded if they are not there.", default=False
    )
    leave_out: str | None = option(
        "Score this scene or fold and never train on it.", default=None, metavar="SCENE"
    )
    each_scene_left_out: bool = option(
        "Also train without each scene or fold in turn; scores go into the model.",
        default=False,
    )
    seeds: int = option(
        "Train so often, each time from another seed; the model is the first, mean and spread go into it.",
        default=1,
        minimum=1,
    )

    def __post_init__(self) -> None:
        if not 1 <= self.seeds <= MOST_SEEDS:
            msg = f"--seeds is {self.seeds}; it must be from 1 to {MOST_SEEDS}"
            raise UsageError(msg)


@dataclass(frozen=True, slots=True)
class RateConfig:
    """A search of the learning rate, as asked for."""

    config: Path = argument("Scenes, classes, network, training.", metavar="CONFIG.yaml")
    data: Path | None = option(
        "Where relative paths start; default: beside CONFIG.", default=None, metavar="DIR"
    )
    device: str = option(chosen(RunConfig, "device")[0].help, default="auto", parse=parse_device)
    steps: int = option("Learning rates that are tried, a step each.", default=100, minimum=10)

    def __post_init__(self) -> None:
        if not 10 <= self.steps <= MOST_RATES:
            msg = f"--steps is {self.steps}; it must be from 10 to {MOST_RATES}"
            raise UsageError(msg)


def rate_config_from(**options: Any) -> RateConfig:
    """Return what options ask for, by their names on the command line with ``_`` for ``-``.

    Raises
    ------
    TypeError
        If a name is none of the options, or ``config`` is missing.
    UsageError
        If a value is wrong; the text is that of the command line.
    """
    return RateConfig(**values_of(options_of(RateConfig), options))


def train_config_from(**options: Any) -> TrainConfig:
    """Return what options ask for, by their names on the command line with ``_`` for ``-``.

    Raises
    ------
    TypeError
        If a name is none of the options, or ``config`` or ``out`` is missing.
    UsageError
        If a value is wrong; the text is that of the command line.
    """
    return TrainConfig(**values_of(options_of(TrainConfig), options))
