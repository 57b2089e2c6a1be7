"""Examples in docstrings are true, under the installed names."""

import doctest
import importlib
import pkgutil
import warnings

import pytest

import segment_tiles
import segment_tiles.pipeline
import segment_tiles.workflows

OWN_TESTS = {home for home in segment_tiles._HOMES if ".face." in home}
"""Modules whose examples need files: they are run beside those, in tests/workflows/face."""
MODULES = [
    info.name
    for package in (segment_tiles.pipeline, segment_tiles.workflows)
    for info in pkgutil.walk_packages(package.__path__, package.__name__ + ".")
    if not info.ispkg and info.name not in OWN_TESTS
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_a_module(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = importlib.import_module(name)
    assert doctest.testmod(module, optionflags=doctest.ELLIPSIS).failed == 0


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder()
    modules = [importlib.import_module(name) for name in MODULES if ".grid." in name]
    assert sum(bool(test.examples) for module in modules for test in finder.find(module)) > 3
