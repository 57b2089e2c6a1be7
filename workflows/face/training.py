"""`train` and `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from segment_tiles.workflows.face.keywords import EvaluateKeywords, TrainKeywords
from segment_tiles.workflows.face.progress import Progress, TrainingListener
from segment_tiles.workflows.options.evaluation import evaluate_config_from
from segment_tiles.workflows.options.training import train_config_from

if TYPE_CHECKING:
    from segment_tiles.workflows.training.report import TrainingReport


def train(
    config: str | Path, *, progress: Progress | None = None, **options: Unpack[TrainKeywords]
) -> TrainingReport:
    """Train a model from labelled scenes.

    Parameters
    ----------
    config
        YAML file: scenes, classes, network, training. See ``docs/training.md``.
    progress
        Called with steps done and steps in all. Scores and stages are logged.
    out
        Folder or URL of the results, made if absent; the model package is its folder ``model``.
    data
        Folder in which relative paths of ``config`` start; None: that of ``config``.
    device
        auto, cpu, cuda or cuda:N.
    resume
        Go on from the checkpoint in ``out``.
    restart
        Begin anew if ``out`` has a checkpoint.
    pretrained
        Start from timm's ImageNet weights, downloaded if needed.
    leave_out
        Scene that is scored and never trained on.
    each_scene_left_out
        Also train without each scene in turn; the scores go into the model.
    seeds
        Train so often, each time from another seed; mean and spread of the scores go into the model.

    Returns
    -------
    TrainingReport
        Folder of the model package, and its scores.

    Raises
    ------
    TypeError
        If a keyword is no option, or ``out`` is missing.
    SegmentTilesError
        If the configuration, the scenes or their labels cannot be used, or the loss is no number.

    Examples
    --------
    >>> import segment_tiles as st
    >>> report = st.train("train.yaml", out="training", device="cpu")
    >>> result = st.segment("scene.tif", model=report.model, out="trained-map", format="zarr")
    """
    from segment_tiles.workflows.buckets.commands.train import train_as_asked  # noqa: PLC0415 - brings torch

    return train_as_asked(train_config_from(config=config, **options), TrainingListener(progress))


def evaluate(class_map: str | Path, truth: str | Path, **options: Unpack[EvaluateKeywords]) -> dict[str, Any]:
    """Score a class map against the truth.

    Parameters
    ----------
    class_map
        Folder of a run, or a raster of class codes.
    truth
        Class raster, folder of a run, or vector file with polygons; of a volume one of labels, or
        ``"CLASS=FILE,CLASS=FILE"`` of probabilities.
    class_column
        Column of the vector file that says the class.
    class_value
        What a value of the truth means: ``{"tree": "tree canopy"}``.
    ignore_value
        Codes of a raster of truth that are no class.
    polygon_shape
        polygon, inscribed_ellipse or ellipse_in_ignored_box.
    unlabelled
        Class outside all polygons; None: not scored. Or what probabilities leave of one.
    classes
        Names of the codes 0, 1, ..., if the class map has none.
    boundary_width, trimap_width
        Widths in pixels of boundary IoU, and of the mean IoU near boundaries.
    slices
        Of a volume: first and last slice that are scored.
    objects
        Score objects of these classes, not pixels: the class map and the truth are label images, polygons or folders
        of runs, or folders of them, in pairs by name.
    out
        Folder into which ``evaluation.json`` and ``confusion.png`` are written too.

    Returns
    -------
    dict
        What ``segment-tiles evaluate --json`` prints: ``mean_iou``, ``accuracy``, ``classes``, ``confusion`` and more.

    Raises
    ------
    TypeError
        If a keyword is no option.
    SegmentTilesError
        If class map and truth do not fit each other, or an option does not fit them.

    Examples
    --------
    >>> import segment_tiles as st
    >>> result = st.segment("scene.tif", model="canopy-rgb", out="result")
    >>> st.evaluate("result", "result/classes.tif")["mean_iou"]
    1.0
    """
    from segment_tiles.workflows.buckets.commands.evaluate import evaluate_as_asked  # noqa: PLC0415 - slow to import

    return evaluate_as_asked(evaluate_config_from(class_map=class_map, truth=truth, **options))
