"""The documentation is complete and its commands run."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import geopandas as gpd
import pytest
import rasterio
import typer
from rasterio.windows import Window
from rasterio.windows import transform as window_transform
from shapely.geometry import box

from segment_tiles.cli.main import app, run_command_line
from segment_tiles.cli.reference import reference
from segment_tiles.workflows.demo import DEMO_SCENE
from segment_tiles.workflows.results.formats.format import Format

ROOT = Path(__file__).resolve().parents[1]
PAGES = ["README.md", "docs/running.md"]


def commands_of(page: str) -> list[str]:
    text = (ROOT / page).read_text()
    found = re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL)
    lines = [line[2:] for part in found for line in part.splitlines() if line.startswith("$ ")]
    return [line for line in lines if line.startswith("segment-tiles ")]


def test_the_command_line_reference_is_what_the_commands_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert (ROOT / "docs" / "command-line.md").read_text() == reference(), "run `make reference`"


def leaves(command: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    children = getattr(command, "commands", {})
    if not children:
        return [(path, command)]
    return [leaf for name, child in children.items() for leaf in leaves(child, (*path, name))]


def test_every_command_and_option_has_help_and_is_named_in_the_documentation() -> None:
    pages = "\n".join(path.read_text() for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    for path, command in leaves(typer.main.get_command(app)):
        assert command.help, path
        assert f"segment-tiles {' '.join(path)}" in pages
        for parameter in command.params:
            assert getattr(parameter, "help", None) or parameter.name == "help", (path, parameter.name)


@pytest.mark.parametrize(
    "page",
    ["README.md", "CONTRIBUTING.md", *(str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md"))],
)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text()):
        if "://" not in target:
            assert (ROOT / page).parent.joinpath(target).exists(), target


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with scene.tif and aoi.gpkg, as the pages have it."""
    with rasterio.open(DEMO_SCENE) as dataset:
        window = Window(0, 0, 500, 450)
        profile = {**dataset.profile, "driver": "GTiff", "width": 500, "height": 450}
        profile["transform"] = window_transform(window, dataset.transform)
        with rasterio.open(tmp_path / "scene.tif", "w", **profile) as scene:
            scene.write(dataset.read(window=window))
            bounds = scene.bounds
    inside = box(bounds.left + 5, bounds.bottom + 5, bounds.left + 30, bounds.bottom + 30)
    gpd.GeoDataFrame(geometry=[inside], crs=profile["crs"]).to_file(tmp_path / "aoi.gpkg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_a_page_run(page: str, workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = commands_of(page)
    assert len(lines) > 5
    for line in lines:
        status = run_command_line(shlex.split(line)[1:])
        printed = capsys.readouterr()
        assert status == 0, (line, printed.err)
        assert printed.out, line


@pytest.mark.filterwarnings("ignore::segment_tiles.SegmentTilesWarning")
def test_the_code_of_the_library_page_runs(workplace: Path) -> None:
    pytest.importorskip("rioxarray")
    names: dict[str, object] = {}
    for code in re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "library.md").read_text(), flags=re.DOTALL
    ):
        exec(compile(code, "docs/library.md", "exec"), names)
    assert (workplace / "from-python" / "classes.zarr").is_dir()
    assert names["canopy"].any()  # type: ignore[attr-defined]
    assert len(names["trees"]) > 3  # type: ignore[arg-type]
    assert (workplace / "trees.gpkg").exists()


def test_the_format_of_the_architecture_page_is_one(tmp_path: Path) -> None:
    (code,) = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "architecture.md").read_text(), flags=re.DOTALL
    )
    names: dict[str, Any] = {}
    exec(compile(code, "docs/architecture.md", "exec"), names)
    assert isinstance(names["COUNTS"], Format)
    report = {"classes": [{"name": "tree", "pixels": 12}]}
    names["COUNTS"].make(SimpleNamespace(folder=tmp_path, report=report), [names["COUNTS"]])
    assert (tmp_path / "counts.csv").read_text().split() == ["class,pixels", "tree,12"]


def test_the_architecture_page_names_the_folders_and_files_that_are_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    (tree,) = re.findall(r"```text\n(segment_tiles/.*?)```", text, flags=re.DOTALL)
    named: set[str] = set()
    parent = ""
    for indent, name in re.findall(r"^( *)(\w+)/ ", tree, flags=re.MULTILINE):
        parent = parent if indent else name
        named.add(f"{parent}/{name}" if indent else name)
    packages = {
        path.parent.relative_to(ROOT).as_posix()
        for folder in ("workflows", "pipeline")
        for path in (ROOT / folder).glob("*/__init__.py")
    }
    assert packages <= named
    assert all((ROOT / folder).is_dir() for folder in named), named
    for path in re.findall(r"`([a-z_]+/[a-z_/]*(?:\.py)?)`", text):
        assert any((ROOT / root / path).exists() for root in (".", "workflows", "pipeline")), path


def test_the_architecture_page_lists_folders_as_imports_go() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    (tree,) = re.findall(r"```text\n(segment_tiles/.*?)```", text, flags=re.DOTALL)
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    for parent in ("workflows", "pipeline"):
        (layers,) = [
            entry["layers"]
            for entry in contracts
            if entry["name"].startswith(f"inside {parent}/, down the list")
        ]
        floor = {
            name: number
            for number, layer in enumerate(layers)
            for name in re.findall(r"\.(\w+)(?= |$)", layer)
        }
        (part,) = re.findall(rf"^{parent}/.*?(?=^\w)", tree, flags=re.MULTILINE | re.DOTALL)
        listed = [name for name in re.findall(r"^  (\w+)/ ", part, flags=re.MULTILINE) if name in floor]
        assert len(listed) > 6
        assert listed == sorted(listed, key=lambda name: floor[name])
