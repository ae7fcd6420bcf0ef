"""What a search graph saw in a crop, map by map: scores, penalties, window, ranking, and the boxes that competed.

Nothing of a model is written again here. The ranking is the input of the graph's last ArgMax, which every bundle has
inside; its parts come of running the graph again with other hyper-parameters, which are inputs: without a window,
without penalties, with a window alone.
"""

import os
from math import isqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..engine.bundle import Bundle
from ..engine.manifest import Graph
from ..errors import BackendError, BundleError
from .onnx_wire import Node, nodes, with_outputs
from .why_falls import Call

Map = NDArray[np.float32]
WINDOW = "window_influence"
NO_PENALTY = {"penalty_k": 0.0, "scale_penalty": 1.0}
"""Values with which the penalties of a family do nothing."""
PEAKS = 3
APART = 0.08
"""Two peaks lie at least this share of the map's side apart."""


class Peak(NamedTuple):
    """One of the highest places of the ranking."""

    ranking: float
    score: float
    penalty: float
    window: float
    cell: tuple[int, int]
    """Column and row in the map."""
    box: tuple[float, float, float, float]
    """Centre x, y from the crop's centre and w, h, in crop pixels, before smoothing."""


class Maps(NamedTuple):
    """The maps of one search [S, S] each; of several anchors the best one's at each place."""

    score: Map
    penalised: Map
    window: Map
    ranking: Map
    peaks: list[Peak]
    """The chosen one, then the highest others."""


class Explainer:
    """Runs a bundle's graphs once more, in ONNX Runtime on the processor, whatever the tracker ran on.

    Raises BundleError where a graph doesn't end in a choice among places, BackendError without ONNX Runtime.
    """

    def __init__(self, bundle: Bundle):
        try:
            import onnxruntime
        except ImportError:
            raise BackendError("explaining needs ONNX Runtime: pip install 'trk-engine[cpu]'") from None
        self._ort = onnxruntime
        self._manifest = bundle.manifest
        self._template = self._session(bundle, self._manifest.template, [])
        self._values = [_values(bundle, graph) for graph in self._manifest.searches]
        self._searches = [
            self._session(bundle, graph, [ranking, *boxes])
            for graph, (ranking, boxes) in zip(self._manifest.searches, self._values, strict=True)
        ]

    def template(
        self, crop: NDArray[np.uint8], size: NDArray[np.float32], params: NDArray[np.float32]
    ) -> dict[str, NDArray[Any]]:
        """Return the kernels of a template crop, by name."""
        names = [tensor.name for tensor in self._manifest.template.outputs]
        feeds = {"crop": crop, "size": size, "params": params}
        wanted = {value.name for value in self._template.get_inputs()}
        values = self._template.run(names, {name: value for name, value in feeds.items() if name in wanted})
        return dict(zip(names, values, strict=True))

    def explain(self, call: Call) -> Maps:
        """Return the maps of what `call` was asked."""
        names = list(self._manifest.params)
        given = dict(zip(names, call.params.tolist(), strict=True))
        neutral = {name: value for name, value in NO_PENALTY.items() if name in given}
        ranking, boxes, offset, best = self._run(call, given)
        penalised, *_ = self._run(call, {**given, WINDOW: 0.0})
        score, *_ = self._run(call, {**given, **neutral, WINDOW: 0.0})
        window, _, centre_offset, centre = self._run(call, {**given, WINDOW: 1.0})
        side = isqrt(ranking.size // _planes(ranking.size))
        if boxes is None:
            boxes = _places(side, call, (best, offset), (centre, centre_offset))
        flat = (ranking, score, penalised, window)
        peaks = [_peak(index, side, flat, boxes) for index in _highest(ranking, best, side)]
        at, penalised_at, window_at, ranking_at = (
            _flattened(values, side) for values in (score, penalised, window, ranking)
        )
        return Maps(at, penalised_at, window_at, ranking_at, peaks)

    def _run(
        self, call: Call, params: dict[str, float]
    ) -> tuple[Map, NDArray[np.float32] | None, tuple[float, float], int]:
        """Return ranking [n], boxes [n, 4] or None, the offset chosen, and its index."""
        ranking, boxes = self._values[call.graph]
        feeds = {"crop": call.crop, "size": call.size, "params": np.array(list(params.values()), np.float32)}
        feeds |= call.kernels
        session = self._searches[call.graph]
        wanted = {value.name for value in session.get_inputs()}
        found = session.run(
            [ranking, "box", "best", *boxes], {name: value for name, value in feeds.items() if name in wanted}
        )
        decoded = np.stack([value.reshape(-1) for value in found[3:]], axis=1) if boxes else None
        x, y = found[1][0, :2].tolist()
        return np.asarray(found[0], np.float32).reshape(-1), decoded, (x, y), int(found[2][0])

    def _session(self, bundle: Bundle, graph: Graph, outputs: list[str]) -> Any:
        options = self._ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
        external = {name: bundle.read(name) for name in graph.external}
        if external:
            options.add_external_initializers_from_files_in_memory(
                list(external), list(external.values()), [len(data) for data in external.values()]
            )
        model = with_outputs(bundle.read(graph.file), outputs)
        return self._ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _values(bundle: Bundle, graph: Graph) -> tuple[str, list[str]]:
    """Return the names of the ranking, and of x, y, w, h of all boxes where the graph picks the chosen one's by index.

    Graphs that choose a place of an upsampled map compute its position: they have no list of boxes.
    """
    found: list[Node] = nodes(bundle.read(graph.file))
    choices = [node for node in found if node.op == "ArgMax"]
    if not choices:
        raise BundleError(f"{bundle.path}: {graph.file} chooses nothing by ArgMax: export the bundle again")
    chosen = choices[-1]
    picked = [node.inputs[0] for node in found if node.op == "GatherElements" and node.inputs[1] == chosen.outputs[0]]
    return chosen.inputs[0], picked[:4] if len(picked) >= 4 else []


def _planes(size: int) -> int:
    """Return how many square maps `size` values are: one, or one for each anchor."""
    return next(planes for planes in range(1, size + 1) if isqrt(size // planes) ** 2 * planes == size)


def _places(
    side: int, call: Call, one: tuple[int, tuple[float, float]], other: tuple[int, tuple[float, float]]
) -> NDArray[np.float32]:
    """Return centre x, y and w, h [side * side, 4] of the places of a map: linear between two that are known."""
    cells = np.indices((side, side), np.float32)[::-1].reshape(2, -1)
    steps = []
    for axis in (0, 1):
        apart = cells[axis, one[0]] - cells[axis, other[0]]
        steps.append((one[1][axis] - other[1][axis]) / apart if apart else 0.0)
    step = max(steps, key=abs) or call.crop.shape[1] / 2 / side
    centres = [cells[axis] * step + (other[1][axis] - cells[axis, other[0]] * step) for axis in (0, 1)]
    sizes = [np.full(side * side, value, np.float32) for value in call.box[2:]]
    return np.stack([*centres, *sizes], axis=1).astype(np.float32)


def _highest(ranking: Map, best: int, side: int) -> list[int]:
    """Return the flat indices of `best` and of the highest places apart from it and from each other."""
    left = _flattened(ranking, side).copy()
    planes = ranking.reshape(-1, side, side)
    rows, columns = np.indices((side, side))
    reach = max(APART * side, 1.0)
    found = [best]
    while len(found) < PEAKS:
        row, column = divmod(found[-1] % (side * side), side)
        left[np.hypot(rows - row, columns - column) <= reach] = -np.inf
        # Only summits: beside the ring just cleared, a slope is no rival.
        summits = np.where(left >= _neighbours(_flattened(ranking, side)), left, -np.inf)
        if not np.isfinite(summits).any():
            break
        row, column = divmod(int(summits.argmax()), side)
        found.append(int(planes[:, row, column].argmax()) * side * side + row * side + column)
    return found


def _neighbours(values: Map) -> Map:
    """Return the largest of the eight neighbours of each place."""
    padded = np.pad(values, 1, constant_values=-np.inf)
    side = values.shape[0]
    shifted = [padded[y : y + side, x : x + side] for y in range(3) for x in range(3) if (y, x) != (1, 1)]
    return np.asarray(np.max(shifted, axis=0), np.float32)


def _peak(index: int, side: int, flat: tuple[Map, Map, Map, Map], boxes: NDArray[np.float32]) -> Peak:
    ranking, score, penalised, window = (float(values[index]) for values in flat)
    row, column = divmod(index % (side * side), side)
    x, y, w, h = boxes[index].tolist()
    penalty = penalised / score if score > 0 else 1.0
    return Peak(ranking, score, penalty, window, (column, row), (x, y, w, h))


def _flattened(values: Map, side: int) -> Map:
    """Return [S, S]: the best of all anchors at each place."""
    return np.asarray(values.reshape(-1, side, side).max(axis=0))
