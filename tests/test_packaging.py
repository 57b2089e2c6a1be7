"""The wheel holds every module, under one name, and names nothing of this machine."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("pipeline", "workflows", "cli")


def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_package_on_disk_is_listed() -> None:
    on_disk = {
        "segment_tiles." + ".".join(path.parent.relative_to(ROOT).parts)
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("__init__.py")
    }
    assert set(project()["tool"]["setuptools"]["packages"]) == on_disk  # type: ignore[index]


def test_every_folder_with_modules_is_a_package() -> None:
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            if "deploy" in path.parts:  # files that users copy elsewhere, such as a DAG; nobody imports them
                continue
            assert (path.parent / "__init__.py").exists(), path


def test_no_module_is_imported_twice() -> None:
    assert not {"pipeline", "workflows", "cli"} & set(sys.modules)


def test_the_lock_names_no_registry_and_has_hashes() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    entries = re.findall(r"^[A-Za-z0-9_.-]+==.*$", lock, flags=re.MULTILINE)
    assert len(entries) > 50
    assert lock.count("--hash=sha256:") >= len(entries)


def test_the_lock_holds_every_dependency() -> None:
    locked = set(re.findall(r"^([A-Za-z0-9_.-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    needed = project()["project"]["dependencies"]  # type: ignore[index]
    names = {re.split(r"[<>=!\[; ]", one)[0].lower() for one in needed}
    assert names <= {name.lower() for name in locked}


@pytest.mark.slow
def test_the_wheel_holds_every_module(tmp_path: Path) -> None:
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "build", "--wheel", "--out-dir", tmp_path, ROOT], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    listing = subprocess.run(
        [sys.executable, "-m", "zipfile", "-l", wheel], check=True, capture_output=True, text=True
    ).stdout
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            assert f"segment_tiles/{path.relative_to(ROOT)}" in listing
    assert "samples/yellowstone_crop.tif" in listing
    assert "tests/" not in listing


def test_committed_files_name_no_path_of_this_machine() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    pattern = re.compile(rb"(^|[^A-Za-z0-9_.])/(work|root)/")  # fmt: skip
    for name in filter(None, tracked):
        path = ROOT / name
        if path.is_file() and path.suffix not in {".tif", ".safetensors", ".png"} and path != Path(__file__):
            assert not pattern.search(path.read_bytes()), name
