"""`import segment_tiles`: what it gives, what it costs, and that its examples are true."""

from __future__ import annotations

import doctest
import subprocess
import sys
import warnings
from collections.abc import Iterator
from importlib import import_module
from inspect import isfunction
from pathlib import Path
from typing import Required, get_args, get_origin, get_type_hints

import pytest

import segment_tiles as st
from segment_tiles.pipeline import errors
from segment_tiles.workflows.config import PLAN_OPTIONS, RunConfig
from segment_tiles.workflows.face import keywords
from segment_tiles.workflows.options.declare import Option, options_of
from segment_tiles.workflows.options.evaluation import EvaluateConfig
from segment_tiles.workflows.options.polygons import PolygonizeConfig
from segment_tiles.workflows.options.training import TrainConfig

HEAVY = (
    "torch",
    "numpy",
    "rasterio",
    "osgeo",
    "xarray",
    "dask",
    "zarr",
    "pydantic",
    "typer",
    "importlib.metadata",
)
MODULES = sorted(home for home in st._HOMES if ".face." in home)


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_it_brings_nothing_heavy() -> None:
    code = f"import sys; import segment_tiles; print([m for m in {HEAVY} if m in sys.modules])"
    assert run_python(code) == "[]"


def test_models_are_listed_without_torch_and_gdal() -> None:
    code = "import sys, segment_tiles as st; st.list_models(); print(sorted({'torch', 'rasterio'} & set(sys.modules)))"
    assert run_python(code) == "[]"


def test_every_public_name_is_there_once_and_no_other() -> None:
    assert sorted(set(st.__all__)) == st.__all__
    for name in st.__all__:
        assert getattr(st, name) is not None, name
    assert set(st.__all__) <= set(dir(st))
    with pytest.raises(AttributeError, match="no attribute 'segmnt'"):
        _ = st.segmnt  # type: ignore[attr-defined]


def test_all_errors_of_the_program_are_of_the_family_and_public() -> None:
    found = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert found <= set(st.__all__)
    assert all(issubclass(getattr(st, name), st.SegmentTilesError | Warning) for name in found)
    assert issubclass(st.InstallationError, st.SegmentTilesError)


@pytest.mark.parametrize(
    ("typed", "declared"),
    [
        (keywords.RunKeywords, options_of(RunConfig)),
        (keywords.PlanKeywords, PLAN_OPTIONS),
        (keywords.PolygonizeKeywords, options_of(PolygonizeConfig)),
        (keywords.EvaluateKeywords, options_of(EvaluateConfig)),
        (keywords.TrainKeywords, options_of(TrainConfig)),
    ],
)
def test_what_editors_show_is_what_is_declared(typed: type, declared: tuple[Option, ...]) -> None:
    known = {entry.keyword: entry for entry in declared if not entry.is_argument}
    hints = get_type_hints(typed, localns={"Model": st.Model}, include_extras=True)
    assert set(hints) == set(known)
    needed = {name for name, hint in hints.items() if get_origin(hint) is Required}
    assert needed == {name for name in known if known[name].is_required}
    for name, entry in known.items():
        shown = {value for value in get_args(hints[name]) if isinstance(value, str)}
        if shown and name != "batch":
            assert shown == set(entry.choices), name


@pytest.fixture
def quiet_warnings() -> Iterator[None]:
    """Examples show results; what is warned of is seen by the tests of each."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.usefixtures("example_folder", "quiet_warnings")
def test_examples_of_the_face(name: str) -> None:
    pytest.importorskip("rioxarray")
    done = doctest.testmod(import_module(name), optionflags=doctest.ELLIPSIS)
    assert done.attempted > 1
    assert done.failed == 0


def test_every_public_function_has_an_example_that_is_run() -> None:
    for name in st.__all__:
        value = getattr(st, name)
        if isfunction(value) or name == "Result":
            assert ">>> import segment_tiles as st" in value.__doc__, name
            assert value.__module__ in MODULES, name


def test_the_example_of_the_package_is_true(example_folder: Path) -> None:
    pytest.importorskip("rioxarray")
    done = doctest.testmod(st)
    assert done.attempted > 1
    assert done.failed == 0
