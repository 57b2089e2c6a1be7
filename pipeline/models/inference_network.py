"""The network of a package as a run uses it: folded and rewritten once, checked, kept, and read again as it is.

Building one takes timm, which brings torchvision and torch's compiler: seconds of a run that takes seconds.
What was kept needs torch alone.
"""

from __future__ import annotations

import copy
import json
import logging
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError
from torch import fx, nn

from segment_tiles.pipeline.errors import WriteFailedError
from segment_tiles.pipeline.json_text import json_text
from segment_tiles.pipeline.models.backends.conversions import Conversion, conversion
from segment_tiles.pipeline.models.backends.protocol import Preparation
from segment_tiles.pipeline.models.graphs.folding import fold_batch_norms
from segment_tiles.pipeline.models.graphs.graph_file import NotPlainError, read_graph, write_graph
from segment_tiles.pipeline.models.graphs.rewriting import Rewritten, Upsampling, rewrite
from segment_tiles.pipeline.models.package import load_network, require_weights
from segment_tiles.pipeline.models.packages.manifest import ModelManifest

SAMPLE_SIDE: Final = 128
"""Side in pixels of the sample on which the folded network must answer as the network itself."""
FORM: Final = "1"
"""What is kept, part of the key: another version of the rewriting needs another number."""
FACTS_FILE: Final = "rewritten.json"
log = logging.getLogger(__name__)


def rewritten_for(network: nn.Module | Rewritten, manifest: ModelManifest) -> Rewritten:
    """Return a rewritten copy of a network in evaluation mode, or a copy of what was rewritten before."""
    if isinstance(network, Rewritten):
        return copy.deepcopy(network)
    side = min(manifest.tile, SAMPLE_SIDE)
    noise = torch.randn((1, len(manifest.bands), side, side), generator=torch.Generator().manual_seed(0))
    folded = fold_batch_norms(network.eval(), noise)
    return rewrite(folded.network, folded.count)


def load_rewritten(folder: Path, manifest: ModelManifest, *, trust: bool = False) -> nn.Module | Rewritten:
    """Return the network of a package as a run uses it; made once, then read from where conversions are kept.

    A network that has no graph, or steps that a file of plain data cannot hold, is built whenever it is needed.

    Raises
    ------
    ModelError
        The weights are not those of the network, changed since `manifest` was read, or execute code.
    """
    if manifest.architecture.is_graph:
        return load_network(folder, manifest, trust=trust)
    kept = _kept(folder, manifest)
    if kept.is_complete:
        require_weights(folder, manifest)
        return _read(kept.made(lambda into: _write(into, _made(folder, manifest))))
    rewritten = _made(folder, manifest)
    try:
        return _read(kept.made(lambda into: _write(into, rewritten)))
    except NotPlainError as step:
        log.info("%s: rewritten at every start, since %s cannot be kept", manifest.name, step)
    except (WriteFailedError, OSError, SafetensorError) as error:
        log.info("%s: rewritten at every start, since it cannot be kept: %s", manifest.name, error)
    return rewritten


def _made(folder: Path, manifest: ModelManifest) -> Rewritten:
    return rewritten_for(load_network(folder, manifest), manifest)


def _kept(folder: Path, manifest: ModelManifest) -> Conversion:
    side = min(manifest.tile, SAMPLE_SIDE)
    shape = (1, len(manifest.bands), side, side)
    preparation = Preparation(shape, torch.device("cpu"), "fp32", manifest.network_checksum, folder)
    return conversion(preparation, "rewritten", FORM, executes=False)


def _write(folder: Path, rewritten: Rewritten) -> None:
    if not isinstance(rewritten.network, fx.GraphModule):
        msg = "a network that decides by its data"
        raise NotPlainError(msg)
    write_graph(folder, rewritten.network)
    upsampling = rewritten.upsampling
    facts = {
        "folded_batch_norms": rewritten.folded_batch_norms,
        "align_corners": None if upsampling is None else upsampling.align_corners,
    }
    (folder / FACTS_FILE).write_text(json_text(facts))


def _read(folder: Path) -> Rewritten:
    facts = json.loads((folder / FACTS_FILE).read_text())
    corners = facts["align_corners"]
    upsampling = None if corners is None else Upsampling(align_corners=corners)
    return Rewritten(read_graph(folder), upsampling, facts["folded_batch_norms"])
