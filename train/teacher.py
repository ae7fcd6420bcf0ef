"""A trained tracker as the teacher of another: its maps and, where both have them, its features."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..engine.bundle import Bundle
from ..engine.geometry import Geometry
from ..engine.manifest import Graph
from ..errors import ModelError, UsageError
from ..export.onnx_graph import MAP_PREFIX
from ..models.folding import fold_norms
from ..models.network import SiameseNet
from ..models.registry import find
from ..models.row import Row
from ..weights.checkpoint import read_checkpoint
from ..weights.recognise import load_into, recognise
from ..weights.shipped import shipped_weights

BUNDLE = ".trk"


@runtime_checkable
class Featured(Protocol):
    """A network whose trunk and heads can be run apart."""

    def features(self, x: Tensor) -> Tensor:
        """Return the trunk's features of crops."""

    def maps(self, features: Tensor, *kernels: Tensor) -> tuple[Tensor, ...]:
        """Return the maps of features of a search crop."""


class Teacher(nn.Module):
    """A network that is asked and never learns. `net` is a `SiameseNet`, or a bundle that answers like one."""

    def __init__(self, row: Row, net: SiameseNet):
        super().__init__()
        self.row = row
        self.net = net.eval().requires_grad_(False)

    @property
    def featured(self) -> Featured:
        """The network, whose trunk and heads can be run apart. Raises UsageError where they can't."""
        if not isinstance(self.net, Featured):
            raise UsageError(
                f"--stage trunk and --stage heads want a teacher with features: {self.row.name} has none here"
            )
        return self.net

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return next((parameter.device for parameter in self.net.parameters()), torch.device("cpu"))

    def train(self, mode: bool = True) -> "Teacher":
        """Stay in eval mode."""
        return super().train(False)


class BundleNet(SiameseNet):
    """The graphs of a bundle that was exported with its maps, as a network; ONNX Runtime runs them pair by pair."""

    def __init__(self, bundle: Bundle, map_names: Sequence[str]):
        super().__init__()
        manifest = bundle.manifest
        template, search = manifest.template, manifest.searches[0]
        self.outputs = [f"{MAP_PREFIX}{name}" for name in map_names]
        if not {*self.outputs} <= {tensor.name for tensor in search.outputs}:
            raise UsageError(f"--teacher {bundle.path} keeps its maps to itself: export it with --maps")
        self.map_names = tuple(map_names)
        self.kernel_names = tuple(tensor.name for tensor in template.outputs)
        self.takes_size = any(tensor.name == "size" for tensor in template.inputs)
        self._params = np.array(list(manifest.params.values()), np.float32)
        self._template, self._search = (_session(bundle, graph) for graph in (template, search))

    def kernels(self, z: Tensor, size: Tensor) -> tuple[Tensor, ...]:
        """Return the kernels of BGR crops [N, 3, T, T] with targets of w, h `size` [N, 2]."""
        feeds: list[dict[str, NDArray[Any]]] = [
            {"crop": crop} | ({"size": sides} if self.takes_size else {})
            for crop, sides in zip(_pictures(z), _each(size), strict=True)
        ]
        return _joined([self._template.run(list(self.kernel_names), feed) for feed in feeds])

    def search(self, x: Tensor, *kernels: Tensor) -> tuple[Tensor, ...]:
        """Return the maps of BGR crops [N, 3, I, I]."""
        crops, known = _pictures(x), [_each(kernel) for kernel in kernels]
        size = np.full((1, 2), x.shape[-1] / 4, np.float32)
        found = []
        for number, crop in enumerate(crops):
            feed: dict[str, NDArray[Any]] = {
                name: values[number] for name, values in zip(self.kernel_names, known, strict=True)
            }
            feed |= {"crop": crop, "size": size, "params": self._params}
            found.append(self._search.run(self.outputs, feed))
        return _joined(found)


def _session(bundle: Bundle, graph: Graph) -> ort.InferenceSession:
    if graph.external:
        raise UsageError(
            f"--teacher {bundle.path} keeps weights in files of their own: export it anew, or give weights"
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(bundle.read(graph.file), options, providers=["CPUExecutionProvider"])


def _pictures(x: Tensor) -> list[NDArray[np.uint8]]:
    return [np.ascontiguousarray(crop[None]) for crop in x.permute(0, 2, 3, 1).to(torch.uint8).cpu().numpy()]


def _each(values: Tensor) -> list[NDArray[np.float32]]:
    return [value[None] for value in values.float().cpu().numpy()]


def _joined(found: list[list[NDArray[np.float32]]]) -> tuple[Tensor, ...]:
    return tuple(torch.from_numpy(np.concatenate(parts)) for parts in zip(*found, strict=True))


def read_teacher(named: str, student: Row) -> Teacher:
    """Return the teacher that `named` means: a bundle, a file of weights, or a row of the registry that ships its own.

    Raises UsageError where its maps or crops mean something else than the student's, and what reading raises.
    """
    path = Path(named)
    if path.suffix == BUNDLE or path.is_dir():
        bundle = Bundle(path)
        manifest = bundle.manifest
        row = find(manifest.model, manifest.variant)
        _check(named, row, manifest.geometry, manifest.searches[0].size, student)
        return Teacher(replace(row, channels="BGR"), BundleNet(bundle, row.build().map_names))
    if path.exists():
        checkpoint = read_checkpoint(path)
        row = recognise(checkpoint)
    else:
        model, _, variant = named.partition("/")
        try:
            row = find(model, variant or None)
        except ModelError as error:
            raise UsageError(f"--teacher {named}: no file is there, and {error}") from None
        if row.shipped is None:
            raise UsageError(
                f"--teacher {named}: no file is there, and {row.name} ships no weights: name a file of them"
            )
        checkpoint = read_checkpoint(shipped_weights(row.shipped).path)
    _check(named, row, Geometry.model_validate(row.geometry), row.searches[0].size, student)
    net = row.build()
    load_into(net, checkpoint)
    return Teacher(row, _lightened(net.eval().tracked().fused().eval(), row))


def _check(named: str, row: Row, geometry: Geometry, size: int, student: Row) -> None:
    if row.family != student.family:
        raise UsageError(
            f"--teacher {named} is {row.name}, whose maps are no lesson for {student.name}: take one of its kind"
        )
    wanted = Geometry.model_validate(student.geometry)
    shown = (geometry.template_size, geometry.exemplar_size, geometry.context_amount, geometry.box_context, size)
    if shown != (
        wanted.template_size,
        wanted.exemplar_size,
        wanted.context_amount,
        wanted.box_context,
        student.searches[0].size,
    ):
        raise UsageError(
            f"--teacher {named} is {row.name}, whose crops show another region than those of {student.name}"
        )


def _lightened(net: SiameseNet, row: Row) -> SiameseNet:
    """Return a copy without batch norms, channels last."""
    geometry = Geometry.model_validate(row.geometry)
    z, x = (torch.zeros(1, 3, size, size) for size in (geometry.template_size, row.searches[0].size))
    net = copy.deepcopy(net)
    fold_norms(net, lambda: net.search(x, *net.kernels(z, torch.full((1, 2), 32.0))))
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
