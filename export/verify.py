"""Do the exported graphs say what PyTorch says? Compared on a real crop, in ONNX Runtime on the CPU."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import BackendError, ExportError

Array = NDArray[np.generic]

MAP_SHARE = 1e-3
"""Maps and kernels may differ by this share of their own largest value: a hundred times float32's usual noise."""
HALF_SHARE = 1e-2
"""The same for FP16, besides what FP16 does in PyTorch: rounding falls differently where sums are added differently."""
STEP_PIXELS = 1e-2
"""Boxes that the step makes of the same maps may differ by this much, in crop pixels."""
STEP_SCORE = 1e-3


@dataclass
class Agreement:
    """Largest difference of each output, and what is allowed."""

    differences: dict[str, float] = field(default_factory=dict)
    limits: dict[str, float] = field(default_factory=dict)

    def compare(self, name: str, ours: Array, reference: Array, limit: float) -> None:
        """Record the largest difference between two arrays. A value that is not finite is an endless difference."""
        if ours.shape != reference.shape:
            raise ExportError(f"{name}: the graph gives {list(ours.shape)}, PyTorch {list(reference.shape)}")
        difference = np.abs(ours.astype(np.float64) - reference.astype(np.float64))
        largest = float(difference.max()) if np.isfinite(difference).all() else float("inf")
        self.differences[name] = max(largest, self.differences.get(name, 0.0))
        self.limits[name] = limit

    def compare_scaled(self, name: str, ours: Array, reference: Array) -> None:
        """Record the largest difference, with a limit in proportion to the reference's largest value."""
        self.compare(name, ours, reference, MAP_SHARE * max(float(np.abs(reference).max()), 1e-6))

    def compare_half(self, name: str, ours: Array, reference: Array, twin: Array) -> None:
        """Record the largest difference of an FP16 graph from the FP32 `reference`.

        It may be HALF_SHARE of the largest value, and twice what the same FP16 arithmetic in PyTorch (`twin`) makes.
        """
        scale = max(float(np.abs(reference).max()), 1e-6)
        noise = np.abs(twin.astype(np.float64) - reference.astype(np.float64)).max()
        self.compare(name, ours, reference, HALF_SHARE * scale + 2 * float(noise))

    def require(self) -> None:
        """Raise ExportError if anything differs by more than its limit."""
        for name, difference in self.differences.items():
            if not difference <= self.limits[name]:
                raise ExportError(
                    f"the exported graph disagrees with PyTorch: {name} differs by {difference:.3g}, "
                    f"{self.limits[name]:.3g} is allowed; no bundle was written"
                )


def run(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Return the outputs of `model` by name, run once in ONNX Runtime on the CPU."""
    try:
        import onnxruntime
    except ImportError:
        raise BackendError("the check of an export needs ONNX Runtime: pip install 'trk-engine[cpu]'") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        names = [value.name for value in session.get_outputs()]
        wanted = {value.name for value in session.get_inputs()}
        outputs = session.run(names, {name: array for name, array in feeds.items() if name in wanted})
    except Exception as error:  # ONNX Runtime raises many types of its own
        raise ExportError(f"ONNX Runtime can't run the exported graph: {error}; no bundle was written") from error
    return dict(zip(names, outputs, strict=True))


def arrays(tensors: Mapping[str, Tensor]) -> dict[str, Array]:
    """Return named tensors as NumPy arrays."""
    return {name: tensor.detach().numpy() for name, tensor in tensors.items()}


def compare_step(
    agreement: Agreement,
    step: torch.nn.Module,
    maps: list[Array],
    outputs: Mapping[str, Array],
    size: Tensor,
    params: Tensor,
    label: str = "",
) -> None:
    """Record how the graph's step differs from PyTorch's on the maps that the graph itself computed.

    On the same maps the chosen proposal has to be the same one; between two sets of maps a tie may fall either way.
    `label` goes behind the names that the differences are recorded under.
    """
    with torch.no_grad():
        box, score, best = step(*(torch.from_numpy(values) for values in maps), size, params)
    agreement.compare("best" + label, outputs["best"], best.numpy(), 0.0)
    agreement.compare("box" + label, outputs["box"], box.numpy(), STEP_PIXELS)
    scale = max(1.0, float(score.abs().max()))
    agreement.compare("score" + label, outputs["score"], score.numpy(), STEP_SCORE * scale)
