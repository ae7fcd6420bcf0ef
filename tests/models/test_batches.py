"""A batch of targets gives what each target gives alone; several crops of one target share its kernels."""

import pytest
import torch
from random_networks import NETWORKS, crops, network


def assert_same(ours: tuple[torch.Tensor, ...], expected: tuple[torch.Tensor, ...]) -> None:
    assert len(ours) == len(expected)
    for out, reference in zip(ours, expected, strict=True):
        assert out.shape == reference.shape
        scale = float(reference.abs().max())
        assert scale > 0
        torch.testing.assert_close(out, reference, rtol=0, atol=2e-5 * scale)


@pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused"])
@pytest.mark.parametrize("name", NETWORKS)
@torch.inference_mode()
def test_two_targets_give_what_each_gives_alone(name: str, fused: bool) -> None:
    net = network(name)
    if fused and net.fused() is net:
        pytest.skip("this network has no fused form")
    net = net.fused() if fused else net
    z, x = crops(net, 2)
    kernels = net.template(z)
    alone = [net.template(z[n : n + 1]) for n in range(2)]
    assert_same(kernels, tuple(torch.cat(pair) for pair in zip(*alone, strict=True)))
    maps = [net.search(x[n : n + 1], *alone[n]) for n in range(2)]
    assert_same(net.search(x, *kernels), tuple(torch.cat(pair) for pair in zip(*maps, strict=True)))


@pytest.mark.parametrize("name", [name for name in NETWORKS if network(name).map_names == ("score",)])
@torch.inference_mode()
def test_scales_of_a_target_share_its_kernels(name: str) -> None:
    net = network(name)
    z, x = crops(net, 6)
    kernels = net.template(z[:2])
    expected = [net.search(x[i : i + 1], *(kernel[i // 3 :][:1] for kernel in kernels)) for i in range(6)]
    assert_same(net.search(x, *kernels), tuple(torch.cat(maps) for maps in zip(*expected, strict=True)))


@pytest.mark.parametrize("name", NETWORKS)
@torch.inference_mode()
def test_fused_network_leaves_the_plain_one_alone_and_equals_it(name: str) -> None:
    net = network(name)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    z, x = crops(net, 1)
    expected = net.search(x, *net.template(z))
    fused = net.fused()
    kernels = fused.template(z)
    assert len(kernels) == len(fused.kernel_names)
    assert_same(fused.search(x, *kernels), expected)
    assert_same(net.search(x, *net.template(z)), expected)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
