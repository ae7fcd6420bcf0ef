"""depthwise.cu, compiled as C++ for the host, and what stands for it on a CPU: PyTorch's convolutions."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cuda_stand_in import FakeRuntime, compiling
from hypothesis import given, settings
from hypothesis import strategies as st

from trk.engine.onnx_to_torch.kernels import LARGEST, Activation, DepthwiseKernels, convolution_relu, depthwise

ACTIVATIONS = [
    Activation(),
    Activation(low=0.0),
    Activation(0.0, 6.0),
    Activation(1.0, 2.0),
    Activation(hard_swish=1.0),
]
DTYPES = {torch.float32: 1e-5, torch.float16: 2e-3}
"""By dtype, by how much results may differ: sums are FP32, FP16 is rounded once."""
GUARD = 7.0
PLAIN = [1, 1], [1, 1], [0, 0, 0, 0], Activation(), Activation()
"""No steps, gaps, padding or activations."""


class Gpu:
    """A stand-in for one, with the kernel."""

    def __init__(self):
        self.runtime = FakeRuntime()
        self.cuda = self.runtime.cuda
        self.kernels = DepthwiseKernels(self.cuda)

    def depthwise(self, x, weight, bias, *settings):
        """What the kernel makes of it. Nothing is written behind its last value."""
        made = depthwise(x, weight, bias, *settings)
        guarded = self._placed(torch.full([made.numel() + 16], GUARD, dtype=x.dtype))
        out = guarded[: made.numel()].reshape(made.shape)
        placed = [None if tensor is None else self._placed(tensor) for tensor in (x, weight, bias)]
        self.kernels.run(77, out, *placed, *settings)
        self.runtime.run(77)
        assert (guarded[made.numel() :] == GUARD).all()
        return out

    def _placed(self, tensor):
        """`tensor` in memory that the kernel may touch."""
        memory = self.cuda.pinned(tensor.nbytes).view(tensor.numpy().dtype)
        memory[:] = tensor.numpy().reshape(-1)
        return torch.from_numpy(memory).reshape(tensor.shape)


@pytest.fixture(scope="module")
def gpu():
    return Gpu()


def judged(x, weight, bias, strides, dilations, pads, before, after):
    """In FP64, as ONNX describes it: activation, zeros around, products, activation."""
    top, left, bottom, right = pads
    x = F.pad(Activation(*before)(x.double()).permute(0, 3, 1, 2), (left, right, top, bottom))
    weights = weight if weight.ndim == 4 else weight.expand(len(x), *weight.shape)
    bias, channels = None if bias is None else bias.double(), x.shape[1]
    outs = [
        F.conv2d(image[None], own.double().permute(2, 0, 1)[:, None], bias, strides, 0, dilations, channels)
        for image, own in zip(x, weights, strict=True)
    ]
    return Activation(*after)(torch.cat(outs)).permute(0, 2, 3, 1)


@st.composite
def cases(draw):
    small, pads = st.integers(1, 3), st.lists(st.integers(0, 3), min_size=4, max_size=4)
    sizes = draw(st.sampled_from([(1, 1), (3, 3), (5, 5), (2, 4), (6, 6)]))
    dilations, strides = draw(st.tuples(small, small)), draw(st.tuples(small, small))
    reach = [(size - 1) * gap + 1 for size, gap in zip(sizes, dilations, strict=True)]
    shape = (
        draw(small),
        *(side + draw(st.integers(0, 9)) for side in reach),
        draw(st.sampled_from([1, 3, 4, 12, 16, 40])),
    )
    activations = [list(draw(st.sampled_from(ACTIVATIONS))) for _ in range(2)]
    sizes = (shape[0], *sizes) if draw(st.booleans()) else sizes
    return draw(st.sampled_from(list(DTYPES))), shape, sizes, draw(st.booleans()), [
        list(strides), list(dilations), draw(pads), *activations
    ], draw(st.integers(0, 2**32 - 1))  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(case=cases())
def test_depthwise_convolutions_are_what_onnx_says(gpu, case):
    dtype, shape, sizes, has_bias, rest, seed = case
    random = torch.Generator().manual_seed(seed)
    x = (torch.randn(shape, generator=random) * 4).to(dtype)
    weight = torch.randn(*sizes, shape[-1], generator=random).to(dtype)
    bias = torch.randn(shape[-1], generator=random).to(dtype) if has_bias else None
    expected = judged(x, weight, bias, *rest)
    for made in (depthwise, gpu.depthwise):
        found = made(x, weight, bias, *rest)
        assert (found.shape, found.dtype, found.is_contiguous()) == (expected.shape, dtype, True)
        torch.testing.assert_close(found.double(), expected, rtol=DTYPES[dtype], atol=DTYPES[dtype])


def test_values_that_fp16_can_not_hold_become_infinite(gpu):
    x, weight = torch.full((1, 1, 1, 8), 300.0).half(), torch.full((1, 1, 8), 300.0).half()
    assert all(torch.isinf(made(x, weight, None, *PLAIN)).all() for made in (depthwise, gpu.depthwise))
    assert float(np.float32(LARGEST)) == LARGEST  # attributes of a graph are FP32


def test_kernel_is_compiled_once_for_weights_of_a_size():
    gpu, x = Gpu(), torch.zeros(1, 9, 9, 8)
    for side in (3, 3, 5, 3):
        gpu.depthwise(x, torch.zeros(side, side, 8), None, *PLAIN)
    assert gpu.runtime.made["nvrtcCompileProgram"] == 2


@pytest.mark.parametrize("capability", ["7.5", "8.0", "8.6", "8.9", "9.0", "10.0", "12.0"])
def test_nvrtc_compiles_the_kernel_for_every_gpu_since_turing(capability):
    for key in ((0, 4, 3, 3, 0, 0), (0, 1, 5, 5, 1, 0), (1, 8, 3, 3, 1, 1), (1, 4, 6, 6, 0, 1), (1, 1, 1, 1, 0, 0)):
        cuda, loaded = compiling(capability)
        DepthwiseKernels(cuda)._kernel(*key)
        assert loaded[0][:4] == b"\x7fELF"


@pytest.mark.parametrize("dtype", DTYPES)
def test_convolution_with_relu_lies_channels_last(dtype):
    random = torch.Generator().manual_seed(0)
    x, weight = (
        torch.randn(1, 8, 9, 7, generator=random).to(dtype),
        torch.randn(16, 8, 3, 3, generator=random).to(dtype),
    )
    bias = torch.randn(16, generator=random).to(dtype)
    expected = F.conv2d(x.double(), weight.double(), bias.double(), (2, 1), (1, 2), (1, 2)).relu()
    for made in (convolution_relu, torch.compile(convolution_relu, backend="aot_eager", fullgraph=True)):
        found = made(x, weight, bias, [2, 1], [1, 2], [1, 2])
        assert found.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(found.double(), expected, rtol=DTYPES[dtype], atol=4 * DTYPES[dtype])


@pytest.mark.parametrize("operator", [depthwise, convolution_relu], ids=["depthwise", "convolution_relu"])
def test_operators_are_what_pytorch_asks_of_one(operator):
    x, weight, bias = torch.randn(1, 9, 8, 16), torch.randn(3, 3, 16), torch.randn(16)
    rest = ([2, 1], [1, 1], [1, 0, 1, 2], [*ACTIVATIONS[2]], [*ACTIVATIONS[-1]])
    if operator is convolution_relu:
        x, weight = torch.randn(1, 16, 9, 8), torch.randn(16, 16, 3, 3)
        x, weight, rest = (
            x.contiguous(memory_format=torch.channels_last),
            weight.contiguous(memory_format=torch.channels_last),
            ([2, 1], [1, 1], [1, 0]),
        )
    checks = ("test_schema", "test_faketensor", "test_aot_dispatch_dynamic")
    torch.library.opcheck(operator, (x, weight, bias, *rest), test_utils=checks)
