"""OpenVINO on the processor."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

import torch
from torch import Tensor, nn

from segment_tiles.pipeline.errors import ModelError, one_line
from segment_tiles.pipeline.models.backends.conversions import Conversion, conversion
from segment_tiles.pipeline.models.backends.first_inference import FirstInference
from segment_tiles.pipeline.models.backends.int8 import GRAPH, read_graph
from segment_tiles.pipeline.models.backends.protocol import CONVERSION_FAILURES, Preparation, Runner
from segment_tiles.pipeline.models.backends.torch_threads import batches_by_threads


class OpenVino:
    """The network as OpenVINO's graph; its CPU plugin chooses kernels at every start, in about a second."""

    name = "openvino"
    channels_last = False
    conversion_seconds = 5.0

    def unavailable(self, device: torch.device) -> str | None:
        """Return what to install, or that it computes on the CPU alone."""
        if find_spec("openvino") is None:
            return "it is not installed: pip install 'segment-tiles[openvino]'"
        return None if device.type == "cpu" else f"it runs on the CPU, not on {device}; give --device cpu"

    def precisions(self, device: torch.device) -> tuple[str, ...]:
        """Return float32, and bfloat16 and int8 if the processor has instructions for them."""
        return ("fp32", *(name.lower() for name in ("BF16", "INT8") if name in _abilities()))

    def input_type(self, precision: str, device: torch.device) -> torch.dtype:
        """Return float32: OpenVINO converts by itself."""
        return torch.float32

    def batches_at_once(self, device: torch.device, precision: str) -> int:
        """Return 2: each in half of the cores, so that blending and reading hold up one of them, not both.

        A layer ends when its slowest thread does. One batch on all cores lets them wait whenever another thread
        takes one, and while its scores are blended. Where the cores cannot be halved it is 1.
        """
        return batches_by_threads()

    def is_prepared(self, preparation: Preparation) -> bool:
        """Return whether it was converted before."""
        return _conversion(preparation).is_complete

    def prepare(self, network: nn.Module, preparation: Preparation) -> Runner:
        """Convert, or read what was converted or calibrated, and choose kernels."""
        import openvino  # noqa: PLC0415 - an extra

        calibrated = preparation.calibrated
        graph = str(converted(network, preparation)) if calibrated is None else read_graph(calibrated)
        at_once = self.batches_at_once(preparation.device, preparation.precision)
        compiled = openvino.Core().compile_model(
            graph,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": self._hint(preparation.precision),
                "NUM_STREAMS": at_once,
                # as many as torch, which waits meanwhile; pinned ones would push the reader and the writer aside
                "INFERENCE_NUM_THREADS": torch.get_num_threads(),
                "ENABLE_CPU_PINNING": False,
            },
        )
        return _Requests(compiled, at_once)

    def _hint(self, precision: str) -> str:
        """Return how what is not quantised is computed."""
        return "bf16" if precision != "fp32" and "BF16" in _abilities() else "f32"


@cache
def _abilities() -> tuple[str, ...]:
    """Return what the processor can; asked once, for every scene of a batch wants to know."""
    import openvino  # noqa: PLC0415 - an extra

    return tuple(openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


_FIRST: Final = FirstInference()


class _Requests:
    """A few requests that are used again and again; a thread takes one that is idle, or waits for it."""

    def __init__(self, compiled: Any, count: int):
        self._idle: SimpleQueue[Any] = SimpleQueue()
        for _ in range(count):
            self._idle.put(compiled.create_infer_request())

    def __call__(self, image: Tensor) -> Tensor:
        request = self._idle.get()
        try:
            with _FIRST.alone():
                results = request.infer([image.contiguous().numpy()], share_inputs=True, share_outputs=True)
                return torch.from_numpy(results[0].copy())  # the request will write there again
        finally:
            self._idle.put(request)


def _conversion(preparation: Preparation) -> Conversion:
    import openvino  # noqa: PLC0415 - an extra

    # one graph serves all precisions: the plugin converts when it chooses kernels
    return conversion(
        replace(preparation, precision="fp32"), "openvino", openvino.__version__, executes=False
    )


def converted(network: nn.Module, preparation: Preparation) -> Path:
    """Return the file of the converted network, made if there is none.

    Raises
    ------
    ModelError
        If this network cannot be converted.
    """

    def convert_into(folder: Path) -> None:
        _convert(network, torch.zeros(preparation.shape), folder / GRAPH)

    return _conversion(preparation).made(convert_into) / GRAPH


def _convert(network: nn.Module, sample: Tensor, path: Path) -> None:
    import openvino  # noqa: PLC0415 - an extra

    try:
        with torch.inference_mode(mode=False), torch.no_grad():
            converted = openvino.convert_model(torch.export.export(network, (sample,)))
        openvino.save_model(converted, str(path), compress_to_fp16=False)
    except CONVERSION_FAILURES as error:
        msg = f"--backend openvino: OpenVINO cannot convert this network ({one_line(error)}); use --backend torch"
        raise ModelError(msg) from error


OPENVINO = OpenVino()
