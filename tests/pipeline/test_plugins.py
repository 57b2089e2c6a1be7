"""Entry points of installed distributions: found by name, loaded when used, left out in one line."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from segment_tiles.pipeline.plugins import InstallationError, PluginWarning, Registry

GROUP = "segment_tiles.toys"


@dataclass(frozen=True)
class Toy:
    """What the entries of these tests are."""

    name: str


Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Lay down a distribution as an installer does: a module, and its metadata with entry points."""

    def done(distribution: str, module: str, source: str, **entries: str) -> None:
        folder = tmp_path / distribution
        metadata = folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        lines = [f"{name} = {value}" for name, value in entries.items()]
        (metadata / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *lines]))
        (folder / f"{module}.py").write_text(f"from {Toy.__module__} import Toy\n{source}")
        monkeypatch.syspath_prepend(folder)
        monkeypatch.delitem(sys.modules, module, raising=False)

    monkeypatch.setitem(sys.modules, Toy.__module__, sys.modules[__name__])
    return done


@pytest.fixture
def registry(install: Install) -> Registry[Toy]:
    """One with two entries of its own."""
    install(
        "own-toys",
        "own_toys",
        "CAR, DOLL = Toy('car'), Toy('doll')",
        car="own_toys:CAR",
        doll="own_toys:DOLL",
    )
    return Registry(GROUP, "toy", Toy, own="own-toys")


def _left_out(said: list[warnings.WarningMessage]) -> list[str]:
    return [str(one.message) for one in said if one.category is PluginWarning]


def test_names_are_known_without_loading_and_entries_load_when_used(
    registry: Registry[Toy], install: Install
) -> None:
    install("a-shop", "a_shop", "BALL = Toy('ball')", ball="a_shop:BALL")
    assert registry.names() == ("car", "doll", "ball")
    assert not {"own_toys", "a_shop"} & set(sys.modules)
    assert registry.get("ball") == Toy("ball")
    assert "own_toys" not in sys.modules
    assert [toy.name for toy in registry.all()] == ["car", "doll", "ball"]
    assert registry.get("kite") is None


@pytest.mark.parametrize(
    ("source", "value", "why"),
    [
        ("1 / 0", "b_shop:BALL", "cannot be loaded (ZeroDivisionError: division by zero)"),
        ("import no_such_library", "b_shop:BALL", "No module named 'no_such_library'"),
        ("raise SystemExit('no')", "b_shop:BALL", "cannot be loaded (SystemExit: no)"),
        ("", "b_shop:BALL", "has no attribute 'BALL'"),
        ("BALL = 3", "b_shop:BALL", "b_shop:BALL is of type int, not Toy"),
        ("BALL = Toy('top')", "b_shop:BALL", "b_shop:BALL has another name"),
    ],
)
def test_what_cannot_be_loaded_is_named_once_and_left_out(
    registry: Registry[Toy], install: Install, source: str, value: str, why: str
) -> None:
    install("b-shop", "b_shop", source, ball=value)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert [toy.name for toy in registry.all()] == ["car", "doll"]
        assert registry.get("ball") is None
    (line,) = _left_out(said)
    assert line.startswith("toy 'ball' of b-shop is left out: ")
    assert why in line
    assert "\n" not in line


def test_a_name_that_is_taken_stays_with_its_holder(registry: Registry[Toy], install: Install) -> None:
    install("c-shop", "c_shop", "CAR = BALL = Toy('car')", car="c_shop:CAR")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert registry.names() == ("car", "doll")
        registry.get("car")
    assert "c_shop" not in sys.modules
    assert _left_out(said) == ["toy 'car' of c-shop is left out: own-toys has a toy of this name"]


def test_what_belongs_to_one_alone_stays_with_the_first(install: Install, registry: Registry[Toy]) -> None:
    install("e-shop", "e_shop", "CAB, BALL = Toy('cab'), Toy('ball')", cab="e_shop:CAB", ball="e_shop:BALL")
    by_letter = Registry(GROUP, "toy", Toy, own="own-toys", alone=lambda toy: toy.name[0])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert by_letter.get("cab") is None
        assert [toy.name for toy in by_letter.all()] == ["car", "doll", "ball"]
    assert _left_out(said) == ["toy 'cab' of e-shop is left out: 'car' has 'c' already"]
    assert registry.get("cab") == Toy("cab")


def test_an_installation_older_than_the_files_says_what_to_do(install: Install) -> None:
    install("d-shop", "d_shop", "BALL = Toy('ball')", ball="d_shop:BALL")
    with pytest.raises(InstallationError, match=r"install it again \(of a checkout: uv pip install"):
        Registry(GROUP, "toy", Toy).names()
