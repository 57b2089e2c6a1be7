"""torch.export and AOTInductor: the network as one library of machine code, compiled once.

``torch.compile`` keeps kernels on disk but traces the network again at every start, which takes seconds. A
package of AOTInductor is loaded in well under one.
"""

from __future__ import annotations

import copy
import shutil
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from segment_tiles.pipeline.errors import ModelError, one_line
from segment_tiles.pipeline.models.backends.conversions import Conversion, conversion
from segment_tiles.pipeline.models.backends.protocol import CONVERSION_FAILURES, Preparation, Runner
from segment_tiles.pipeline.models.backends.torch_eager import PRECISIONS, TorchEager

FILE = "network.pt2"


class TorchCompiled(TorchEager):
    """The network, compiled for one shape, type and kind of processor."""

    name = "compile"
    conversion_seconds = 60.0

    def unavailable(self, device: torch.device) -> str | None:
        """Return None if there is a compiler for the device."""
        if sys.platform == "win32" or any(shutil.which(name) for name in ("g++", "c++", "clang++")):
            return None
        return "it needs a C++ compiler, and none is found; install g++ or clang++"

    def batches_at_once(self, device: torch.device, precision: str) -> int:
        """Return 1: the library runs one batch at a time."""
        return 1

    def is_prepared(self, preparation: Preparation) -> bool:
        """Return whether it was compiled before."""
        return _conversion(preparation).is_complete

    def prepare(self, network: nn.Module, preparation: Preparation) -> Runner:
        """Compile, or load what was compiled."""
        dtype, device = PRECISIONS[preparation.precision], preparation.device

        def compile_into(folder: Path) -> None:
            moved = copy.deepcopy(network).to(device=device, dtype=dtype)
            moved = moved.to(memory_format=torch.channels_last).requires_grad_(requires_grad=False)
            sample = torch.zeros(preparation.shape, dtype=dtype, device=device)
            _compile(moved, sample.to(memory_format=torch.channels_last), folder / FILE)

        folder = _conversion(preparation).made(compile_into)
        try:
            return _runner(torch._inductor.aoti_load_package(str(folder / FILE)))
        except (RuntimeError, OSError) as error:
            msg = f"--backend compile: {folder} cannot be loaded ({one_line(error)}); remove it"
            raise ModelError(msg) from error


def _runner(compiled: Runner) -> Runner:
    def run(image: Tensor) -> Tensor:
        # a batch of one may be both contiguous and channels last: the strides that were compiled for are set
        return compiled(image.contiguous(memory_format=torch.channels_last))

    return run


def _conversion(preparation: Preparation) -> Conversion:
    return conversion(preparation, "compile", torch.__version__, executes=True)


def _compile(network: nn.Module, sample: Tensor, path: Path) -> None:
    try:
        with torch.inference_mode(mode=False), torch.no_grad():
            exported = torch.export.export(network, (sample,))
            torch._inductor.aoti_compile_and_package(
                exported,
                package_path=str(path),
                # without it the number of threads of this very process is compiled in
                inductor_configs={"cpp.dynamic_threads": True},
            )
    except CONVERSION_FAILURES as error:
        msg = f"--backend compile: torch cannot compile this network ({one_line(error)}); use --backend torch"
        raise ModelError(msg) from error


COMPILE = TorchCompiled()
