"""A training whose folder may be a URL: it works in a folder here, and each checkpoint goes into the bucket.

::

    URL/checkpoint.pt           whenever it is written, with steps.csv, scores.csv and tensorboard/
    URL/seed-7/checkpoint.pt    the same of a training from another seed, or without a scene
    URL/.training/lease.json    who trains here now
    URL/report.json, *.png ...  at the end
    URL/model/model.json        last: who sees it sees a whole package
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from segment_tiles.pipeline.durable import make_folder, write_whole
from segment_tiles.pipeline.errors import OutputError, PlaceError, WriteFailedError, one_line
from segment_tiles.pipeline.json_text import json_text
from segment_tiles.pipeline.learning.training.checkpoint import CHECKPOINT_NAME
from segment_tiles.pipeline.learning.training.logs import SCORES_FILE, STEPS_FILE, TENSORBOARD_FOLDER
from segment_tiles.pipeline.models.package import MANIFEST_FILE
from segment_tiles.pipeline.places.address import place_at
from segment_tiles.pipeline.places.lease import Lease
from segment_tiles.pipeline.places.protocol import RESULT_SECONDS, Place
from segment_tiles.workflows.buckets.address import address_of, on_this_disk, said_of
from segment_tiles.workflows.buckets.holding import SURE_SECONDS, held_place
from segment_tiles.workflows.buckets.objects import SyncedFolder
from segment_tiles.workflows.buckets.scratch import scratch_folder
from segment_tiles.workflows.options.training import TrainConfig
from segment_tiles.workflows.training import train as on_a_disk
from segment_tiles.workflows.training.folder import LEFT_OUT, LOCK_FOLDER, REPORT_FILE, SEED
from segment_tiles.workflows.training.package import MODEL_FOLDER, TrainingProgress
from segment_tiles.workflows.training.report import TrainingReport

LEASE: Final = f"{LOCK_FOLDER}/lease.json"
_STATE: Final = (CHECKPOINT_NAME, STEPS_FILE, SCORES_FILE)
"""What a training that is not at its end goes on with, beside its folder of TensorBoard."""
_FORGOTTEN: Final = (CHECKPOINT_NAME, REPORT_FILE)
"""What ``--restart`` removes."""


def train_as_asked(config: TrainConfig, progress: TrainingProgress) -> TrainingReport:
    """Train into a folder or a bucket; result and errors are those of `workflows.training.train.train_as_asked`.

    Of several processes the first writes into the bucket; all bring the checkpoint from there.

    Raises
    ------
    PlaceError
        If there is no such bucket, or it does not let us write: nothing is computed then.
    OutputError
        If another training is at work there, or it holds other objects.
    WriteFailedError
        If the bucket does not answer any more, or another process has taken over; the checkpoint there stays.
    """
    config = replace(config, out=on_this_disk(config.out))
    address = address_of(config.out)
    if address is None:
        return on_a_disk.train_as_asked(config, progress)
    is_first = os.environ.get("RANK", "0") == "0"  # of torchrun
    place = place_at(address, RESULT_SECONDS)
    _require_own(place)
    with ExitStack() as stack:
        lease = stack.enter_context(held_place(place, LEASE, progress.noted)) if is_first else None
        folder = stack.enter_context(scratch_folder())
        stack.enter_context(said_of(address, folder))
        sent = SentTraining(place, folder, lease, progress)
        sent.bring(config)
        report = on_a_disk.train_as_asked(replace(config, out=folder), sent)
        if is_first:
            sent.publish()
    return replace(report, model=config.out / MODEL_FOLDER)


class SentTraining:
    """The progress of a training in a folder here, whose state is sent to a place before it is told.

    Parameters
    ----------
    place
        Where it goes.
    folder
        Of this machine, empty.
    lease
        Of this process; None: it sends nothing.
    progress
        Told of it.
    """

    def __init__(self, place: Place, folder: Path, lease: Lease | None, progress: TrainingProgress) -> None:
        self._place, self._folder, self._lease, self._progress = place, folder, lease, progress
        self._objects = SyncedFolder(place, folder, self._require_soon)
        self._stand_ins: tuple[str, ...] = ()

    def bring(self, config: TrainConfig) -> None:
        """Bring what is continued into the folder; of what is not, files without content, which say that it is there.

        Raises
        ------
        PlaceError
            If the place does not answer.
        """
        there = self._objects.there
        if not config.restart and (config.resume or CHECKPOINT_NAME not in there):
            self._objects.bring([key for key in there if _is_one_of(_STATE, key) or _is_board(key)])
        elif self._lease is not None or not config.restart:
            self._stand_ins = tuple(key for key in there if _is_one_of(_FORGOTTEN, key))
            for key in self._stand_ins:
                make_folder((self._folder / key).parent)
                (self._folder / key).touch()

    def started(self, name: str, first_step: int, steps: int) -> None:
        """Remove what ``--restart`` has removed here, before anything is computed."""
        with _kept():
            self._objects.remove([key for key in self._stand_ins if not (self._folder / key).exists()])
        self._stand_ins = ()
        self._progress.started(name, first_step, steps)

    def stepped(self, row: Mapping[str, float]) -> None:
        """Tell of it."""
        self._progress.stepped(row)

    def scored(self, row: Mapping[str, float]) -> None:
        """Send the checkpoint, which was written just before, and the logs."""
        if self._lease is not None:
            self._put([key for key in self._changed() if _is_one_of(_STATE, key) or _is_board(key)])
        self._progress.scored(row)

    def noted(self, text: str) -> None:
        """Tell it."""
        self._progress.noted(text)

    def publish(self) -> None:
        """Send all that is not there yet: what says that a package is there last, and removed before it changes.

        Raises
        ------
        WriteFailedError
            If the place does not answer, or another process has taken over.
        """
        for path in self._folder.rglob(REPORT_FILE):
            here, there = (
                json_text(text, indent=None)[1:-1] for text in (str(self._folder), self._place.name)
            )
            write_whole(path, path.read_text(encoding="utf-8").replace(here, there))
        changed = self._changed()
        manifests = sorted(
            (key for key in changed if key.endswith(f"/{MANIFEST_FILE}")), key=lambda key: -key.count("/")
        )
        with _kept():
            self._objects.remove(reversed(manifests))
        self._put([key for key in changed if key not in manifests])
        for key in manifests:
            self._put([key])

    def _changed(self) -> list[str]:
        """Return the files that are not in the place as they are here; names with a dot are of what is not whole."""
        files = self._objects.files()
        return [key for key in files if "/." not in f"/{key}" and not self._objects.is_same(key)]

    def _put(self, keys: Sequence[str]) -> None:
        with _kept():
            self._objects.put(keys)

    def _require_soon(self) -> None:
        if self._lease is not None:
            self._lease.require(again_after=SURE_SECONDS)


def _is_one_of(names: Sequence[str], key: str) -> bool:
    """Return whether a file has one of some names, of a training or of one of its further ones."""
    folder, _, name = key.rpartition("/")
    is_further = folder.startswith((LEFT_OUT, SEED)) and "/" not in folder
    return name in names and (not folder or is_further)


def _is_board(key: str) -> bool:
    """Return whether a file is one of TensorBoard."""
    return TENSORBOARD_FOLDER in key.split("/")[:2]


def _require_own(place: Place) -> None:
    """Refuse a place of other things.

    Raises
    ------
    OutputError
        With one of them.
    """
    there = place.list()
    if there and not any(key.startswith(f"{LOCK_FOLDER}/") or key == CHECKPOINT_NAME for key in there):
        msg = f"--out {place.name}: holds objects that are not of a training ({there[0]}); give a new or empty place"
        raise OutputError(msg)


@contextmanager
def _kept() -> Iterator[None]:
    """Say of a place that stops to answer that its checkpoint is kept.

    Raises
    ------
    WriteFailedError
        In place of what the place says.
    """
    try:
        yield
    except PlaceError as error:
        msg = f"{one_line(error)}; the last checkpoint there is kept: go on with --resume"
        raise WriteFailedError(msg) from error
