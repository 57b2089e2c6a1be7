"""Memory that a container can still give, on made trees of control groups."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from segment_tiles.workflows import process_memory
from segment_tiles.workflows.container_memory import container_bytes

GB = 10**9
Tree = Callable[[str, dict[str, dict[str, object]]], Path]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Writes /proc/self/cgroup and the files of groups."""

    def write(table: str, groups: dict[str, dict[str, object]]) -> Path:
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text(table)
        for folder, files in groups.items():
            path = tmp_path / "sys/fs/cgroup" / folder
            path.mkdir(parents=True, exist_ok=True)
            for name, content in files.items():
                (path / name).write_text(f"{content}\n")
        return tmp_path

    return write


def v2(limit: object, usage: int, idle: int, **more: object) -> dict[str, object]:
    stat = f"anon {usage - idle}\nfile {idle + 5}\nactive_file 5\ninactive_file {idle}"
    return {"memory.max": limit, "memory.current": usage, "memory.stat": stat, **more}


def v1(limit: int, usage: int, idle: int) -> dict[str, object]:
    stat = f"cache 1\ninactive_file 1\ntotal_cache {idle + 5}\ntotal_inactive_file {idle}"
    return {"memory.limit_in_bytes": limit, "memory.usage_in_bytes": usage, "memory.stat": stat}


def test_pages_of_files_are_not_in_use(tree: Tree) -> None:
    """A container of 8 GB that has read 7 GB of a raster and holds 1 GB can give 7 GB, not nothing."""
    assert container_bytes(tree("0::/\n", {"": v2(8 * GB, 8 * GB, 7 * GB)})) == 7 * GB


def test_version_1(tree: Tree) -> None:
    root = tree("5:cpu,cpuacct:/a\n4:memory:/docker/1f\n", {"memory/docker/1f": v1(8 * GB, 8 * GB, 7 * GB)})
    assert container_bytes(root) == 7 * GB


def test_a_mount_that_begins_at_the_group_itself(tree: Tree) -> None:
    """The table names the path on the host, the mount of the container has no such folder."""
    root = tree("4:memory:/docker/1f\n0::/docker/1f\n", {"memory": v1(4 * GB, 3 * GB, 2 * GB)})
    assert container_bytes(root) == 3 * GB


def test_the_tightest_of_nested_groups_counts(tree: Tree) -> None:
    groups = {
        "user.slice": v2(8 * GB, 7 * GB, 2 * GB),
        "user.slice/run.scope": v2("max", 1 * GB, 0),
        "": {"cgroup.controllers": "cpu memory"},
    }
    assert container_bytes(tree("0::/user.slice/run.scope\n", groups)) == 3 * GB


def test_where_the_kernel_begins_to_slow_down_counts_too(tree: Tree) -> None:
    root = tree("0::/\n", {"": v2(8 * GB, 2 * GB, 0, **{"memory.high": 3 * GB})})
    assert container_bytes(root) == 1 * GB


@pytest.mark.parametrize(
    ("table", "groups"),
    [
        ("0::/\n", {"": v2("max", GB, 0)}),
        ("0::/\n", {}),
        ("", {}),
        ("12:pids:/x\n", {"pids/x": {"pids.max": "100"}}),
    ],
)
def test_no_limit(tree: Tree, table: str, groups: dict[str, dict[str, object]]) -> None:
    assert container_bytes(tree(table, groups)) is None


def test_more_in_use_than_the_limit_is_nothing_left(tree: Tree) -> None:
    assert container_bytes(tree("0::/\n", {"": v2(GB, 2 * GB, 0)})) == 0


def test_the_machine_is_a_limit_too(monkeypatch: pytest.MonkeyPatch) -> None:
    for left, expected in ((5, 5), (2**62, None), (None, None)):
        monkeypatch.setattr(process_memory, "container_bytes", lambda left=left: left)
        machine = int(psutil.virtual_memory().available)
        found = process_memory.available_bytes()
        assert found == expected if expected is not None else abs(found - machine) < 2**30
