"""What the graphs of a bundle have to take and give: the engine binds its buffers to them, once and by address."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .manifest import Manifest, Tensor

Kind = tuple[str, tuple[int, ...]]
"""dtype and shape."""


def check_signature(manifest: Manifest) -> None:
    """Raise ValueError unless the graphs' inputs and outputs are those that the geometry and the batch ask for."""
    geometry, batch = manifest.geometry, manifest.batch
    kernels = {tensor.name: _kind(tensor) for tensor in manifest.template.outputs}
    if not kernels or not all(name.startswith("kernel_") for name in kernels):
        raise ValueError(f"{manifest.template.file} has to give tensors named kernel_*")
    inputs = {"size": ("float32", (batch, 2)), "params": ("float32", (len(manifest.params),))}
    outputs = {"box": ("float32", (batch, 4)), "score": ("float32", (batch,)), "best": ("int32", (batch,))}

    crop = _crop(batch * len(geometry.template_steps), geometry.template_size)
    _compare(f"inputs of {manifest.template.file}", manifest.template.inputs, {"crop": crop}, inputs)
    for search in manifest.searches:
        crop = _crop(batch * len(geometry.search_steps), search.size)
        _compare(f"inputs of {search.file}", search.inputs, {"crop": crop, **kernels}, inputs)
        given = [tensor for tensor in search.outputs if not tensor.name.startswith("map_")]
        _compare(f"outputs of {search.file}", given, outputs, {})
        for many in search.batches:
            times = {name: _times(kind, many.targets) for name, kind in {"crop": crop, **kernels}.items()}
            possible = {"size": _times(inputs["size"], many.targets), "params": inputs["params"]}
            _compare(f"inputs of {many.file}", many.inputs, times, possible)
            results = {name: _times(kind, many.targets) for name, kind in outputs.items()}
            _compare(f"outputs of {many.file}", many.outputs, results, {})


def _crop(number: int, side: int) -> Kind:
    return "uint8", (number, side, side, 3)


def _times(kind: Kind, targets: int) -> Kind:
    dtype, (first, *rest) = kind
    return dtype, (first * targets, *rest)


def _kind(tensor: Tensor) -> Kind:
    return tensor.dtype, tensor.shape


def _compare(what: str, tensors: Iterable[Tensor], required: Mapping[str, Kind], possible: Mapping[str, Kind]) -> None:
    found = {tensor.name: _kind(tensor) for tensor in tensors}
    for name in required:
        if name not in found:
            raise ValueError(f"{what}: {name!r} is missing")
    for name, kind in found.items():
        expected = required.get(name) or possible.get(name)
        if expected is None:
            raise ValueError(f"{what}: {name!r} is none that the engine knows")
        if kind != expected:
            raise ValueError(f"{what}: {name} is {_shown(kind)}, not {_shown(expected)}")


def _shown(kind: Kind) -> str:
    return f"{kind[0]} {list(kind[1])}"
