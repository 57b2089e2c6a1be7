"""The Plan of a run whose output directory may be a URL."""

from __future__ import annotations

from dataclasses import replace

from segment_tiles.workflows.buckets.address import address_of, on_this_disk, said_of
from segment_tiles.workflows.buckets.layout import RECORD_KEY
from segment_tiles.workflows.buckets.result import opened
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.plans.plan import Plan
from segment_tiles.workflows.run import request as on_a_disk


def plan_run(config: RunConfig, *, with_output: bool = False, alone: bool = True) -> Plan:
    """Return what a run would do; parameters and errors are those of `workflows.run.request.plan_run`.

    Nothing is written into a bucket, so that the right to write there is not asked.

    Raises
    ------
    PlaceError
        If there is no such bucket, or it does not answer.
    """
    config = replace(config, out=on_this_disk(config.out))
    address = address_of(config.out) if with_output else None
    if address is None:
        return on_a_disk.plan_run(config, with_output=with_output, alone=alone)
    with opened(address, _tell_nobody, only_looks=True) as result, said_of(address, result.folder):
        result.fetch(lambda key: key == RECORD_KEY)
        return on_a_disk.plan_run(replace(config, out=result.folder), with_output=True, alone=alone)


def _tell_nobody(_text: str) -> None:
    """Nothing is waited for by who only looks."""
