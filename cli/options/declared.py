"""Options of the command line made of declarations, which `workflows` has: here is nothing to declare."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from segment_tiles.workflows.options.declare import Option

Command = Callable[..., None]
Given = dict[str, Any]
"""Keyword -> text of the options that a user gave, or whose default is a text."""


def with_options(declared: Sequence[Option]) -> Callable[[Command], Command]:
    """Give a command declared options in place of its parameter ``options``.

    That one gets keyword -> text of those that were given; the other parameters stay as they are.
    """

    def made(function: Command) -> Command:
        keywords = [entry.keyword for entry in declared]
        parameters: list[inspect.Parameter] = []
        for parameter in inspect.signature(function, eval_str=True).parameters.values():
            parameters += (
                [parameter_of(entry) for entry in declared] if parameter.name == "options" else [parameter]
            )

        def command(**values: Any) -> None:
            given = {keyword: values.pop(keyword) for keyword in keywords}
            function(options={key: value for key, value in given.items() if value is not None}, **values)

        return with_parameters(command, function, parameters)

    return made


def with_parameters(command: Command, function: Command, parameters: Sequence[inspect.Parameter]) -> Command:
    """Return a command that Typer takes for a function of these parameters, with the help of another function."""
    by_name = [entry.replace(kind=inspect.Parameter.KEYWORD_ONLY) for entry in parameters]
    command.__doc__, command.__module__ = function.__doc__, function.__module__
    command.__annotations__ = {}
    command.__signature__ = inspect.Signature(by_name)  # type: ignore[attr-defined]
    return command


def parameter_of(declared: Option) -> inspect.Parameter:
    """Return the parameter that Typer reads; its numbers are text, which the declaration reads."""
    kind: Any = declared.type if declared.type in {bool, Path} or declared.is_counted else str
    if declared.is_repeated:
        kind = list[kind]
    default: Any = declared.default
    if kind is str and default is not None:
        default = str(default)
    if not declared.is_required and default is None:
        kind = kind | None
    details: Any
    if declared.is_argument:
        details = typer.Argument(metavar=declared.metavar, help=declared.help)
    else:
        # what happens unless it is refused has a name for that
        long = f"--{declared.name}/--no-{declared.name}" if declared.default is True else f"--{declared.name}"
        names = [f"-{declared.short}"] * bool(declared.short) + [long]
        details = typer.Option(
            *names,
            metavar=declared.metavar,
            help=declared.help,
            count=declared.is_counted,
            show_default=not declared.is_counted,
        )
    return inspect.Parameter(
        declared.keyword,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if declared.is_required else default,
        annotation=Annotated[kind, details],
    )
