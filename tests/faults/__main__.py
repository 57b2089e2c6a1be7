"""`python -m faults --seed 1 --kills 300` with `tests/` on the path: prints what is wrong; status 1 if anything is."""

from __future__ import annotations

import argparse
import ctypes
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

from fuzz.warm import warm_up

from faults.attempt import Reference, attempt, make_reference
from faults.bucket import bucket
from faults.disturbances import DISTURBANCES
from faults.remote import try_servers
from faults.scenarios import SCENARIOS
from faults.server import BEHAVIOURS

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def inflict(
    seed: int, numbers: range, seconds: float, only: str | None, what: str | None, root: Path
) -> tuple[Counter[str], int]:
    """Make attempts; return how often each disturbance was tried and how many attempts had a fault."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    seeds = warm_up(root, with_results=False)
    deadline = time.monotonic() + seconds
    scenarios = {name: SCENARIOS[name] for name in (only.split(",") if only else SCENARIOS)}
    chosen = {name: DISTURBANCES[name] for name in (what.split(",") if what else DISTURBANCES)}
    references: dict[str, Reference] = {}
    tried: Counter[str] = Counter()
    faulty = 0
    for number in numbers:
        if time.monotonic() > deadline:
            break
        rng = Random(f"{seed}/{number}")
        name = rng.choices(list(scenarios), [scenario.weight for scenario in scenarios.values()])[0]
        happening = rng.choices(list(chosen), [disturbance.weight for disturbance in chosen.values()])[0]
        if name not in references:
            references[name] = make_reference(scenarios[name], seeds, root / "reference")
        folder = root / f"attempt-{number}"
        found = attempt(scenarios[name], chosen[happening], references[name], seeds, folder, rng)
        tried[happening] += 1
        if found:
            faulty += 1
            print(f"{seed}/{number} {name}, {happening}:", flush=True)
            for text in found[:4]:
                print(f"    {text[:400]}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
    if what is None and only is None and numbers.start == 0:
        for name, found in try_servers(seeds, root).items():
            faulty += 1
            print(f"server {name}:", flush=True)
            for text in found[:4]:
                print(f"    {text[:400]}", flush=True)
        tried["servers"] = len(BEHAVIOURS)
    return tried, faulty


def main() -> None:
    parser = argparse.ArgumentParser(prog="faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--first", type=int, default=0, help="number of the first attempt, to repeat one")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after this time")
    parser.add_argument("--only", help=f"by commas, of: {', '.join(SCENARIOS)}")
    parser.add_argument("--what", help=f"by commas, of: {', '.join(DISTURBANCES)}")
    asked = parser.parse_args()
    started = time.monotonic()
    root = Path(tempfile.mkdtemp(prefix="segment-tiles-faults-"))
    numbers = range(asked.first, asked.first + asked.kills)
    try:
        with bucket(root):
            tried, faulty = inflict(asked.seed, numbers, asked.seconds, asked.only, asked.what, root)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    print(", ".join(f"{name} {count}" for name, count in sorted(tried.items())))
    print(
        f"{tried.total()} attempts of seed {asked.seed} in {time.monotonic() - started:.0f} s; {faulty} with a fault"
    )
    sys.exit(1 if faulty or not tried else 0)


if __name__ == "__main__":
    main()
