"""A scaling in words of MLM, of the command line and of files; and what is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.models.scaling.mlm import (
    record_of,
    scaling_json,
    scaling_of_json,
    scaling_of_record,
)
from segment_tiles.pipeline.models.scaling.text import parse_scaling
from segment_tiles.pipeline.models.scaling.usual import usual_values

MLM = [
    {"type": "min-max", "minimum": 0, "maximum": 255},
    {"type": "z-score", "mean": 3.5, "stddev": 2},
    {"type": "clip", "minimum": -1, "maximum": 1},
    {"type": "clip-min", "minimum": 4},
    {"type": "clip-max", "maximum": 5.5},
    {"type": "offset", "value": 7},
    {"type": "scale", "value": 3000},
    {"type": None},
]
"""One of every type of the specification's table."""
OURS = [
    {"type": "clip", "minimum": 0.0, "maximum": 3000.0},
    {"type": "min-max", "statistics": "scene", "percentiles": [2.0, 98.0], "over": "all"},
    {"type": "z-score", "statistics": "tile"},
]


def test_every_type_of_mlm_is_read_and_written() -> None:
    assert scaling_json(scaling_of_json(MLM)) == MLM
    assert scaling_of_json(None).chains == ((),)


def test_what_mlm_has_no_type_for_is_a_processing_expression() -> None:
    entry = {"type": "processing", "format": "segment-tiles", "expression": OURS}
    scaling = scaling_of_json([entry], "physical")
    assert scaling_json(scaling) == [entry]
    assert scaling_of_record(json.loads(json.dumps(record_of(scaling)))) == scaling
    alone = {**entry, "expression": OURS[2]}
    assert str(scaling_of_json([alone])) == "z-score of each tile, band by band"


@pytest.mark.parametrize(
    ("expression", "operations"),
    [
        ("A / 3000", "scale 3000"),
        ("A * 0.0001", "scale 10000"),
        ("(A - 100.5) / (2 * 50)", "offset 100.5 then scale 100"),
        ("clip(A, 0, 3000) / 3e3", "clip 0, 3000 then scale 3000"),
        ("numpy.maximum(A, -5) + 2", "clip-min -5 then offset -2"),
        ("minimum(10, A)", "clip-max 10"),
        ("1 - A / 255", "scale 255 then scale -1 then offset -1"),
        ("-A", "scale -1"),
    ],
)
def test_expressions_of_gdal_calc_that_are_chains_are_read(expression: str, operations: str) -> None:
    entry = {"type": "processing", "format": "gdal-calc", "expression": expression}
    assert str(scaling_of_json([entry])) == operations


@pytest.mark.parametrize(
    "expression",
    ["A * logical_or(A <= 177, A >= 185)", "A - B", "1 / A", "A ** 2", "A + A", "log(A)", "A / 0", "A +", "x" * 2000,
     "__import__('os')", "clip(A, 5, 1)", "A if 1 else 2", "A * 1if 1 else 2", "A + '\\d'", "A\0", "(" * 400 + "A"],
)  # fmt: skip
def test_other_expressions_are_refused(expression: str) -> None:
    entry = {"type": "processing", "format": "gdal-calc", "expression": expression}
    with pytest.raises(ValueError, match=r"value_scaling\.0: processing expression .* only a chain"):
        scaling_of_json([entry])


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        ([{"type": "quantile"}], r"value_scaling\.0\.type is 'quantile': it must be one of z-score, min-max"),
        ([{"mean": 1}], r"value_scaling\.0 lacks its type"),
        ([{"type": "min-max", "minimum": 0}], r"value_scaling\.0 lacks maximum"),
        ([{"type": "min-max", "minimum": 9, "maximum": 9}], "the minimum must be below the maximum"),
        ([{"type": "z-score", "mean": 0, "stddev": 0}], "must be above 0"),
        ([{"type": "z-score", "mean": True, "stddev": 1}], r"value_scaling\.0\.mean is True"),
        ([{"type": "scale", "value": 0}], "must not be 0"),
        (
            [{"type": "processing", "format": "python", "expression": "a:b"}],
            "format 'python' cannot be computed",
        ),
        (
            [{"type": "z-score", "statistics": "world"}],
            "'world' is not known: it must be fixed, scene or tile",
        ),
        ([{"type": "z-score", "statistics": "tile", "percentile": [1, 2]}], "percentile is not known"),
        ([{"type": "scale", "statistics": "tile"}], "scale has no statistics"),
        ([{"type": "clip", "statistics": "tile"}], "needs percentiles"),
        ([{"type": "clip", "statistics": "tile", "percentiles": [98, 2]}], "the first below the second"),
        ([{"type": "clip", "statistics": "tile", "percentiles": [2]}], "two numbers are needed"),
        (
            [[{"type": "z-score", "statistics": "tile"}, {"type": "min-max", "statistics": "scene"}]],
            "each tile",
        ),
        (
            [{"type": "z-score", "statistics": "tile", "over": "all"}, None],
            "the same operation in every entry",
        ),
        ([3], r"value_scaling\.0 is 3"),
        ([{"type": ["z-score"]}], r"type is \['z-score'\]"),
        ([{"type": "z-score", "statistics": ["tile"]}], r"statistics \['tile'\] is not known"),
        ([{"type": "z-score", "statistics": "tile", "over": {}}], "over {} is not known"),
        ([{"type": "z-score", "statistics": "tile", 7: 1}], "7 is not known"),
        ([{"type": "scale", "value": 10**400}], "value is 1000"),
        ([[[[[[[[[[[[]]]]]]]]]]]], "a list in too many lists"),
        ([[{"type": "scale", "value": 2}] * 33], "33 operations; 32 are the most"),
        ({}, "a list with an entry for every band"),
        ([], "a list with an entry for every band"),
    ],
)
def test_what_is_no_scaling_is_named(entries: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        scaling_of_json(entries)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("z-score:tile", "z-score of each tile, band by band"),
        ("min-max:0,3000", "min-max 0, 3000"),
        ("scale:3e+3", "scale 3000"),
        ("physical+scale:0.3", "physical values, scale 0.3"),
        ("clip:tile:2,98+min-max:tile:all", "clip at percentiles 2 and 98 of each tile, band by band then "
         "min-max of each tile, all bands together"),
        ("Z-Score:1.5,2", "z-score 1.5, 2"),
        ("none", "as it is"),
    ],
)  # fmt: skip
def test_the_grammar_of_the_command_line(text: str, shown: str) -> None:
    assert str(parse_scaling(text)) == shown


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("quantile:tile", "'quantile' is not known: give operations"),
        ("min-max:3000,0", "the minimum must be below the maximum"),
        ("min-max:0", "min-max needs minimum and maximum, as min-max:1,2"),
        ("z-score", "z-score needs mean and stddev"),
        ("z-score:a,b", "'a,b' is no list of numbers"),
        ("z-score:tile:2,98", "z-score has no percentiles"),
        ("min-max:tile:2", "two percentiles such as 2,98"),
        ("scale:nan", "scale needs a finite value"),
        ("z-score:tile+z-score:scene", "cannot be measured after an operation of each tile"),
        ("", "'' is not known"),
        ("missing.json", "the file cannot be read"),
        ("~nobody-of-this-name/a.yaml", "the file cannot be read"),
        ("scale:1e-60", "must not be 0"),
    ],
)
def test_texts_that_are_no_scaling_are_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as raised:
        parse_scaling(text)
    assert str(raised.value).startswith(f"--scaling is {text!r}; ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("suffix", [".json", ".yaml"])
def test_a_file_holds_what_a_manifest_holds(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"mine{suffix}"
    path.write_text(json.dumps({"values": "physical", "value_scaling": [*MLM[:2], [OURS[0], OURS[2]]]}))
    scaling = parse_scaling(str(path))
    assert (scaling.values, len(scaling.chains), len(scaling.chains[2])) == ("physical", 3, 2)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not"),
        ("", "(is not JSON|holds nothing)"),
        ('{"scaling": []}', "the file has 'scaling'"),
        ("[7]", "is 7"),
    ],
)
@pytest.mark.parametrize("suffix", [".json", ".yml"])
def test_a_file_that_holds_something_else_is_refused(
    tmp_path: Path, suffix: str, content: str, said: str
) -> None:
    path = tmp_path / f"mine{suffix}"
    path.write_text(content)
    with pytest.raises(UsageError, match=said):
        parse_scaling(str(path))


def test_usual_values_become_what_a_network_is_trained_on() -> None:
    assert usual_values(parse_scaling("z-score:120,60"), 2, "uint8") == ([120.0, 120.0], [60.0, 60.0])
    assert usual_values(parse_scaling("clip:0,3000+scale:3000"), 1, "uint16") == ([1500.0], [750.0])
    assert usual_values(parse_scaling("z-score:tile"), 1, "uint16") == ([5000.0], [2500.0])
