"""The table of operators of PyTorch's exporter, built once a process.

torch.onnx.export builds it anew at every call, from the source text of a thousand functions: about half of the time of
a small graph, and a bundle has two graphs at least.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from importlib import import_module
from typing import Any

_built: dict[tuple[Any, ...], Any] = {}


@contextmanager
def kept_operators() -> Iterator[None]:
    """Within, exports share what the table was built from; each gets a table of its own, which it may change.

    Where this PyTorch is laid out otherwise, nothing is kept. Source: pytorch/pytorch:torch/onnx/_internal/exporter/
    _registration.py (ONNXRegistry.from_torchlib).
    """
    try:
        registry: Any = import_module("torch.onnx._internal.exporter._registration").ONNXRegistry
        original = vars(registry)["from_torchlib"]
    except (ImportError, AttributeError, KeyError):
        yield
        return

    def from_torchlib(cls: type, *args: Any, **options: Any) -> Any:
        key = (*args, *sorted(options.items()))
        if key not in _built:
            _built[key] = original.__func__(cls, *args, **options)
        table = copy(_built[key])
        table.functions = {target: list(metas) for target, metas in table.functions.items()}
        return table

    registry.from_torchlib = classmethod(from_torchlib)
    try:
        yield
    finally:
        registry.from_torchlib = original
