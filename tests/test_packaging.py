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
FACE = "segment_tiles"


def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_package_on_disk_is_listed() -> None:
    on_disk = {
        "segment_tiles." + ".".join(path.parent.relative_to(ROOT).parts)
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("__init__.py")
    }
    assert set(project()["tool"]["setuptools"]["packages"]) == on_disk | {FACE}  # type: ignore[index]


def test_the_folder_of_the_face_holds_it_alone() -> None:
    assert {path.name for path in (ROOT / FACE).iterdir()} - {"__pycache__"} == {"__init__.py", "py.typed"}


def test_every_folder_with_modules_is_a_package() -> None:
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            if "deploy" in path.parts:  # files that users copy elsewhere, such as a DAG; nobody imports them
                continue
            assert (path.parent / "__init__.py").exists(), path


def test_no_module_is_imported_twice() -> None:
    assert not {"pipeline", "workflows", "cli"} & set(sys.modules)


LOCKS = ("requirements.lock", "requirements-demo.lock", "requirements-crf.lock")
PIN = re.compile(r"^([A-Za-z0-9_.-]+)==([^ ]+)( ;.*?)? \\$", re.MULTILINE)


def pins(lock: str) -> set[tuple[str, str]]:
    """Each name with a version; a name has several where they differ between versions of Python."""
    return {(name, version) for name, version, _ in PIN.findall((ROOT / lock).read_text())}


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=!\[; ]", one)[0].lower() for one in requirements}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_registry_and_every_package_has_hashes(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    entries = re.split(r"^(?=\S)", text, flags=re.MULTILINE)[1:]
    assert len(entries) == len(PIN.findall(text))
    assert all("--hash=sha256:" in entry for entry in entries)


def test_the_locks_hold_every_dependency_and_what_has_no_wheel_is_in_none_that_must_be_installed() -> None:
    table = project()["project"]
    extras = table["optional-dependencies"]  # type: ignore[index]
    demo = {name for name, _ in pins("requirements-demo.lock")}
    tests = {name for name, _ in pins("requirements.lock")}
    assert names([*table["dependencies"], *extras["slides"], *extras["medical"]]) <= demo  # type: ignore[index]
    assert names([*extras["dev"], *extras["prefect"], *extras["xarray"], *extras["benchmarks"]]) <= tests
    assert names(extras["crf"]) == {name for name, _ in pins("requirements-crf.lock")}
    assert not names(extras["crf"]) & (demo | tests)
    assert "pytest" not in demo


def test_the_tests_only_add_to_what_the_demo_installed() -> None:
    assert pins("requirements-demo.lock") < pins("requirements.lock")


def test_another_build_of_pytorch_keeps_its_version_and_drops_hashes_and_cuda() -> None:
    lock = (ROOT / "requirements-demo.lock").read_text()
    filtered = subprocess.run(
        ["awk", "-f", ROOT / ".ci/other_torch.awk"], input=lock, capture_output=True, text=True, check=True
    ).stdout
    entries = re.split(r"^(?=\S)", filtered, flags=re.MULTILINE)[1:]
    bare = {entry.strip() for entry in entries if "--hash" not in entry}
    pinned = pins("requirements-demo.lock")
    assert bare == {f"{name}=={version}" for name, version in pinned if name in {"torch", "torchvision"}}
    left = {entry.split("==")[0] for entry in entries}
    gone = {name for name, _ in pinned} - left
    assert {"nvidia-cublas", "triton", "cuda-toolkit"} <= gone
    assert all(name.startswith(("nvidia-", "cuda-", "triton")) for name in gone)


def test_make_demo_installs_wheels_alone_by_hash_from_its_own_lock(tmp_path: Path) -> None:
    """What make would run in a clone where nothing is installed."""
    for name in ("Makefile", "pyproject.toml", *LOCKS):
        (tmp_path / name).symlink_to(ROOT / name)

    def commands(*arguments: str) -> str:
        return subprocess.run(
            ["make", "--dry-run", *arguments], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout

    demo = commands("demo")
    (line,) = [line for line in demo.splitlines() if "requirements-demo.lock" in line]
    assert "--only-binary :all: --require-hashes" in line
    assert "requirements.lock" not in demo
    assert "requirements-crf.lock" not in demo
    assert "requirements.lock" in commands("test")
    assert "--torch-backend cpu" in commands("demo", "TORCH=cpu")


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
    assert "segment_tiles/__init__.py" in listing
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
