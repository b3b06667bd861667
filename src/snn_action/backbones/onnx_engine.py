"""A backbone's network in ONNX Runtime, which on processors is up to several times as fast as PyTorch.

The network is exported with its weights as loaded, when the work begins. Of images of another size it is exported anew.
``agrees`` says whether its features are PyTorch's to 1e-5, as those of another number of threads are: then both share
one key in the feature store.
"""

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snn_action.core.errors import ConfigError
from snn_action.core.extras import import_extra

EXTRA, KEY = "onnx", "backbone.engine 'onnx'"
TOLERANCE = 1e-5  # of features, in units of the largest one where that is above 1
EXAMPLES = 2  # images that the network is exported and compared with


class OnnxEngine:
    """Features of normalized images on the processor, as PyTorch gives them; called like the network.

    Attributes:
        shape: Of one image, or window of images, that it takes.
        difference: Largest difference from PyTorch's features of random images, in units of ``TOLERANCE``'s.
    """

    def __init__(self, network: nn.Module, shape: tuple[int, ...], name: str) -> None:
        """Export ``network``, called ``name``, for images of ``shape``, and compare.

        Raises:
            ConfigError: the extra is not installed, or the network cannot be exported or run.
        """
        runtime = import_extra("onnxruntime", EXTRA, KEY)
        for module in ("onnx", "onnxscript"):  # what the exporter needs
            import_extra(module, EXTRA, KEY)
        self.shape = shape
        images = torch.randn(EXAMPLES, *shape, generator=torch.Generator().manual_seed(0))
        try:
            with tempfile.TemporaryDirectory() as folder, _quiet():
                path = Path(folder) / "network.onnx"
                dynamic = ({0: torch.export.Dim("images")},)
                torch.onnx.export(network, (images,), path, dynamo=True, dynamic_shapes=dynamic, verbose=False)
                self._session = _open_session(runtime, path)
            self._input = self._session.get_inputs()[0].name
            with torch.inference_mode():
                wanted = network(images)
            self.difference = float((self(images) - wanted).abs().max() / wanted.abs().max().clamp(min=1))
        except Exception as error:  # of many kinds: what cannot be traced, converted or run
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ConfigError(f"{KEY}: {name} cannot be exported ({reason}); set it to 'torch'") from error

    @property
    def agrees(self) -> bool:
        """Whether its features are PyTorch's as exactly as the store asks for."""
        return self.difference <= TOLERANCE

    def __call__(self, images: Tensor) -> Tensor:
        """Features ``(N, D)`` float32 of ``images`` (N, *shape)."""
        (features,) = self._session.run(None, {self._input: images.contiguous().numpy()})
        return torch.from_numpy(features)


def _open_session(runtime: Any, path: Path) -> Any:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors: of what it could not make faster it would warn
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of its own parts and prints steps; what goes wrong it raises."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
