"""One attempt: a command, disturbed, started again until it is done, and compared with an undisturbed one."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from fuzz.verdict import faults_of_stderr

from faults.bucket import empty
from faults.command import Command, end_processes_left, processes_left, start
from faults.digest import differences, digests, stable
from faults.disturbances import Disturbance
from faults.scenarios import Scenario, prepare, put_inputs


@dataclass(frozen=True, slots=True)
class Reference:
    """What an undisturbed command does."""

    expected: Mapping[str, str]
    seconds: float


def make_reference(scenario: Scenario, seeds: Path, folder: Path) -> Reference:
    """Run a command twice without disturbance, in the same folder one after the other."""
    made, seconds = [], 0.0
    for _ in range(2):
        prepare(scenario, seeds, folder)
        command = start(scenario.arguments, folder)
        if command.wait() != 0:
            msg = f"the undisturbed {scenario.arguments[0]} ended with {command.status}: {command.stderr[-400:]}"
            raise RuntimeError(msg)
        made.append(digests(scenario.results_in(folder)))
        seconds = command.seconds
        shutil.rmtree(folder)
    expected = stable(*made)
    missing = [name for name in scenario.must_have if name not in expected]
    if missing:
        msg = f"two undisturbed commands wrote other bytes, or nothing, as {missing}; there are {sorted(made[0])[:20]}"
        raise RuntimeError(msg)
    return Reference(expected, seconds)


def attempt(
    scenario: Scenario, disturbance: Disturbance, reference: Reference, seeds: Path, folder: Path, rng: Random
) -> list[str]:
    """Disturb a command, let it come to its end, and return what is wrong."""
    prepare(scenario, seeds, folder)
    found: list[str] = []
    with disturbance.around(folder, rng) as undo:
        for round_number in range(1 if disturbance.needs_source else rng.choice((1, 1, 2, 3))):
            limit = None if disturbance.prepare is None else disturbance.prepare(rng)
            command = start(scenario.arguments, folder, f"disturbed{round_number}", prepare=limit)
            command.wait_until(rng.random() * 1.1 * reference.seconds)
            was_alive = command.poll() is None
            disturbance.happen(command, rng)
            command.wait()
            found += [fault for each in (command, *command.beside) for fault in _faults_of(each)]
            found += _left_over(disturbance)
            if command.status == 0 and disturbance.needs_source and was_alive:
                found += _of_neither_version(scenario, reference, folder)
        undo()
        if disturbance.needs_source:
            put_inputs(scenario, seeds, folder)
        found += _to_its_end(scenario, folder, may_refuse=disturbance.may_refuse)
        found += differences(reference.expected, scenario.results_in(folder)) if not found else []
    return found


def _of_neither_version(scenario: Scenario, reference: Reference, folder: Path) -> list[str]:
    """Say in what a complete result is that of neither source: the one at the start, the one that is there now.

    A source that changes before the command has looked at it at all is simply another source.
    """
    found = [f"complete, but {text}" for text in differences(reference.expected, scenario.results_in(folder))]
    if not found:
        return []
    if scenario.is_in_bucket:
        empty()
    afresh = folder.with_name(f"{folder.name}-afresh")
    shutil.copytree(folder, afresh, ignore=shutil.ignore_patterns(scenario.results))
    (afresh / "out").mkdir(exist_ok=True)
    command = start(scenario.arguments, afresh)
    made = digests(scenario.results_in(afresh)) if command.wait() == 0 else {}
    shutil.rmtree(afresh)
    is_of_what_is_there = all(name in made for name in reference.expected) and not differences(
        {name: made[name] for name in reference.expected}, folder / scenario.results
    )
    return [] if is_of_what_is_there else found


def _to_its_end(scenario: Scenario, folder: Path, *, may_refuse: bool) -> list[str]:
    """Start the command again, as a user does: as it was, then with what its message names."""
    tries: list[Sequence[str]] = [(*scenario.arguments, *scenario.resume), scenario.arguments]
    command = _again(tries[0], folder)
    said = command.stderr.strip()[-300:]
    if command.status != 0 and scenario.resume:
        command = _again(tries[1], folder)
        said += f"; then: {command.stderr.strip()[-300:]}"
    if command.status == 0:
        return _faults_of(command)
    if command.is_hung:
        return [f"hung when taken up: {said}"]
    if "--restart" not in said:
        return [f"does not go on, and names no way out (status {command.status}): {said}"]
    restarted = _again((*scenario.arguments, "--restart"), folder)
    if restarted.status != 0:
        return [f"--restart does not help (status {restarted.status}): {restarted.stderr.strip()[-300:]}"]
    return _faults_of(restarted) + ([] if may_refuse else [f"only --restart helps: {said}"])


def _again(arguments: Sequence[str], folder: Path) -> Command:
    command = start(arguments, folder, "again")
    command.wait()
    return command


def _faults_of(command: Command) -> list[str]:
    found = faults_of_stderr(command.stderr)
    if command.is_hung:
        found.append(f"hung: {command.stderr.strip()[-200:]}")
    elif command.status not in {0, 1, 2, 130, -9, -15, -1, -2}:
        found.append(f"exit status {command.status}: {command.stderr.strip()[-200:]}")
    return found


def _left_over(disturbance: Disturbance) -> list[str]:
    left = processes_left()
    end_processes_left()
    return [f"{len(left)} processes left: {left[0]}"] if left else []
