"""`segment-tiles model`: list, inspect and import models."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from segment_tiles.cli.options.common import Json, Model
from segment_tiles.cli.options.declared import Given, with_options
from segment_tiles.cli.terminal.console import print_json, text_console
from segment_tiles.workflows.buckets.address import shown_out
from segment_tiles.workflows.options.declare import chosen, options_of
from segment_tiles.workflows.options.keywords import values_of
from segment_tiles.workflows.options.model_import import ImportRequest, import_request_from

app = typer.Typer(no_args_is_help=True, help="Models: bundled, local, and other projects' checkpoints.")

INSPECTED = chosen(ImportRequest, "trust")
STRIDED = chosen(ImportRequest, "out")
"""Options that mean what they mean for `model import`."""


@app.command("list")
def list_command(
    folders: Annotated[
        list[str] | None,
        typer.Argument(metavar="[DIR_OR_URL]...", help="Model packages to list beside the bundled."),
    ] = None,
    json: Json = False,
) -> None:
    """List the bundled models, and model packages in folders."""
    from segment_tiles.workflows.model_packages.library import list_models

    models = list_models(folders or [])
    if json:
        print_json(models)
        return
    from rich.table import Table

    from segment_tiles.pipeline.models.packages.card import scores_text

    table = Table("model", "network", "bands", "classes", "tile", "scores")
    table.columns[0].no_wrap = True
    for model in models:
        network = f"{model['architecture']}, {model['backbone']}"
        bands, classes = ", ".join(model["bands"]), ", ".join(model["classes"])
        told = scores_text(model["scores"])
        table.add_row(model["name"], network, bands, classes, str(model["tile"]), told)
    console = text_console()
    console.print(table)
    for model in models:
        if model["description"]:
            console.print(f"{model['name']}: {model['description']}", highlight=False, soft_wrap=True)


@app.command("inspect")
@with_options(INSPECTED)
def inspect_command(
    model: Model,
    options: Given,
    scene: Annotated[
        str | None,
        typer.Option(
            "--scene", metavar="SOURCE", help="Also measure how far its tiles disagree on this raster."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Say what a model is: network, parameters, multiply-adds of a tile, reach against the halo."""
    from segment_tiles.workflows.model_packages.library import inspect_model

    document = inspect_model(model, scene=scene, **values_of(INSPECTED, options))
    if json:
        print_json(document)
        return
    _print_rows(_inspection_rows(document))
    for warning in document["warnings"]:
        print(f"warning: {warning}")


@app.command("import")
@with_options(options_of(ImportRequest))
def import_command(options: Given, json: Json = False) -> None:
    """Make a model package of another project's checkpoint or graph."""
    request = import_request_from(**options)
    from segment_tiles.workflows.buckets.commands.model_packages import import_model

    result = import_model(request).to_json()
    if json:
        print_json(result)
        return
    _print_rows({"package": shown_out(request.out), **{key: _text(value) for key, value in result.items()}})


@app.command("stride")
@with_options(STRIDED)
def stride_command(
    model: Model,
    options: Given,
    output_stride: Annotated[int, typer.Option("--output-stride", metavar="N", help="8, 16 or 32.")],
    json: Json = False,
) -> None:
    """Run the same weights at another output stride: rates and dilation follow."""
    from segment_tiles.workflows.buckets.commands.model_packages import change_output_stride

    (out,) = values_of(STRIDED, options).values()
    architecture = change_output_stride(model, out, output_stride).architecture
    result = {
        "package": shown_out(out),
        "output_stride": architecture.output_stride,
        "atrous_rates": list(architecture.atrous_rates),
        "image_pooling_window": architecture.image_pooling_window,
    }
    if json:
        print_json(result)
        return
    _print_rows({key: _text(value) for key, value in result.items()})


def _inspection_rows(document: dict[str, Any]) -> dict[str, str]:
    from segment_tiles.pipeline.models.packages.card import scores_text

    architecture = document["architecture"]
    rows = {"name": document["name"], **{key: _text(value) for key, value in architecture.items()}}
    shown = (
        ("bands", "dtype", "classes")
        if document["mean"] is None
        else ("bands", "dtype", "mean", "std", "classes")
    )
    rows |= {key: _text(document[key]) for key in shown}
    if document["heads"]:
        rows["heads"] = "; ".join(f"{name}: {', '.join(names)}" for name, names in document["heads"].items())
    if document["mean"] is None:
        rows["scaling"] = document["scaling"]
    if document["parameters"] is not None:
        rows["parameters"] = f"{document['parameters'] / 1e6:.2f} M"
        rows["multiply-adds"] = f"{document['multiply_adds'] / 1e9:.2f} G for a tile of {document['tile']} px"
    rows["halo"] = f"{document['halo']} px (tile {document['tile']}, overlap {document['overlap']:.4g})"
    rows["output"] = _output(document)
    if document["reach"] is not None:
        reach = document["reach"]
        rows["reach"] = (
            f"{reach['effective']} px hold 99 % of the gradient, furthest {reach['furthest']} px "
            f"(measured to {reach['measured']} px)"
        )
    if document["seams"] is not None:
        seams = document["seams"]
        rows["seams"] = (
            f"neighbouring tiles give {seams['class_share']:.2%} of the pixels of their overlaps different classes; "
            f"scores differ by {seams['score_difference']:.4f} on average"
        )
    rows["description"] = document["description"]
    rows["scores"] = scores_text(document["scores"]) or "none in the package"
    for number, limit in enumerate(document["limits"], 1):
        rows[f"limit {number}"] = limit
    rows["weights"] = f"sha256 {document['weights_checksum']}"
    return rows


def _output(document: dict[str, Any]) -> str:
    output = document["output"]
    parts = [f"cropped by {output['margin']} px on each side"] if output["margin"] else []
    if output["coarser"] > 1:
        corners = ", corners aligned" if output["align_corners"] else ""
        parts.append(f"one of its pixels for {output['coarser']} x {output['coarser']} (bilinear{corners})")
    if output["multi_label"]:
        parts.append("classes may overlap (a sigmoid each)")
    parts.append("tiles of this side alone" if output["fixed_side"] else "tiles of any side")
    return "; ".join(parts)


def _print_rows(rows: dict[str, str]) -> None:
    from rich.table import Table

    table = Table(show_header=False)
    for name, value in rows.items():
        table.add_row(name, value)
    text_console().print(table)


def _text(value: object) -> str:
    return ", ".join(str(part) for part in value) if isinstance(value, list) else str(value)
