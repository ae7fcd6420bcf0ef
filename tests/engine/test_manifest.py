import copy
import json
import shutil
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from trk import BundleError
from trk.engine.bundle import Bundle
from trk.engine.manifest import Batch, File, HalfPrecision, Manifest, Search, Tensor


@pytest.fixture
def manifest(tiny_bundle):
    return json.loads((tiny_bundle / "bundle.json").read_text())


def at(document, path):
    for key in path:
        document = document[key]
    return document


def put(document, path, value):
    at(document, path[:-1])[path[-1]] = value


def test_manifest_survives_json(manifest):
    once = Manifest.model_validate(manifest)
    assert Manifest.model_validate_json(once.model_dump_json()) == once


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("schema_version",), 2, "this trk reads version 1"),
        (("schema_version",), None, "valid integer"),
        (("surprise",), 1, "Extra inputs"),
        (("geometry", "surprise"), 1, "Extra inputs"),
        (("geometry", "context_amount"), float("nan"), "finite"),
        (("geometry", "context_amount"), -1, "greater than"),
        (("geometry", "template_size"), 1 << 40, "less than"),
        (("geometry", "search_steps"), [], "at least 1"),
        (("geometry", "search_steps"), [0, 10**9], "less than"),
        (("geometry", "limits", "relative_size"), [5, 0.2], "above the upper"),
        (("geometry", "limits", "min_size"), float("inf"), "finite"),
        (("geometry", "crop", "sampling"), "nearest", "'resize' or 'affine'"),
        (("batch",), 0, "greater than"),
        (("batch",), 10**9, "less than"),
        (("params", "scale_step"), 0, "between 0.5 and 2"),
        (("params", "scale_step"), float("inf"), "finite"),
        (("presets", "steady", "lr"), 1.0, "unknown parameter 'lr'"),
        (("presets", "steady", "scale_step"), -1.0, "between 0.5 and 2"),
        (("searches",), [], "at least 1"),
        (("searches", 0, "when"), "lost", "the one that always applies"),
        (("searches", 0, "when"), "sometimes", "'always'"),
        (("searches", 0, "file"), "other.onnx", "not among the listed files"),
        (("searches", 0, "external"), ["weights.bin"], "not among the listed files"),
        (("searches", 0, "params"), {"lr": 1.0}, "unknown parameter 'lr'"),
        (("searches", 0, "size"), 271, "crop is uint8"),
        (("template", "file"), "other.onnx", "not among the listed files"),
        (("template", "inputs"), [], "'crop' is missing"),
        (("template", "outputs"), [], "kernel_*"),
        (("template", "outputs", 0, "name"), "features", "kernel_*"),
        (("template", "outputs", 0, "dtype"), "float64", "dtype"),
        (("files", 0, "bytes"), 0, "greater than"),
        (("files", 0, "sha256"), "abc", "match pattern"),
        (("weights", "origin"), "guessed", "'checkpoint'"),
    ],
)
def test_value_that_makes_no_sense_is_refused(manifest, path, value, words):
    put(manifest, path, value)
    with pytest.raises(ValidationError) as caught:
        Manifest.model_validate(manifest)
    assert words in str(caught.value)


GRAPH = {"file": "a.onnx", "inputs": (), "outputs": ()}
EDGES = {
    "side of a tensor": (lambda n: Tensor(name="x", dtype="uint8", shape=(n,)), 1, 1 << 31),
    "length of a file's name": (lambda n: File(name="a" * n, bytes=1, sha256="0" * 64), 1, 200),
    "targets at once": (lambda n: Batch(targets=n, **GRAPH), 2, 1024),
    "side of a search crop": (lambda n: Search(size=n, **GRAPH), 16, 4096),
    "share in FP32": (lambda n: HalfPrecision(wide_share=n, ranges={}, box_drift=0, map_drift=0), 0, 1),
}


@pytest.mark.parametrize("what", EDGES)
def test_numbers_end_where_they_are_said_to(what):
    make, low, high = EDGES[what]
    make(low)
    make(high)
    for beyond in (low - 1, high + 1):
        with pytest.raises(ValidationError):
            make(beyond)


@pytest.mark.parametrize(
    ("path", "allowed", "refused"),
    [
        (("template_rate",), (0, 1), (-0.001, 1.001)),
        (("correlation",), ("", "a" * 40), ("a" * 41,)),
        (("schema_version",), (1,), (0, 2)),
        (("batch",), (1,), (0, 1025)),
    ],
)
def test_numbers_of_the_bundle_end_where_they_are_said_to(manifest, path, allowed, refused):
    for value in allowed:
        put(manifest, path, value)
        Manifest.model_validate(manifest)
    for value in refused:
        put(manifest, path, value)
        with pytest.raises(ValidationError):
            Manifest.model_validate(manifest)


def test_older_manifests_say_less(manifest):
    for name in ("batch", "correlation", "template_rate", "on_lost"):
        manifest.pop(name, None)
    found = Manifest.model_validate(manifest)
    assert (found.batch, found.correlation, found.template_rate, found.on_lost) == (1, "grouped", 0.0, "follow")


FRAME = {"name": "frame", "dtype": "uint8", "shape": [0, 3]}
"""A whole frame of any size: what a graph took that cut its crops by itself."""


@pytest.mark.parametrize("twin", [None, {"inputs": [FRAME], "outputs": [], "external": ["weights.bin"]}])
def test_older_manifests_may_name_graphs_that_cut_their_own_crops(many_bundle, tmp_path, twin):
    folder = Path(shutil.copytree(many_bundle, tmp_path / "bundle"))
    manifest = json.loads((folder / "bundle.json").read_text())
    search, data = manifest["searches"][0], b"a graph"
    for graph in (search, *search["batches"]):
        name = graph["file"].replace(".onnx", "_frame.onnx")
        graph["frame"] = twin and {"file": name, **twin}
        if twin:
            (folder / name).write_bytes(data)
            manifest["files"].append({"name": name, "bytes": len(data), "sha256": sha256(data).hexdigest()})
    (folder / "bundle.json").write_text(json.dumps(manifest))
    found, plain = Bundle(folder).manifest, Bundle(many_bundle).manifest
    assert (found.template, found.searches, found.graphs) == (plain.template, plain.searches, plain.graphs)
    assert "frame" not in found.model_dump()["searches"][0]


def test_the_first_unknown_parameter_is_told(manifest):
    manifest["searches"][0]["params"] = {"zeal": 1.0, "awe": 1.0, "mood": 1.0}
    with pytest.raises(ValidationError, match="unknown parameter 'awe'"):
        Manifest.model_validate(manifest)


def test_two_graphs_for_as_many_targets_are_refused(manifest):
    search = manifest["searches"][0]
    one = {**{name: search[name] for name in ("file", "inputs", "outputs")}, "targets": 4}
    search["batches"] = [one, {**one, "targets": 2}, one]
    with pytest.raises(ValidationError, match="'4 targets' is listed 2 times"):
        Manifest.model_validate(manifest)


@pytest.mark.parametrize("path", [("files",), ("searches",)])
def test_what_is_listed_twice_is_refused(manifest, path):
    entries = at(manifest, path)
    entries.append(copy.deepcopy(entries[0]))
    with pytest.raises(ValidationError, match="listed 2 times"):
        Manifest.model_validate(manifest)


@pytest.mark.parametrize("name", ["crop", "kernel_zf"])
def test_search_graph_without_an_input_it_needs_is_refused(manifest, name):
    search = manifest["searches"][0]
    search["inputs"] = [tensor for tensor in search["inputs"] if tensor["name"] != name]
    with pytest.raises(ValidationError, match=f"'{name}' is missing"):
        Manifest.model_validate(manifest)


@pytest.mark.parametrize("name", ["box", "score", "best"])
def test_search_graph_without_an_output_it_needs_is_refused(manifest, name):
    search = manifest["searches"][0]
    search["outputs"] = [tensor for tensor in search["outputs"] if tensor["name"] != name]
    with pytest.raises(ValidationError, match=f"'{name}' is missing"):
        Manifest.model_validate(manifest)


@pytest.mark.parametrize("side", ["inputs", "outputs"])
def test_tensor_that_the_engine_does_not_know_is_refused(manifest, side):
    manifest["searches"][0][side].append({"name": "more", "dtype": "float32", "shape": [1]})
    with pytest.raises(ValidationError, match="'more' is none that the engine knows"):
        Manifest.model_validate(manifest)


@pytest.mark.parametrize("shape", [[2, 4], [4], [1, 5], [1, 0], [1 << 60, 4]])
def test_output_of_another_shape_than_the_buffer_it_is_bound_to_is_refused(manifest, shape):
    box = next(tensor for tensor in manifest["searches"][0]["outputs"] if tensor["name"] == "box")
    box["shape"] = shape
    with pytest.raises(ValidationError):
        Manifest.model_validate(manifest)


def test_maps_may_be_among_the_outputs(manifest):
    manifest["searches"][0]["outputs"].append({"name": "map_score", "dtype": "float32", "shape": [3, 1, 17, 17]})
    Manifest.model_validate(manifest)


def places(document, path=()):
    """The path of every value in a JSON document."""
    yield path
    if isinstance(document, dict | list):
        for key, value in document.items() if isinstance(document, dict) else enumerate(document):
            yield from places(value, (*path, key))


def opened(path):
    """The manifest, or None where the bundle is refused: with a BundleError of one line, and nothing else."""
    try:
        return Bundle(path).manifest
    except BundleError as error:
        refusal = str(error)
    assert "\n" not in refusal
    return None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_change_of_the_manifest_is_refused_or_leaves_a_valid_one(bundle_copy, data):
    path = bundle_copy / "bundle.json"
    original = path.read_bytes()
    document = json.loads(original)
    for _ in range(data.draw(st.integers(1, 3), label="changes")):
        where = data.draw(st.sampled_from(list(places(document))), label="where")
        how = data.draw(st.sampled_from(["replace", "delete", "add"]), label="how")
        value = data.draw(JSON, label="value")
        if not where:
            document = value if how == "replace" else document
        elif how == "delete":
            del at(document, where[:-1])[where[-1]]
        elif how == "replace":
            put(document, where, value)
        elif isinstance(at(document, where), dict):
            at(document, where)[data.draw(st.text(max_size=8), label="key")] = value
        elif isinstance(at(document, where), list):
            at(document, where).append(value)
    try:
        path.write_text(json.dumps(document))
        manifest = opened(bundle_copy)
        assert manifest is None or Manifest.model_validate(manifest.model_dump()) == manifest
    finally:
        path.write_bytes(original)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.floats(0, 1, exclude_max=True), junk=st.binary(max_size=6), cut=st.integers(0, 6))
def test_any_damage_to_the_bytes_of_the_manifest_is_refused_or_harmless(bundle_copy, at, junk, cut):
    path = bundle_copy / "bundle.json"
    original = path.read_bytes()
    start = int(at * len(original))
    try:
        path.write_bytes(original[:start] + junk + original[start + cut :])
        opened(bundle_copy)
    finally:
        path.write_bytes(original)
