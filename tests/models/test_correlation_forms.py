"""Every form of a correlation against the grouped convolution, alone, in a network, and as ONNX of any batch."""

import io
import warnings

import numpy as np
import onnxruntime
import pytest
import torch
from random_networks import NETWORKS, crops, network
from torch import Tensor, nn

from trk import ModelError
from trk.export.operators import kept_operators
from trk.models import correlation
from trk.models.correlation_forms import FORMS, RUNTIME_FORMS, banded, gemm_then_shift

OTHERS = [name for name in FORMS if name != "grouped"]
TOLERANCE = 1e-5
"""Of the largest value."""


def close(ours: Tensor, expected: Tensor) -> None:
    assert ours.shape == expected.shape
    torch.testing.assert_close(ours, expected, rtol=0, atol=TOLERANCE * float(expected.abs().max()))


def inputs(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("form", OTHERS)
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("targets", [1, 3])
def test_depthwise_forms_equal_the_grouped_convolution(form: str, padding: int, targets: int) -> None:
    x, kernel = inputs(targets, 8, 13, 11), inputs(targets, 8, 5, 4, seed=1)
    layer = correlation.Depthwise(padding)
    expected = layer(x, kernel)
    correlation.set_form(layer, form)
    close(layer(x, layer.prepared(kernel, x.shape[3])), expected)


@pytest.mark.parametrize("form", OTHERS)
@pytest.mark.parametrize("scales", [1, 3])
@pytest.mark.parametrize("targets", [1, 2])
def test_full_forms_equal_the_grouped_convolution(form: str, scales: int, targets: int) -> None:
    x, kernel = inputs(targets * scales, 16, 12, 13), inputs(targets, 5, 16, 4, 3, seed=1)
    layer = correlation.Full()
    expected = layer(x, kernel)
    correlation.set_form(layer, form)
    close(layer(x, kernel), expected)


def test_banded_kernel_written_out() -> None:
    kernel = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    expected = torch.tensor(
        [[1.0, 0.0], [2.0, 1.0], [0.0, 2.0], [3.0, 0.0], [4.0, 3.0], [0.0, 4.0]],
    )
    torch.testing.assert_close(banded(kernel, 3)[0, 0], expected)


@torch.inference_mode()
@pytest.mark.parametrize("form", ["shift", "gather"])
@pytest.mark.parametrize("name", NETWORKS)
def test_network_in_another_form_gives_the_same_maps(name: str, form: str) -> None:
    net = network(name).fused()
    z, x = crops(net, 1)
    kernels = net.template(z)
    expected = net.search(x, *kernels)
    correlation.set_form(net, form)
    for ours, reference in zip(net.search(x, *kernels), expected, strict=True):
        scale = float(reference.abs().max())
        torch.testing.assert_close(ours, reference, rtol=0, atol=2e-5 * scale)


def test_unknown_form_is_refused_with_those_there_are() -> None:
    with pytest.raises(ModelError, match="grouped, shift, gather, toeplitz"):
        correlation.set_form(nn.Sequential(correlation.Full()), "fast")


def test_every_runtime_names_forms_that_exist() -> None:
    for forms in RUNTIME_FORMS.values():
        assert set(forms) <= set(FORMS)


def any_batch(module: nn.Module, x: Tensor, kernel: Tensor) -> bytes:
    """`module` as ONNX whose first axes are open."""
    batch = torch.export.Dim("targets", min=1, max=64)
    shapes = ({0: batch}, {0: batch})
    with warnings.catch_warnings(), kept_operators():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module, (x, kernel), input_names=["x", "kernel"], dynamic_shapes=shapes, dynamo=True, verbose=False
        )
    data = io.BytesIO()
    program.save(data)
    return data.getvalue()


@pytest.mark.parametrize("form", [name for name, form in FORMS.items() if form.any_batch])
@pytest.mark.parametrize("kind", [correlation.Depthwise, correlation.Full])
def test_batch_free_form_exports_with_an_open_number_of_targets(kind, form: str) -> None:
    layer = kind().eval()
    correlation.set_form(layer, form)
    deep = (4,) if kind is correlation.Full else ()
    session = None
    for targets in (2, 1, 5):
        x, kernel = inputs(targets, 6, 9, 10), inputs(targets, *deep, 6, 3, 4, seed=1)
        expected = kind()(x, kernel)
        given = layer.prepared(kernel, 10) if kind is correlation.Depthwise else kernel
        session = session or onnxruntime.InferenceSession(
            any_batch(layer, x, given), providers=["CPUExecutionProvider"]
        )
        (out,) = session.run(None, {"x": x.numpy(), "kernel": given.numpy()})
        np.testing.assert_allclose(out, expected.numpy(), rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_matching_form_takes_kernels_channels_last() -> None:
    x, kernel = inputs(2, 7, 12, 11), inputs(2, 3, 7, 5, 4, seed=1)
    close(gemm_then_shift(x, kernel.permute(0, 1, 3, 4, 2)), correlation.full(x, kernel))
