"""Options given by name, as Python, the command line and jobs files hand them over, become values of fields."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from segment_tiles.workflows.options.declare import Option


def values_of(options: Sequence[Option], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return field -> value of the options that were given.

    Parameters
    ----------
    options
        All that there are.
    given
        Keyword -> value or text; None: not given.

    Raises
    ------
    TypeError
        If a keyword is no option, with the nearest one, or an option that must be given is missing.
    UsageError
        If a value is wrong.
    """
    known = {declared.keyword: declared for declared in options}
    for keyword in given:
        if keyword not in known:
            near = difflib.get_close_matches(keyword, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            msg = f"{keyword!r} is no option; {hint}"
            raise TypeError(msg)
    for keyword, declared in known.items():
        if declared.is_required and given.get(keyword) is None:
            msg = f"the option {keyword!r} is missing; it is needed: {declared.help}"
            raise TypeError(msg)
    return {
        known[keyword].field: known[keyword].read(value)
        for keyword, value in given.items()
        if value is not None
    }
