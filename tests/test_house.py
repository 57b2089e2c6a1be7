"""How the house stands: one way down, small rooms, and no module that asks which Kind a scene is of."""

from __future__ import annotations

import ast
import math
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("segment_tiles", "cli", "workflows", "pipeline")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
BENCHMARKS = sorted((ROOT / "benchmarks").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
LINES_AT_MOST = 300
MODULES_OF_A_FOLDER_AT_MOST = 14
LINES_OF_A_FUNCTION = 30
"""What nine of ten functions of the command line have at most."""
LINES_OF_A_FUNCTION_AT_MOST = 40

KNOW_KINDS = ("workflows/scenes/", "pipeline/sources/")
"""Folders whose business Kinds are."""
ROOMS = (
    "segment_tiles.workflows.scenes.rasters",
    "segment_tiles.workflows.scenes.slides",
    "segment_tiles.workflows.scenes.volumes",
    "segment_tiles.pipeline.sources.kinds",
    "segment_tiles.pipeline.sources.pyramids.pyramid_source",
)
"""What only those folders import: who imports a room knows its Kind."""
QUESTIONS = ("kind_of", "volume_kind", "is_volume_store", "PyramidSource")
"""Names by which a module would ask what a source or a result is."""
KINDS = {"raster", "slide", "volume", "volume_unit"}
"""Words that are compared with, or looked for, where a module asks in its own way."""


def _asks(tree: ast.Module) -> Iterator[str]:
    """Yield every way in which a module asks for a Kind."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            name = node.id if isinstance(node, ast.Name) else node.attr
            if name in QUESTIONS or (
                isinstance(node, ast.Attribute) and name == "details" and _is_scene(node.value)
            ):
                yield f"line {node.lineno}: {name}"
        elif isinstance(node, ast.Compare):
            compared = [node.left, *node.comparators]
            words = {
                part.value for side in compared for part in ast.walk(side) if isinstance(part, ast.Constant)
            }
            if words & KINDS:
                yield f"line {node.lineno}: compares with {', '.join(map(str, words & KINDS))}"


def _is_scene(node: ast.expr) -> bool:
    return (isinstance(node, ast.Name) and node.id == "scene") or (
        isinstance(node, ast.Attribute) and node.attr == "scene"
    )


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def test_no_module_asks_which_kind_a_scene_is_of() -> None:
    found = []
    for path in MODULES:
        name = path.relative_to(ROOT).as_posix()
        if name.startswith(KNOW_KINDS):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found += [f"{name}: {what}" for what in _asks(tree)]
        found += [f"{name}: imports {what}" for what in _imported(tree) if what.startswith(ROOMS)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "text",
    [
        "if scene.details is not None: pass",
        "if plan.scene.details: pass",
        'if kind_of(uri) == "slide": pass',
        'x = "volume_unit" in report',
        'x = scene.kind == "raster"',
        'x = scene.kind in {"raster", "slide"}',
        "isinstance(source, PyramidSource)",
    ],
)
def test_every_way_of_asking_is_seen(text: str) -> None:
    assert list(_asks(ast.parse(text)))


CIRCLES = """
import sys

sys.path.insert(0, sys.argv[1])
import grimp

graph = grimp.build_graph("segment_tiles", cache_dir=None)
waiting = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
count = len(waiting)
while free := [module for module, imported in waiting.items() if not imported & waiting.keys()]:
    for module in free:
        del waiting[module]
print(count, *(f"{module} -> {', '.join(sorted(imported & waiting.keys()))}" for module, imported in waiting.items()),
      sep="\\n")
"""
"""Prints how many modules there are, and those that import themselves in the end, or import such a module."""


def test_no_circle_of_imports() -> None:
    """At module level or inside functions; in a process of its own, for grimp to find all folders (tests/contracts)."""
    done = subprocess.run(
        [sys.executable, "-c", CIRCLES, str(ROOT / ".typing")], capture_output=True, text=True, check=True
    )
    count, *circles = done.stdout.splitlines()
    assert int(count) > 400, "not all of the program was seen"
    assert not circles, "\n".join(circles)


def _lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the lines of its body; signature and docstring may take what they need."""
    has_docstring = ast.get_docstring(function) is not None
    body = function.body[1:] if has_docstring else function.body
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0


def _functions(paths: Iterable[Path]) -> Iterator[tuple[int, str]]:
    """Yield lines and name of every function, methods and functions inside others too."""
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield _lines(node), f"{path.relative_to(ROOT)}: {node.name}"


def test_modules_and_folders_are_small() -> None:
    long = [path for path in MODULES if len(path.read_text(encoding="utf-8").splitlines()) > LINES_AT_MOST]
    assert not long
    folders: dict[Path, int] = defaultdict(int)
    for path in [*MODULES, *BENCHMARKS, *TESTS]:
        folders[path.parent] += path.name not in {"__init__.py", "conftest.py"}
    full = {folder: count for folder, count in folders.items() if count > MODULES_OF_A_FOLDER_AT_MOST}
    assert not full


def test_functions_are_short() -> None:
    long = [found for found in _functions([*MODULES, *BENCHMARKS]) if found[0] > LINES_OF_A_FUNCTION_AT_MOST]
    assert not long


def test_nine_of_ten_functions_of_the_command_line_are_short() -> None:
    lines = sorted(
        count for count, _ in _functions(path for path in MODULES if path.is_relative_to(ROOT / "cli"))
    )
    assert lines[math.ceil(0.9 * len(lines)) - 1] <= LINES_OF_A_FUNCTION
