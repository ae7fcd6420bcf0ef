"""A file with VitTrack's interface as a bundle: the boxes of a host in NumPy that runs the file itself.

The file is made here, with the operators of the real one, which is not part of this repository.
"""

import hashlib
import warnings
from itertools import pairwise
from math import ceil, sqrt
from types import SimpleNamespace

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import version_converter
from torch import nn

import trk
from trk.bench.opencv_vit import main
from trk.engine.bundle import Bundle

ort = pytest.importorskip("onnxruntime")

CHANNELS = 8
MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


class SmallVit(nn.Module):
    """Patch embedding, one block on all tokens together, three small branches: VitTrack at a sixth of its width."""

    def __init__(self):
        super().__init__()
        widths = (3, 3, 4, 6, CHANNELS)
        layers = [nn.Conv2d(a, b, 3, 2, 1) for a, b in pairwise(widths)]
        self.embed = nn.Sequential(*(part for conv in layers for part in (conv, nn.Hardswish())))
        self.pos_z, self.pos_x = (nn.Parameter(torch.randn(1, tokens, CHANNELS)) for tokens in (64, 256))
        self.norms = nn.ModuleList(nn.LayerNorm(CHANNELS) for _ in range(3))
        self.qkv = nn.Linear(CHANNELS, 3 * CHANNELS)
        self.mlp = nn.Sequential(nn.Linear(CHANNELS, 16), nn.GELU(), nn.Linear(16, CHANNELS))
        self.branches = nn.ModuleList(
            nn.Sequential(nn.Conv2d(CHANNELS, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, n, 1)) for n in (1, 2, 2)
        )
        with torch.no_grad():
            self.branches[1][-1].bias.fill_(-1.1)  # a quarter of the crop: a target of the size it had
            self.branches[2][-1].bias.fill_(0.5)

    def forward(self, template, search):
        z, x = (self.embed(image).flatten(2).transpose(1, 2) for image in (template, search))
        tokens = torch.cat([z + self.pos_z, x + self.pos_x], 1)
        b, n, c = tokens.shape
        q, k, v = self.qkv(self.norms[0](tokens)).reshape(b, n, 3, c).permute(2, 0, 1, 3).unbind(0)
        tokens = tokens + (q @ k.transpose(1, 2) * c**-0.5).softmax(-1) @ v
        tokens = self.norms[2](tokens + self.mlp(self.norms[1](tokens)))
        side = int(sqrt(n - 64))
        maps = tokens[:, -side * side :].transpose(1, 2).reshape(b, c, side, side)
        score, size, offset = (branch(maps) for branch in self.branches)
        return score.sigmoid().clamp(0.0001, 0.9999), size.sigmoid().clamp(0.0001, 0.9999), offset


def exported(path, module, names=("template", "search", "output1", "output2", "output3"), sides=(128, 256)):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            tuple(torch.zeros(1, 3, side, side) for side in sides),
            str(path),
            input_names=names[:2],
            output_names=names[2:],
            opset_version=14,
            dynamo=False,
        )
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    torch.manual_seed(3)
    return exported(tmp_path_factory.mktemp("vit") / "small.onnx", SmallVit())


@pytest.fixture(scope="module")
def bundle(file):
    out = file.with_name("vit.trk")
    assert main([str(file), str(out)]) == 0
    return out


class Host:
    """LIGHT_TRACKERS.md 1.4 and 1.5 in NumPy and OpenCV around the file itself."""

    def __init__(self, file):
        self.session = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        hann = 0.5 * (1 - np.cos(2 * np.pi * np.arange(1, 17) / 17))
        self.window = np.outer(hann, hann).astype(np.float32)

    def crop(self, frame, factor, out):
        x, y, w, h = self.state
        rows, columns = frame.shape[:2]
        s = ceil(sqrt(w * h) * factor)
        x1, y1 = round(x + 0.5 * w - 0.5 * s), round(y + 0.5 * h - 0.5 * s)
        left, top = max(0, -x1), max(0, -y1)
        right, bottom = max(0, x1 + s - columns + 1), max(0, y1 + s - rows + 1)
        seen = frame[y1 + top : y1 + s - bottom, x1 + left : x1 + s - right]
        square = cv2.copyMakeBorder(seen, top, bottom, left, right, cv2.BORDER_CONSTANT)
        rgb = cv2.resize(square, (out, out), interpolation=cv2.INTER_LINEAR)[..., ::-1]
        pixels = (rgb.astype(np.float32) / 255 - MEAN) / STD
        return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None]), out / s

    def init(self, frame, box):
        self.state = box
        self.template, _ = self.crop(frame, 2, 128)

    def update(self, frame):
        x, y, w, h = self.state
        rows, columns = frame.shape[:2]
        search, r = self.crop(frame, 4, 256)
        score, size, offset = (
            maps[0] for maps in self.session.run(None, {"template": self.template, "search": search})
        )
        row, column = divmod(int((self.window * score[0]).argmax()), 16)
        found = *offset[:, row, column], *size[:, row, column]
        cx, cy, w2, h2 = (
            float(value) * 256 / r for value in ((column + found[0]) / 16, (row + found[1]) / 16, found[2], found[3])
        )
        x1, y1 = cx + x + w / 2 - 128 / r - w2 / 2, cy + y + h / 2 - 128 / r - h2 / 2
        x2, y2 = x1 + w2, y1 + h2
        x1, x2 = min(max(0, x1), columns - 2), min(max(2, x2), columns)
        y1, y2 = min(max(0, y1), rows - 2), min(max(2, y2), rows)
        self.state = x1, y1, max(2, x2 - x1), max(2, y2 - y1)
        return self.state, float(score[0, row, column])


@pytest.mark.parametrize(
    "init", [(90, 70, 48, 48), (0, 0, 40.5, 30.2), (283, 3, 37, 61), (270.3, 200.8, 49, 39), (-6, 100, 30, 50)]
)
def test_boxes_are_those_of_a_plain_host_around_the_file(init, file, bundle, clip):
    host, tracker = Host(file), trk.Tracker(bundle, "onnxruntime", threads=1)
    host.init(clip.frames[0], init)
    tracker.init(clip.frames[0], init)
    boxes = []
    for frame in clip.frames[1:16]:
        box, score = host.update(frame)
        found = tracker.update(frame)
        np.testing.assert_allclose(found.box, box, atol=0.02)
        assert found.score == pytest.approx(score, abs=1e-4)
        boxes.append(box)
    assert np.ptp(boxes, axis=0).max() > 2  # it moved


def test_some_of_these_targets_reach_the_borders(file, clip):
    host = Host(file)
    host.init(clip.frames[0], (283, 3, 37, 61))
    boxes = np.array([host.update(frame)[0] for frame in clip.frames[1:16]])
    assert ((boxes[:, :2] == 0) | (boxes[:, :2] + boxes[:, 2:] == (320, 240))).any()


def test_the_bundle_tells_where_it_comes_from(file, bundle):
    manifest = Bundle(bundle).manifest
    assert (manifest.model, manifest.precision, manifest.opset) == ("vittrack", "fp32", 18)
    assert manifest.weights.origin == "checkpoint"
    assert (manifest.weights.file, manifest.weights.sha256) == (
        "small.onnx",
        hashlib.sha256(file.read_bytes()).hexdigest(),
    )
    assert manifest.weights.licence.startswith("not known")  # this is not opencv_zoo's file
    assert manifest.parity.outputs.keys() == {
        "kernel_template",
        "output1",
        "output2",
        "output3",
        "box",
        "score",
        "best",
    }
    assert [(one.name, one.shape) for one in manifest.template.outputs] == [("kernel_template", (1, 3, 128, 128))]


def test_the_zoos_file_has_its_licence(file, tmp_path, monkeypatch):
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    monkeypatch.setattr("trk.bench.opencv_vit.LICENCES", {digest: "Apache-2.0 (opencv_zoo)"})
    assert main([str(file), str(tmp_path / "vit.trk")]) == 0
    assert Bundle(tmp_path / "vit.trk").manifest.weights.licence == "Apache-2.0 (opencv_zoo)"


def test_a_file_without_shapes_and_with_weights_among_its_inputs_is_taken(file, tmp_path, capsys):
    model = onnx.load(str(file))
    weights = model.graph.initializer[0]
    model.graph.input.append(onnx.helper.make_tensor_value_info(weights.name, weights.data_type, weights.dims))
    for value in model.graph.output:
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    other = tmp_path / "other.onnx"
    onnx.save(model, str(other))
    assert main([str(other), str(tmp_path / "vit.trk")]) == 0
    assert capsys.readouterr().out == f"--bundle {tmp_path / 'vit.trk'} --tracker opencv:vit:{other}\n"


class Pair(nn.Module):
    """Two inputs, three outputs, nothing else that VitTrack has."""

    def forward(self, template, search):
        return search.mean((2, 3), keepdim=True), template * 2, search * 2


def _bad(kind, file, tmp_path):
    path = tmp_path / "bad.onnx"
    if kind == "names":
        exported(path, Pair(), ("z", "x", "output1", "output2", "output3"))
    elif kind == "outputs":
        exported(path, Pair(), ("template", "search", "score", "size", "offset"))
    elif kind == "input shape":
        exported(path, Pair(), sides=(127, 255))
    elif kind == "output shape":
        exported(path, Pair())
    elif kind == "bytes":
        path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:2990\n")
    elif kind == "cut":
        path.write_bytes(file.read_bytes()[:-2000])
    elif kind == "empty":
        path.write_bytes(b"")
    return path


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("names", "inputs of bad.onnx are z, x: VitTrack's are template, search"),
        ("outputs", "outputs of bad.onnx are score, size, offset: VitTrack's are output1, output2, output3"),
        ("input shape", "inputs of bad.onnx: template is float [1, 3, 127, 127], VitTrack's is float [1, 3, 128, 128]"),
        ("output shape", "outputs of bad.onnx: output1 is float [1, 3, 1, 1], VitTrack's is float [1, 1, 16, 16]"),
        ("bytes", "bad.onnx can't be read as an ONNX file: "),
        ("cut", "bad.onnx can't be read as an ONNX file: "),
        ("empty", "bad.onnx can't be read as an ONNX file: "),
        ("missing", "bad.onnx: No such file or directory"),
    ],
)
def test_what_is_no_vittrack_is_refused_in_a_line(kind, said, file, tmp_path, capsys):
    path = _bad(kind, file, tmp_path)
    before = sorted(tmp_path.iterdir())
    assert main([str(path), str(tmp_path / "vit.trk")]) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert sorted(tmp_path.iterdir()) == before


def test_a_file_that_18_operators_cannot_say_is_refused_in_a_line(tmp_path, capsys):
    infos = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("template", (1, 3, 128, 128)), ("search", (1, 3, 256, 256)), ("output1", (1, 1, 16, 16)))
    ]
    infos += [onnx.helper.make_tensor_value_info(f"output{n}", onnx.TensorProto.FLOAT, (1, 2, 16, 16)) for n in (2, 3)]
    nodes = [onnx.helper.make_node("RandomUniform", [], [f"r{n}"], shape=(1, min(n, 2), 16, 16)) for n in (1, 2, 3)] + [
        onnx.helper.make_node("Gelu", [f"r{n}"], [f"output{n}"]) for n in (1, 2, 3)
    ]
    graph = onnx.helper.make_graph(nodes, "newer", infos[:2], infos[2:])
    path = tmp_path / "newer.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=9), str(path))
    assert main([str(path), str(tmp_path / "vit.trk")]) == 2
    assert capsys.readouterr().err.startswith("newer.onnx can't be brought to operator set 18: ")
    assert [one.name for one in tmp_path.iterdir()] == ["newer.onnx"]


def test_a_bundle_that_disagrees_with_its_file_is_not_written(file, tmp_path, capsys, monkeypatch):
    def other_weights(network, version):
        changed = version_converter.convert_version(network, version)
        for tensor in changed.graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT:
                tensor.CopyFrom(onnx.numpy_helper.from_array(0.9 * onnx.numpy_helper.to_array(tensor), tensor.name))
        return changed

    monkeypatch.setattr("trk.bench.opencv_vit.version_converter", SimpleNamespace(convert_version=other_weights))
    assert main([str(file), str(tmp_path / "vit.trk")]) == 2
    assert "the exported graph disagrees with PyTorch: output" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
