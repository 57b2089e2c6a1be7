"""`python -m fuzz --seed 1 --count 1000` with `tests/` on the path: prints what was found; status 1 if anything was."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random

WARM = (
    "torch", "rasterio", "zarr", "geopandas", "pyogrio", "nibabel", "nrrd", "pydicom", "tifffile", "timm", "onnx",
    "segment_tiles.cli.main", "segment_tiles.workflows.segment", "segment_tiles.workflows.polygonize",
    "segment_tiles.workflows.evaluate", "segment_tiles.workflows.train", "segment_tiles.workflows.batch.run",
    "segment_tiles.workflows.describe", "segment_tiles.workflows.model_import",
)  # fmt: skip
"""Imported once, before the forks; a module that has moved is left to the command."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A case that did not end as asked."""

    case: str
    done: str
    command: str
    faults: tuple[str, ...]


def fuzz(seed: int, count: int, seconds: float, only: str | None) -> tuple[int, Counter[int], list[Finding]]:
    """Run cases until there are enough or the time is up; return their number, exit statuses, findings."""
    os.environ.update({"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"})
    # not a TemporaryDirectory: each child ends as an interpreter does, and would remove it
    root = Path(tempfile.mkdtemp(prefix="segment-tiles-fuzz-"))
    try:
        os.environ["XDG_CACHE_HOME"] = str(root / "cache")
        _in_a_fork(lambda: _make_seeds(root / "seeds"))
        for module in WARM:
            with contextlib.suppress(ModuleNotFoundError):
                importlib.import_module(module)
        return _cases(seed, count, time.monotonic() + seconds, only, root)
    finally:
        shutil.rmtree(root)


def _make_seeds(folder: Path) -> None:
    from fuzz.seeds import make_seeds

    make_seeds(folder)


def _in_a_fork(work: object) -> None:
    """Do work that starts threads in a child: a fork of a process with threads would not be whole."""
    child = os.fork()
    if child == 0:
        try:
            work()  # type: ignore[operator]
        except BaseException:  # noqa: BLE001 - told to the parent by the status
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0:
        sys.exit("the inputs could not be made")


def _cases(
    seed: int, count: int, deadline: float, only: str | None, root: Path
) -> tuple[int, Counter[int], list[Finding]]:
    from fuzz.isolate import run_isolated
    from fuzz.kinds import KINDS
    from fuzz.verdict import faults_of

    names = [name for name in KINDS if only is None or name == only]
    statuses: Counter[int] = Counter()
    findings = []
    number = 0
    for number in range(count):
        if time.monotonic() > deadline:
            break
        rng = Random(f"{seed}/{number}")
        kind = names[number % len(names)]
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


def main() -> None:
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after this time")
    parser.add_argument("--only", help="one kind of input")
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
