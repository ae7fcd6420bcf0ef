"""What the graphs of a bundle take and give is what the engine binds its buffers to: anything else is refused."""

import copy
import json

import pytest
from pydantic import ValidationError

from trk.engine.manifest import Manifest

GRAPHS = {
    "template.onnx": lambda m: m["template"],
    "search.onnx": lambda m: m["searches"][0],
    "search_x2.onnx": lambda m: m["searches"][0]["batches"][0],
    "search_x4.onnx": lambda m: m["searches"][0]["batches"][1],
}
"""The graphs of the bundle, each kind that one may hold."""
NOT_NEEDED = {"size", "params"}


@pytest.fixture(scope="module")
def sound(many_bundle):
    """The manifest of a bundle with graphs for one target, for two and for four."""
    return json.loads((many_bundle / "bundle.json").read_text())


@pytest.fixture
def manifest(sound):
    return copy.deepcopy(sound)


def refused(manifest, words):
    with pytest.raises(ValidationError) as caught:
        Manifest.model_validate(manifest)
    assert words in str(caught.value)


def tensors(manifest, graph):
    """The tensors that a graph of this bundle has to have as they are, with the list that each stands in."""
    found = GRAPHS[graph](manifest)
    for side in ("inputs", "outputs"):
        for tensor in list(found[side]):
            if (graph, side) != ("template.onnx", "outputs"):
                yield side, found[side], tensor


def test_the_graphs_are_there(manifest):
    assert [GRAPHS[name](manifest)["file"] for name in GRAPHS] == list(GRAPHS)
    Manifest.model_validate(manifest)


@pytest.mark.parametrize("graph", GRAPHS)
def test_what_is_needed_is_missed_and_what_is_not_is_left_out(graph, sound):
    for number in range(len(list(tensors(sound, graph)))):
        manifest = copy.deepcopy(sound)
        side, stands_in, tensor = list(tensors(manifest, graph))[number]
        stands_in.remove(tensor)
        if tensor["name"] in NOT_NEEDED:
            Manifest.model_validate(manifest)
        else:
            refused(manifest, f"{side} of {graph}: '{tensor['name']}' is missing")


@pytest.mark.parametrize("graph", GRAPHS)
def test_another_type_or_one_side_that_differs_is_refused(graph, sound):
    for number, (_, _, plain) in enumerate(tensors(sound, graph)):
        for axis in (None, *range(len(plain["shape"]))):
            manifest = copy.deepcopy(sound)
            side, _, tensor = list(tensors(manifest, graph))[number]
            shown = f"{tensor['dtype']} {tensor['shape']}"
            if axis is None:
                tensor["dtype"] = "int64"
            else:
                tensor["shape"][axis] += 1
            now = f"{tensor['dtype']} {tensor['shape']}"
            refused(manifest, f"{side} of {graph}: {tensor['name']} is {now}, not {shown}")


@pytest.mark.parametrize(
    ("graph", "side"),
    [("template.onnx", "inputs"), *((graph, side) for graph in list(GRAPHS)[1:] for side in ("inputs", "outputs"))],
)
def test_what_nobody_knows_is_refused(graph, side, manifest):
    GRAPHS[graph](manifest)[side].append({"name": "more", "dtype": "float32", "shape": [1]})
    refused(manifest, f"{side} of {graph}: 'more' is none that the engine knows")


@pytest.mark.parametrize("graph", list(GRAPHS)[1:])
def test_maps_are_given_by_the_search_for_one_target_alone(graph, manifest):
    GRAPHS[graph](manifest)["outputs"].append({"name": "map_score", "dtype": "float32", "shape": [3, 1, 17, 17]})
    if graph == "search.onnx":
        Manifest.model_validate(manifest)
    else:
        refused(manifest, "'map_score' is none that the engine knows")


def test_a_template_gives_kernels_and_nothing_else(manifest):
    outputs = GRAPHS["template.onnx"](manifest)["outputs"]
    outputs.append({"name": "features", "dtype": "float32", "shape": [1]})
    refused(manifest, "template.onnx has to give tensors named kernel_*")
    outputs.clear()
    refused(manifest, "template.onnx has to give tensors named kernel_*")


def test_a_template_of_two_scales_takes_two_crops(manifest):
    manifest["geometry"]["template_steps"] = [0, 1]
    (crop,) = (tensor for tensor in manifest["template"]["inputs"] if tensor["name"] == "crop")
    refused(manifest, "crop is uint8 [1, 127, 127, 3], not uint8 [2, 127, 127, 3]")
    crop["shape"][0] = 2
    Manifest.model_validate(manifest)
