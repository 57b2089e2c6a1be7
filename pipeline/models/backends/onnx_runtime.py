"""ONNX Runtime: on the processor, and on NVIDIA GPUs through CUDA or TensorRT where they are installed."""

from __future__ import annotations

import copy
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from segment_tiles.pipeline.errors import ModelError, one_line
from segment_tiles.pipeline.installed import cache_folder
from segment_tiles.pipeline.library_messages import ONNX_RUNTIME_ERRORS, ignored_warnings
from segment_tiles.pipeline.models.backends.conversions import Conversion, conversion
from segment_tiles.pipeline.models.backends.first_inference import FirstInference
from segment_tiles.pipeline.models.backends.protocol import CONVERSION_FAILURES, Preparation, Runner
from segment_tiles.pipeline.models.backends.torch_eager import PRECISIONS

FILE = "network.onnx"
INPUT, OUTPUT = "image", "logits"
LIBRARIES = ("onnxruntime", "onnx", "onnxscript")
_FIRST: Final = FirstInference()


class OnnxRuntime:
    """The network as an ONNX graph."""

    name = "onnx"
    channels_last = False
    conversion_seconds = 15.0

    def unavailable(self, device: torch.device) -> str | None:
        """Return what to install, or that this build of ONNX Runtime has no CUDA."""
        missing = [name for name in LIBRARIES if find_spec(name) is None]
        if missing:
            return f"{missing[0]} is not installed: pip install 'segment-tiles[onnx]'"
        if device.type == "cuda" and "CUDAExecutionProvider" not in _available():
            return "this onnxruntime has no CUDA: pip install onnxruntime-gpu"
        return None

    def precisions(self, device: torch.device) -> tuple[str, ...]:
        """Return float32, and float16 on GPUs: on processors ONNX Runtime gains nothing by short types."""
        return ("fp32",) if device.type == "cpu" else ("fp32", "fp16")

    def input_type(self, precision: str, device: torch.device) -> torch.dtype:
        """Return the type of the precision."""
        return PRECISIONS[precision]

    def batches_at_once(self, device: torch.device, precision: str) -> int:
        """Return 1: a batch takes all cores."""
        return 1

    def is_prepared(self, preparation: Preparation) -> bool:
        """Return whether it was converted before."""
        return _conversion(preparation).is_complete

    def prepare(self, network: nn.Module, preparation: Preparation) -> Runner:
        """Convert, or read what was converted, and open a session."""
        dtype = PRECISIONS[preparation.precision]

        def convert_into(folder: Path) -> None:
            _convert(
                copy.deepcopy(network).to(dtype=dtype),
                torch.zeros(preparation.shape, dtype=dtype),
                folder / FILE,
            )

        folder = _conversion(preparation).made(convert_into)
        session = _session(folder, preparation)
        return _OnProcessor(session) if preparation.device.type == "cpu" else _OnGpu(session, preparation)


class _OnProcessor:
    def __init__(self, session: Any):
        self._session = session

    def __call__(self, image: Tensor) -> Tensor:
        with _FIRST.alone():
            return torch.from_numpy(self._session.run([OUTPUT], {INPUT: image.contiguous().numpy()})[0])


class _OnGpu:
    """Reads its input where torch has it and leaves its output there: no copy passes the bus."""

    def __init__(self, session: Any, preparation: Preparation):
        self._session = session
        self._device = preparation.device
        self._dtype = PRECISIONS[preparation.precision]
        self._shape = tuple(session.get_outputs()[0].shape)

    def __call__(self, image: Tensor) -> Tensor:
        image = image.contiguous()
        logits = torch.empty(self._shape, dtype=self._dtype, device=self._device)
        binding = self._session.io_binding()
        number = {torch.float32: "float32", torch.float16: "float16"}[self._dtype]
        index = self._device.index or 0
        bind = {"device_type": "cuda", "device_id": index, "element_type": _numpy_type(number)}
        binding.bind_input(INPUT, shape=tuple(image.shape), buffer_ptr=image.data_ptr(), **bind)
        binding.bind_output(OUTPUT, shape=self._shape, buffer_ptr=logits.data_ptr(), **bind)
        torch.cuda.current_stream(self._device).synchronize()  # the session has a stream of its own
        with _FIRST.alone():
            self._session.run_with_iobinding(binding)
        return logits


def _numpy_type(name: str) -> Any:
    import numpy as np  # noqa: PLC0415

    return np.dtype(name).type


def _available() -> list[str]:
    import onnxruntime  # noqa: PLC0415 - an extra

    return list(onnxruntime.get_available_providers())


def _session(folder: Path, preparation: Preparation) -> Any:
    import onnxruntime  # noqa: PLC0415 - an extra

    options = onnxruntime.SessionOptions()
    options.log_severity_level = ONNX_RUNTIME_ERRORS
    # as many as torch, which waits meanwhile; spinning would take the cores of the reader and the writer
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(folder / FILE), options, providers=_providers(preparation))


def _providers(preparation: Preparation) -> list[Any]:
    if preparation.device.type == "cpu":
        return ["CPUExecutionProvider"]
    index = preparation.device.index or 0
    providers: list[Any] = [("CUDAExecutionProvider", {"device_id": index})]
    if "TensorrtExecutionProvider" in _available() and find_spec("tensorrt") is not None:
        engines = cache_folder() / "tensorrt"
        settings = {
            "device_id": index,
            "trt_fp16_enable": preparation.precision == "fp16",
            "trt_engine_cache_enable": True,
            "trt_engine_cache_path": str(engines),
        }
        providers.insert(0, ("TensorrtExecutionProvider", settings))
    return providers


def _conversion(preparation: Preparation) -> Conversion:
    import onnx  # noqa: PLC0415 - an extra

    return conversion(preparation, "onnx", onnx.__version__, executes=False)


def _convert(network: nn.Module, sample: Tensor, path: Path) -> None:
    try:
        with ignored_warnings(), torch.inference_mode(mode=False), torch.no_grad():
            torch.onnx.export(
                network,
                (sample,),
                str(path),
                dynamo=True,
                external_data=False,
                input_names=[INPUT],
                output_names=[OUTPUT],
                verbose=False,
            )
    except CONVERSION_FAILURES as error:
        msg = (
            f"--backend onnx: this network cannot be written as ONNX ({one_line(error)}); use --backend torch"
        )
        raise ModelError(msg) from error


ONNX = OnnxRuntime()
