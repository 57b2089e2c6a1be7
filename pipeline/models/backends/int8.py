"""int8 on processors: OpenVINO's graph quantised by NNCF, single layers left as they are until the classes agree.

NNCF measures the ranges of all activations on a user's tiles. If the quantised network changes too many decided pixels
of them, it gives the layers that matter most their float back, one after the other.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import MissingExtraError, ModelError, one_line
from segment_tiles.pipeline.installed import installed_version
from segment_tiles.pipeline.models.backends.protocol import CONVERSION_FAILURES
from segment_tiles.pipeline.models.calibration.calibrated import Calibrated

GRAPH: Final = "network.xml"
WEIGHTS: Final = "network.bin"
CHANGED_AT_MOST: Final = 0.0005
"""Share of decided pixels that may change on the tiles of the calibration: others scatter around it, and 0.001 of
them is what a precision may change (`REQUIRED_AGREEMENT`)."""
NEEDS_VNNI: Final = "needs VNNI"
"""In the description: whether weights take all 8 bits."""
RANKED_ON: Final = 4
"""Tiles on which the layers are ranked, one after the other."""
LEFT_AT_MOST: Final = 20
"""Steps in which layers get their float back."""
Run: TypeAlias = "Callable[[NDArray[np.float32]], NDArray[np.float32]]"
"""Maps normalised (1, bands, T, T) to coarse logits (1, classes, h, w)."""
Agreement: TypeAlias = "Callable[[Run, int], float]"
"""Share of decided pixels of a tile, by its index, whose class a network leaves as it is in float32."""


def require_nncf() -> None:
    """Refuse to calibrate without NNCF.

    Raises
    ------
    MissingExtraError
        Naming what is to be installed.
    """
    if find_spec("nncf") is None:
        msg = "--precision int8: this model is not calibrated yet, which needs NNCF: pip install 'segment-tiles[int8]'"
        raise MissingExtraError(msg)


def quantized(
    converted: Path, images: Sequence[NDArray[np.float32]], agreement: Agreement
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Return the files of a quantised network, and what there is to say of it.

    Parameters
    ----------
    converted
        OpenVINO's graph in float32.
    images
        Normalised tiles, each (1, bands, T, T).
    agreement
        Judges a network on one of them.

    Raises
    ------
    ModelError
        If NNCF cannot quantise this network.
    """
    with _quiet():
        import nncf  # noqa: PLC0415 - an extra
        import openvino  # noqa: PLC0415 - an extra

        # not its set_log_level, which changes handlers too, whosever they are
        logging.getLogger("nncf").setLevel(logging.ERROR)
        try:
            model = _quantized(nncf, openvino.Core().read_model(str(converted)), images, agreement)
        except CONVERSION_FAILURES as error:
            msg = f"--precision int8: NNCF cannot quantise this network ({one_line(error)}); use another precision"
            raise ModelError(msg) from error
        layers = sum(op.get_type_name() == "FakeQuantize" for op in model.get_ops())
        with tempfile.TemporaryDirectory() as folder:
            openvino.save_model(model, str(Path(folder) / GRAPH), compress_to_fp16=False)
            files = {name: (Path(folder) / name).read_bytes() for name in (GRAPH, WEIGHTS)}
    versions = {name: installed_version(name) for name in ("nncf", "openvino")}
    return files, {"tiles": len(images), "quantised": layers, NEEDS_VNNI: has_vnni(), "versions": versions}


def has_vnni() -> bool:
    """Return whether the processor sums products of 8-bit numbers in 32 bits, and not in 16, which overflow."""
    import torch  # noqa: PLC0415 - slow

    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_vnni") or able.get("avx2_vnni") or able.get("avx_vnni") or able.get("i8mm"))


def _quantized(nncf: Any, model: Any, images: Sequence[NDArray[np.float32]], agreement: Agreement) -> Any:
    from nncf.quantization import advanced_parameters as advanced  # noqa: PLC0415

    def validate(compiled: Any, indices: Any) -> tuple[float, list[float]]:
        each = [agreement(lambda image: np.asarray(compiled([image])[0]), index) for index in indices]
        return float(np.mean(each)), each

    return nncf.quantize_with_accuracy_control(
        model,
        nncf.Dataset(list(images)),
        nncf.Dataset(list(range(len(images)))),
        validate,
        max_drop=CHANGED_AT_MOST,
        drop_type=nncf.DropType.ABSOLUTE,
        subset_size=len(images),
        fast_bias_correction=False,
        # without VNNI weights of all layers take 7 bits of the 8, or sums would overflow
        advanced_quantization_parameters=advanced.AdvancedQuantizationParameters(
            overflow_fix=advanced.OverflowFix.DISABLE if has_vnni() else advanced.OverflowFix.ENABLE
        ),
        advanced_accuracy_restorer_parameters=advanced.AdvancedAccuracyRestorerParameters(
            ranking_subset_size=min(RANKED_ON, len(images)), max_num_iterations=LEFT_AT_MOST
        ),
    )


def read_graph(calibrated: Calibrated) -> Any:
    """Return the quantised graph, to be compiled.

    Raises
    ------
    ModelError
        If it was calibrated for a processor that can do more.
    """
    import openvino  # noqa: PLC0415 - an extra

    if calibrated.described.get(NEEDS_VNNI) and not has_vnni():
        msg = (
            "--precision int8: the model was calibrated on a processor with VNNI, which this one does not have; "
            "use another precision, or `segment-tiles tune --calibrate` on this machine"
        )
        raise ModelError(msg)
    weights = np.frombuffer(calibrated.file(WEIGHTS), dtype=np.uint8)
    return openvino.Core().read_model(calibrated.file(GRAPH), openvino.Tensor(weights))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep NNCF from drawing bars, logging, and sending what it does to its makers."""
    import rich  # noqa: PLC0415

    # read when it is imported: without it, every call is told to a server of its makers
    os.environ.setdefault("NNCF_CI", "1")
    console, torch_tools = rich.get_console(), logging.getLogger("torch.utils.cpp_extension")
    quiet, level = console.quiet, torch_tools.level
    console.quiet = True
    torch_tools.setLevel(logging.ERROR)  # it looks for a compiler for CUDA
    try:
        yield
    finally:
        console.quiet = quiet
        torch_tools.setLevel(level)
