"""`python -m fuzz --seed 1 --count 1000` with `tests/` on the path: prints what was found; status 1 if anything was."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random

from fuzz.isolate import run_isolated
from fuzz.kinds import KINDS, OF_RESULTS
from fuzz.verdict import faults_of
from fuzz.warm import warm_up


@dataclass(frozen=True, slots=True)
class Finding:
    """A case that did not end as asked."""

    case: str
    done: str
    command: str
    faults: tuple[str, ...]


def fuzz(seed: int, count: int, seconds: float, only: str | None) -> tuple[int, Counter[int], list[Finding]]:
    """Run cases until there are enough or the time is up; return their number, exit statuses, findings."""
    # not a TemporaryDirectory: each child ends as an interpreter does, and would remove it
    root = Path(tempfile.mkdtemp(prefix="segment-tiles-fuzz-"))
    try:
        names = list(KINDS) if only is None else only.split(",")
        warm_up(root, with_results=not OF_RESULTS.isdisjoint(names))
        return _cases(seed, count, time.monotonic() + seconds, names, root)
    finally:
        shutil.rmtree(root)


def _cases(
    seed: int, count: int, deadline: float, names: list[str], root: Path
) -> tuple[int, Counter[int], list[Finding]]:
    statuses: Counter[int] = Counter()
    findings = []
    number = 0
    for number in range(count):
        if time.monotonic() > deadline:
            break
        rng = Random(f"{seed}/{number}")
        kind = names[number % len(names)]
        if number < len(names):
            _check_undamaged(kind, root)
        folder = root / f"case-{number}"
        folder.mkdir()
        done, commands = KINDS[kind](root / "seeds", folder, rng)
        for command in commands:
            outcome = run_isolated(command, folder)
            statuses[outcome.status] += 1
            if faults := faults_of(outcome):
                finding = Finding(f"{seed}/{number} {kind}", done, " ".join(command)[:150], tuple(faults))
                findings.append(finding)
                print(f"{finding.case}: {finding.done}\n  {finding.command}", flush=True)
                for fault in faults:
                    print(f"    {fault[:300]}", flush=True)
        shutil.rmtree(folder)
    else:
        number += 1
    return number, statuses, findings


def _check_undamaged(name: str, root: Path) -> None:
    """Stop if a command does not even accept its undamaged input: its cases would say nothing."""
    folder = root / "undamaged"
    folder.mkdir()
    _, commands = KINDS[name](root / "seeds", folder, None)
    for command in commands:
        outcome = run_isolated(command, folder)
        if outcome.status != 0:
            sys.exit(f"{name}, undamaged: {' '.join(command)} ended with {outcome.status}: {outcome.stderr}")
    shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after this time")
    parser.add_argument("--only", help="kinds of input, by commas")
    asked = parser.parse_args()
    started = time.monotonic()
    cases, statuses, findings = fuzz(asked.seed, asked.count, asked.seconds, asked.only)
    ended = ", ".join(f"{count} with {status}" for status, count in sorted(statuses.items()))
    print(
        f"{cases} cases of seed {asked.seed} in {time.monotonic() - started:.0f} s; commands ended: {ended}"
    )
    print(f"{len(findings)} findings")
    sys.exit(1 if findings or cases == 0 else 0)


if __name__ == "__main__":
    main()
