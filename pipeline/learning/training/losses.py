"""Losses over logits and class codes; pixels labelled ``IGNORE_CODE`` never count."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.losses.focal_loss import FocalLoss
from torch import Tensor, nn
from torch.nn import functional as F

from segment_tiles.pipeline.learning.settings import IGNORE_CODE, LossSettings


class CrossEntropy(nn.Module):
    """Per-pixel cross-entropy over the pixels that have a label.

    ``top_fraction`` below 1 keeps the hardest pixels only (top-k mining of TensorFlow DeepLab,
    ``top_k_percent_pixels``; detectron2 DeepLabCE uses 0.2).
    """

    def __init__(
        self, weights: Tensor | None = None, label_smoothing: float = 0.0, top_fraction: float = 1.0
    ) -> None:
        super().__init__()
        self.weights: Tensor | None
        self.register_buffer("weights", weights)
        self._smoothing, self._top_fraction = label_smoothing, top_fraction

    def forward(self, logits: Tensor, labels: Tensor, extra: Tensor | None = None) -> Tensor:
        """Return the mean over (B, classes, H, W) logits and (B, H, W) codes; 0 if nothing is labelled.

        ``extra``, (B, H, W), is added to the class weight of each pixel, as in the U-Net paper.
        """
        known = labels != IGNORE_CODE
        losses = self._of_pixels(logits, labels, self.weights)[known]
        if extra is not None:
            plain = losses if self.weights is None else self._of_pixels(logits, labels, None)[known]
            losses = losses + extra[known] * plain
        if losses.numel() == 0:
            return logits.sum() * 0
        if self._top_fraction < 1:
            losses = losses.topk(max(1, int(losses.numel() * self._top_fraction))).values
        return losses.mean()

    def _of_pixels(self, logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
        return F.cross_entropy(
            logits,
            labels,
            weight=weights,
            ignore_index=IGNORE_CODE,
            label_smoothing=self._smoothing,
            reduction="none",
        )


class DiceCrossEntropy(nn.Module):
    """Cross-entropy plus soft Dice over the whole batch (V-Net, 1606.04797; batch Dice as in nnU-Net).

    MONAI's DiceLoss has no ignored label, and its masked one would count ignored pixels as agreement.
    """

    def __init__(self, cross_entropy: CrossEntropy) -> None:
        super().__init__()
        self._cross_entropy = cross_entropy

    def forward(self, logits: Tensor, labels: Tensor, extra: Tensor | None = None) -> Tensor:
        """Return cross-entropy, with ``extra`` weights of pixels, + 1 - mean Dice of the classes that occur."""
        known = labels != IGNORE_CODE
        chances = logits.softmax(dim=1).movedim(1, -1)[known]
        truth = F.one_hot(labels[known], logits.shape[1]).to(chances.dtype)
        present = truth.sum(dim=0) > 0
        if not bool(present.any()):
            return logits.sum() * 0
        overlap = (chances * truth).sum(dim=0)
        dice = (2 * overlap + 1e-5) / (chances.sum(dim=0) + truth.sum(dim=0) + 1e-5)
        mean_dice: Tensor = dice[present].mean()
        cross_entropy: Tensor = self._cross_entropy(logits, labels, extra)
        return cross_entropy + 1 - mean_dice


class Focal(nn.Module):
    """Focal loss (1708.02002) with softmax, by MONAI, over the labelled pixels."""

    def __init__(self, gamma: float, weights: Tensor | None) -> None:
        super().__init__()
        self._focal = FocalLoss(gamma=gamma, to_onehot_y=True, use_softmax=True, weight=weights)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over labelled pixels and classes."""
        known = labels != IGNORE_CODE
        if not bool(known.any()):
            return logits.sum() * 0
        # one row of pixels per batch of labelled ones: MONAI wants (B, C, N) and (B, 1, N)
        pixels = logits.movedim(1, -1)[known].T[None]
        loss: Tensor = self._focal(pixels, labels[known][None, None])
        return loss


class Lovasz(nn.Module):
    """Lovasz-softmax, the convex surrogate of IoU (1705.08790, algorithm 1), over classes that occur."""

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over the classes that occur in the batch."""
        known = labels != IGNORE_CODE
        chances, codes = logits.softmax(dim=1).movedim(1, -1)[known], labels[known]
        losses = []
        for code in torch.unique(codes).tolist():
            truth = (codes == code).to(chances.dtype)
            errors, order = (truth - chances[:, code]).abs().sort(descending=True)
            losses.append(torch.dot(errors, _jaccard_gradient(truth[order])))
        return torch.stack(losses).mean() if losses else logits.sum() * 0


def _jaccard_gradient(sorted_truth: Tensor) -> Tensor:
    """Return the gradient of the Lovasz extension of the Jaccard loss for errors in falling order."""
    total = sorted_truth.sum()
    intersection = total - sorted_truth.cumsum(0)
    union = total + (1 - sorted_truth).cumsum(0)
    jaccard = 1 - intersection / union
    return torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])


def weights_from_counts(pixels: Sequence[int], power: float) -> tuple[float, ...]:
    """Return a weight for each class, so that all pixels together weigh as much as without; 1 for a class without any.

    >>> weights_from_counts([75, 25, 0], 1)
    (0.666667, 2.0, 1.0)
    """
    total = sum(pixels)
    raw = [(count / total) ** -power if count else 0.0 for count in pixels]
    scale = total / sum(count * weight for count, weight in zip(pixels, raw, strict=True))
    return tuple(round(weight * scale, 6) if weight else 1.0 for weight in raw)


def build_loss(settings: LossSettings, pixels: Sequence[int] = ()) -> nn.Module:
    """Return the loss that the configuration names.

    Parameters
    ----------
    settings
        Of the loss.
    pixels
        Labelled pixels of each class, for weights from counts.
    """
    given = settings.class_weights
    if given == "counts":
        given = weights_from_counts(pixels, settings.class_weight_power)
    weights = None if given is None else torch.tensor(given)
    if settings.kind == "focal":
        return Focal(settings.gamma, weights)
    if settings.kind == "lovasz":
        return Lovasz()
    top = settings.top_fraction if settings.kind == "top_k" else 1.0
    cross_entropy = CrossEntropy(weights, settings.label_smoothing, top)
    return DiceCrossEntropy(cross_entropy) if settings.kind == "dice_cross_entropy" else cross_entropy
