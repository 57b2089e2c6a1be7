"""Which files of a result are the same bytes, whatever happened while they were made."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

Digests = Mapping[str, str]
OWN = ".segment-tiles"
NAMED_BY_TIME = "events.out.tfevents."
"""What TensorBoard writes has the second and the process in its name."""


def digests(folder: Path) -> dict[str, str]:
    """Return the checksum of every file below a folder, but for what the program keeps for itself."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.name.startswith(NAMED_BY_TIME) or OWN in path.relative_to(folder).parts:
            continue
        if path.is_file():
            found[name] = sha256(path.read_bytes()).hexdigest()
    return found


def stable(first: Digests, second: Digests) -> dict[str, str]:
    """Return what two undisturbed commands wrote alike: times and folders differ in the rest."""
    if first.keys() != second.keys():
        msg = f"two undisturbed commands wrote other files: {sorted(first.keys() ^ second.keys())[:5]}"
        raise RuntimeError(msg)
    return {name: value for name, value in first.items() if second[name] == value}


def differences(expected: Digests, folder: Path) -> list[str]:
    """Return what is missing or other than expected, and what no undisturbed command leaves."""
    found = digests(folder)
    missing = [f"{name} is missing" for name in expected if name not in found]
    other = [f"{name} differs" for name, value in expected.items() if name in found and found[name] != value]
    leftovers = [f"{name} is left over" for name in found if ".partial" in name or ".tiles" in name]
    return missing + other + leftovers
