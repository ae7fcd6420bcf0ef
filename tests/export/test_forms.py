"""Bundles whose correlations are written in another form track as the ordinary one does."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from tiny import TINY, TINY_LONG, TinyNet, seeded
from torch import nn

from trk import ExportError, ModelError, Tracker
from trk.engine.bundle import Bundle
from trk.engine.manifest import Weights
from trk.export.bundle import export_bundle
from trk.models import correlation

WEIGHTS = Weights(origin="checkpoint", file="tiny", licence="none: random projections")


def boxes(bundle, clip):
    tracker = Tracker(bundle, threads=1)
    tracker.init(clip.frames[0], clip.boxes[0])
    return np.array([tracker.update(frame).box for frame in clip.frames[1:8]])


class TinyForms(TinyNet):
    """Depth-wise correlation, summed over channels: what a banded kernel is made for."""

    def __init__(self):
        super().__init__()
        self.correlate = correlation.Depthwise()

    def template(self, z):
        return (super().template(z)[0][:, 0],)

    def search(self, x, *kernels):
        return (self.correlate(self.project(x), kernels[0]).sum(1, keepdim=True),)


class Changed(TinyForms):
    """The kernel is not taken as the template branch gave it."""

    def search(self, x, *kernels):
        return super().search(x, kernels[0] * 2)


ONE_CROP = replace(TINY, step=lambda side, size: OneScale(side), geometry={})


class OneScale(nn.Module):
    """The step of one crop: its peak."""

    def __init__(self, side):
        super().__init__()
        from tiny import tiny_step

        self.step = tiny_step(side, 255)

    def forward(self, score, size, params):
        return self.step(score.repeat(3, 1, 1, 1), size, params)


def test_banded_kernels_are_made_by_the_template_graph(tmp_path, clip):
    net = TinyForms().eval()
    net.load_state_dict(seeded().state_dict())
    found = {}
    for form in ("grouped", "toeplitz"):
        manifest = export_bundle(ONE_CROP, tmp_path / form, net, WEIGHTS, correlation=form)
        assert manifest.correlation == form
        found[form] = boxes(tmp_path / form, clip)
        operators = {node.op_type for node in onnx.load(tmp_path / form / "search.onnx").graph.node}
        shapes = {tensor.name: tensor.shape for tensor in manifest.template.outputs}
        if form == "toeplitz":
            # 15 kernel rows for each of the 31 columns of the search features, 17 columns of the map.
            assert shapes == {"kernel_zf": (1, 16, 15 * 31, 17)}
            assert "MatMul" in operators
        else:
            assert shapes == {"kernel_zf": (1, 16, 15, 15)}
    np.testing.assert_allclose(found["toeplitz"], found["grouped"], atol=1e-2)


def test_banded_kernels_fit_one_size_of_search_crop_only(tmp_path):
    row = replace(TINY_LONG, step=ONE_CROP.step, geometry={})
    with pytest.raises(ExportError, match="one size of search crop"):
        export_bundle(row, tmp_path / "bundle", TinyForms().eval(), WEIGHTS, correlation="toeplitz")
    assert list(tmp_path.iterdir()) == []


def test_banded_kernels_want_the_kernel_itself(tmp_path):
    with pytest.raises(ExportError, match="changed after the template branch"):
        export_bundle(ONE_CROP, tmp_path / "bundle", Changed().eval(), WEIGHTS, correlation="toeplitz")


def test_form_that_does_not_exist(tmp_path):
    with pytest.raises(ModelError, match="choose one of grouped"):
        export_bundle(TINY, tmp_path / "bundle", seeded(), WEIGHTS, correlation="fast")


def test_form_is_part_of_a_written_bundle(tiny_bundle):
    assert Bundle(tiny_bundle).manifest.correlation == "grouped"
