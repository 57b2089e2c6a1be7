"""Workers that would give other bytes are refused."""

from __future__ import annotations

from typing import Final

from distributed import Client

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.installed import installed_version

PACKAGES_THAT_DECIDE_BYTES: Final = ("segment-tiles", "torch")
"""Of which a worker must have the same version as this process."""


def require_versions(client: Client) -> None:
    """Compare the versions of all workers with those of this process.

    Raises
    ------
    UsageError
        Naming the first worker that has another one.
    """
    workers = client.get_versions(packages=PACKAGES_THAT_DECIDE_BYTES)["workers"]
    for package in PACKAGES_THAT_DECIDE_BYTES:
        here = installed_version(package)
        for address, answer in workers.items():
            there = answer["packages"].get(package)
            # a build for CUDA and one for the CPU are one version
            if there is None or there.partition("+")[0] != here.partition("+")[0]:
                msg = (
                    f"worker {address} has {package} {there or 'not at all'}, this process has {here}; "
                    "install the same version there"
                )
                raise UsageError(msg)
