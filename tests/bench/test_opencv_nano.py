"""NanoTrack's weights run by OpenCV: the same maps, so nearly the same boxes."""

import sys

import cv2
import numpy as np
import pytest
import torch

from trk.bench.datasets import folder as plain
from trk.bench.ope import run
from trk.bench.opencv_nano import CELLS, Backbone, Head, main, write_opencv_nano
from trk.bench.peers_opencv import is_there, open_opencv
from trk.models.nanotrack import NanoTrack

from shared import shared_path


@pytest.mark.parametrize("version", [1, 2, 3])
def test_the_files_give_the_networks_own_maps(version, tmp_path):
    ort = pytest.importorskip("onnxruntime")
    torch.manual_seed(version)
    net = NanoTrack(version).eval()
    paths = write_opencv_nano(net, tmp_path)
    sessions = [ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]) for path in paths]
    # Red-green-blue goes in, blue-green-red comes to the network.
    z, x = (torch.rand(1, 3, side, side) * 255 for side in (127, 255))
    features = [sessions[0].run(None, {"input": image.numpy()})[0] for image in (z, x)]
    cls, loc = sessions[1].run(["output1", "output2"], dict(zip(("input1", "input2"), features, strict=True)))
    assert not any(module.training for module in net.modules())
    assert cls.shape == (1, 2, CELLS, CELLS)
    assert loc.shape == (1, 4, CELLS, CELLS)
    with torch.no_grad():
        wanted_cls, wanted_loc = net.search(x.flip(1), *net.template(z.flip(1)))
    side = wanted_cls.shape[-1]
    np.testing.assert_allclose(cls[..., -side:, -side:], wanted_cls.numpy(), atol=2e-3)
    np.testing.assert_allclose(np.log(loc[..., -side:, -side:]), wanted_loc.log().numpy(), atol=2e-3)
    if side < CELLS:
        assert (cls[:, 1, 0] < -1e3).all()


def test_real_weights_track_alike_in_opencv(tmp_path, monkeypatch, capsys):
    if not is_there("nano"):
        pytest.skip(f"OpenCV {cv2.__version__} has no TrackerNano")
    weights = shared_path("nanotrack", "nanotrackv3.npz")
    monkeypatch.setattr(sys, "argv", ["opencv_nano", str(weights), str(tmp_path)])
    main()
    kind, _, target = capsys.readouterr().out.strip().partition(":")
    assert kind == "opencv"
    sequence = plain.read(shared_path("sequences", "David"))
    cut = sequence.__class__(sequence.name, sequence.images[:40], sequence.groundtruth[:40])
    assert run(open_opencv(target), cut).mean_overlap > 0.6


def test_the_parts_need_no_more_than_a_network():
    net = NanoTrack(2).eval()
    with torch.no_grad():
        features = [Backbone(net)(torch.zeros(1, 3, side, side)) for side in (127, 255)]
        cls, loc = Head(net)(*features)
    assert cls.shape[1] == 2
    assert (loc > 0).all()
