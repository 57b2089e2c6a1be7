"""Runs on a source behind each misbehaving server: the right map, or a failure that says so and can be taken up."""

from __future__ import annotations

import shutil
from pathlib import Path

from fuzz.seeds import RUN_OPTIONS, copy_seeds
from fuzz.verdict import faults_of_stderr
from served_folder import serving

from faults.command import end_processes_left, start
from faults.digest import differences, digests, stable
from faults.server import BEHAVIOURS

UNNOTICEABLE = frozenset({"changed-without-etag"})
"""A server that gives no validator and keeps the size: nobody can notice. What is asked there is only an end."""


def try_servers(seeds: Path, root: Path, names: tuple[str, ...] = tuple(BEHAVIOURS)) -> dict[str, list[str]]:
    """Run once behind each server, once more when it is healed, and return what is wrong, by behaviour."""
    expected = _reference(seeds, root)
    return {name: found for name in names if (found := _try_server(name, expected, seeds, root / name))}


def _arguments(address: str, name: str) -> list[str]:
    source = f"{address}/{name}/scene.tif"
    return ["run", source, "--model", "colour", "--out", "out", "--format", "cog,parquet", *RUN_OPTIONS]


def _reference(seeds: Path, root: Path) -> dict[str, str]:
    made = []
    for number in range(2):
        folder = root / f"reference{number}"
        folder.mkdir()
        copy_seeds(seeds, folder, "scene.tif", "colour")
        with serving("-m", "faults.server", folder) as address:
            command = start(_arguments(address, "good"), folder)
            if command.wait() != 0:
                raise RuntimeError(command.stderr)
        made.append(digests(folder / "out"))
        shutil.rmtree(folder)
    return stable(*made)


def _try_server(name: str, expected: dict[str, str], seeds: Path, folder: Path) -> list[str]:
    folder.mkdir()
    copy_seeds(seeds, folder, "scene.tif", "colour")
    with serving("-m", "faults.server", folder) as address:
        command = start(_arguments(address, name), folder, "misbehaving")
        command.wait()
        found = faults_of_stderr(command.stderr)
        if command.is_hung:
            found.append("hung")
        elif command.status not in {0, 1, 2}:
            found.append(f"exit status {command.status}")
        if command.status == 0 and name not in UNNOTICEABLE:
            found += [f"complete, but {text}" for text in differences(expected, folder / "out")]
        (folder / "healed").touch()
        again = start(_arguments(address, name), folder, "healed")
        if again.wait() != 0 and "--restart" in again.stderr:
            again = start([*_arguments(address, name), "--restart"], folder, "healed")
            again.wait()
        found += faults_of_stderr(again.stderr)
        if again.status != 0:
            found.append(f"does not go on when healed: {again.stderr.strip()[-300:]}")
        elif name not in UNNOTICEABLE:
            found += differences(expected, folder / "out")
    end_processes_left()
    shutil.rmtree(folder)
    return found
