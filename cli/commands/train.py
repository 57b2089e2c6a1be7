"""segment-tiles train."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segment_tiles.cli.terminal.console import print_json, text_console

Config = Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="Scenes, classes, network, training.")]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the model, logs, pictures.")]
Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Where relative paths start; default: beside CONFIG."),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in --out.")]
Pretrained = Annotated[
    bool, typer.Option("--pretrained", help="Start from timm's ImageNet weights, downloaded where needed.")
]
LeaveOut = Annotated[
    str | None,
    typer.Option("--leave-out", metavar="SCENE", help="Score this scene and never train on it."),
]
EachSceneLeftOut = Annotated[
    bool,
    typer.Option(
        "--each-scene-left-out", help="Also train without each scene in turn; scores go into the model."
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress on stderr.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def command(
    config: Config,
    out: Out,
    data: Data = None,
    device: Device = "auto",
    resume: Resume = False,
    pretrained: Pretrained = False,
    leave_out: LeaveOut = None,
    each_scene_left_out: EachSceneLeftOut = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train a model from labelled scenes; under torchrun on several GPUs."""
    import json

    from segment_tiles.cli.terminal.training_progress import ConsoleProgress, score_table
    from segment_tiles.workflows.training.config import read_training_config, with_pretrained_backbone
    from segment_tiles.workflows.training.train import REPORT_FILE, train

    settings = read_training_config(config)
    if pretrained:
        settings = with_pretrained_backbone(settings)
    with ConsoleProgress(quiet=quiet) as progress:
        report = train(
            settings,
            data or config.parent,
            out,
            progress,
            device_name=device,
            resume=resume,
            leave_out=leave_out,
            each_scene_left_out=each_scene_left_out,
        )
    if not report.scores:  # a further process of torchrun: the first one speaks
        return
    if as_json:
        print_json(json.loads((out / REPORT_FILE).read_text(encoding="utf-8")))
        return
    console = text_console()
    console.print(score_table(report))
    console.print(f"Model package: {report.model}")
