"""What is asked of the outcome of any command on any input."""

from __future__ import annotations

import re

from fuzz.isolate import BYTES_AT_MOST, Outcome

STATUSES = frozenset({0, 1, 2, 130})
OUR_LINE = re.compile(r"segment-tiles: |warning: ")


def faults_of(outcome: Outcome) -> list[str]:
    """Return what is wrong with an outcome, in a few words each; empty: nothing."""
    found = faults_of_stderr(outcome.stderr)
    lines = [line for line in outcome.stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("segment-tiles: error:")]
    if outcome.is_hung:
        found.append(f"hung for {outcome.seconds:.0f} s")
    elif outcome.status not in STATUSES:
        found.append(f"exit status {outcome.status}")
    if "Traceback (most recent call last)" in outcome.stdout:
        found.append("traceback on stdout")
    if outcome.status in {1, 2} and len(errors) != 1:
        found.append(f"{len(errors)} error lines with status {outcome.status}: {lines[-1:]}")
    if outcome.status == 0 and errors:
        found.append("status 0 beside an error: " + errors[-1])
    if outcome.peak_bytes > BYTES_AT_MOST:
        found.append(f"{outcome.peak_bytes / 1e9:.1f} GB of memory")
    return found


def faults_of_stderr(text: str) -> list[str]:
    """Return what no command may print, however it ended."""
    found = []
    lines = [line for line in text.splitlines() if line.strip()]
    if "Traceback (most recent call last)" in text:
        found.append("traceback: " + lines[-1][:200])
    foreign = [line for line in lines if not OUR_LINE.match(line)]
    if foreign:
        found.append(f"a line that is not ours: {foreign[0][:160]}")
    return found + ["not foreseen: " + line for line in lines if "was not foreseen" in line]
