"""An option is declared once, as a field of a frozen dataclass: its name, help, default, and how its text is read.

From the declaration come the option of the command line, the key of a jobs file, the keyword in Python and the page
of reference. Nothing heavy is imported here: the command line reads the declarations to print its help.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

from segment_tiles.pipeline.errors import UsageError

_KEY: Final = "option"
"""Of the metadata of a field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option, whatever door it comes in by."""

    name: str = ""
    """Of the command line and of a jobs file, without dashes before it: ``nodata-rule``."""
    field: str = ""
    """Name of the field of the configuration."""
    help: str
    """One sentence for the user."""
    short: str = ""
    """One letter for the same: ``v`` of ``-v``."""
    metavar: str | None = None
    """What stands for the value in the help."""
    default: Any = None
    """What the user would type to get what happens without the option; None: there is no such text."""
    is_required: bool = False
    """The user must give it."""
    is_argument: bool = False
    """Given by its position, not by its name."""
    type: type = str
    """Of a value, or of one entry of a list: str, int, float, bool or Path."""
    is_list: bool = False
    """The value is a tuple of such entries."""
    is_counted: bool = False
    """The value is how often it is given."""
    choices: tuple[str, ...] = ()
    """All texts that are accepted; empty: it depends."""
    minimum: float | None = None
    """Smallest number that a jobs file may hold; of a list, in it."""
    above: float | None = None
    """Number that all of a jobs file are above."""
    below: float | None = None
    """Number that all of a jobs file are below."""
    pattern: str | None = None
    """Regular expression of the texts that a jobs file may hold."""
    parse: Callable[[str], Any] | None = None
    """Makes the value of the text; None: the type says how."""
    in_jobs: bool = True
    """Whether it is a key of a jobs file."""
    or_number: bool = False
    """A jobs file may hold a number in place of the text."""
    is_file: bool = False
    """Names a file: relative to the jobs file in which it stands."""

    @property
    def keyword(self) -> str:
        """Name of the keyword in Python."""
        return self.name.replace("-", "_")

    @property
    def is_repeated(self) -> bool:
        """Whether the command line takes it several times, each time an entry; else a list is one text."""
        return self.is_list and self.parse is None

    @property
    def shown(self) -> str:
        """Name as messages have it: ``--nodata-rule``, or ``SOURCE`` of an argument."""
        return (self.metavar or self.name.upper()) if self.is_argument else f"--{self.name}"

    def read(self, value: Any) -> Any:
        """Return the value of the field.

        Parameters
        ----------
        value
            Text as on the command line, or the value itself, as Python and jobs files have it; not None.

        Raises
        ------
        UsageError
            With the option, the value, and what is accepted.
        """
        if self.parse is not None:
            return self.parse(_text(value))
        if not self.is_list:
            return self._read_one(value)
        return tuple(self._read_one(entry) for entry in ([value] if _is_one(value) else value))

    def _read_one(self, value: Any) -> Any:
        try:
            # of these Python would make a value: int(0.5) is 0, float(True) is 1.0
            if isinstance(value, bool) != (self.type is bool) or (
                self.type is int and isinstance(value, float)
            ):
                raise TypeError
            return self.type(value)
        except (TypeError, ValueError, OverflowError) as error:
            shown = value if isinstance(value, str) else str(value)
            msg = f"{self.shown} is {shown[:60]!r}; give {_WANTED[self.type]}"
            raise UsageError(msg) from error


_WANTED: Final = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "text",
    Path: "a path",
}


def _is_one(value: Any) -> bool:
    return isinstance(value, str | Path) or not isinstance(value, Iterable)


def _text(value: Any) -> str:
    """Return a value of Python or a jobs file as it is typed on the command line: entries of a list by commas."""
    return str(value) if _is_one(value) else ",".join(_entry(str(entry)) for entry in value)


def _entry(text: str) -> str:
    """Return an entry of a list; one with a comma is quoted, as names of classes may be."""
    return f'"{text}"' if "," in text else text


def option(help: str, *, default: Any = MISSING, **declared: Any) -> Any:
    """Declare a field of a configuration as an option.

    Parameters
    ----------
    help
        One sentence for the user.
    default
        Of the field; without it the user must give the option.
    declared
        Further fields of `Option`. ``typed`` is the text that gives the default, if it is not the default itself.

    Returns
    -------
    Any
        A field of a dataclass.
    """
    typed = declared.pop("typed", None if default is MISSING or default == () else default)
    shown_in_repr = declared.pop("repr", True)
    made = Option(help=help, default=typed, is_required=default is MISSING, **declared)
    return field(default=default, repr=shown_in_repr, metadata={_KEY: made})


def argument(help: str, *, metavar: str, **declared: Any) -> Any:
    """Declare a field of a configuration as an argument: an option that is given by its position."""
    return option(help, metavar=metavar, is_argument=True, in_jobs=False, **declared)


def options_of(configuration: type) -> tuple[Option, ...]:
    """Return the options that the fields of a configuration declare, in their order: those it shares come last."""
    if configuration not in _OPTIONS_OF:
        hints = get_type_hints(configuration)
        _OPTIONS_OF[configuration] = tuple(
            _completed(entry.metadata[_KEY], entry.name, hints[entry.name])
            # a configuration takes what it shares with others by inheritance, from one whose fields are by name alone
            for entry in sorted(fields(configuration), key=lambda entry: bool(entry.kw_only))
            if _KEY in entry.metadata
        )
    return _OPTIONS_OF[configuration]


_OPTIONS_OF: Final[dict[type, tuple[Option, ...]]] = {}
"""Of every configuration that was asked for: reading the types of its fields takes milliseconds."""


def chosen(configuration: type, *fields: str) -> tuple[Option, ...]:
    """Return some of the options of a configuration, by the names of its fields."""
    by_field = {entry.field: entry for entry in options_of(configuration)}
    return tuple(by_field[name] for name in fields)


def _completed(declared: Option, name: str, hint: Any) -> Option:
    """Return an option with what the name and the type of its field say."""
    held = [part for part in get_args(hint) if part is not types.NoneType]
    kind = held[0] if get_origin(hint) in {Union, types.UnionType} else hint
    is_list = get_origin(kind) is tuple
    if is_list:
        kind = get_args(kind)[0]
    choices = declared.choices
    if not isinstance(kind, type):  # a Literal
        kind, choices = str, choices or tuple(map(str, get_args(kind)))
    return replace(
        declared,
        name=declared.name or name.replace("_", "-"),
        field=name,
        type=kind,
        is_list=is_list,
        choices=choices,
    )


def one_of(choices: Sequence[str]) -> str:
    """Return what is accepted, as the help says it.

    >>> one_of(["gaussian", "hann", "crop"])
    'gaussian, hann or crop'
    """
    return f"{', '.join(choices[:-1])} or {choices[-1]}"


def check_choices(configuration: object) -> None:
    """Refuse a configuration with a value that is none of the accepted ones.

    Raises
    ------
    UsageError
        With the option, the value, and all that are accepted.
    """
    for declared in options_of(type(configuration)):
        value = getattr(configuration, declared.field)
        if declared.choices and not declared.is_list and value not in {None, *declared.choices}:
            msg = f"{declared.shown} is {value!r}; it must be one of {', '.join(declared.choices)}"
            raise UsageError(msg)
