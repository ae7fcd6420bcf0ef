"""Depth-wise convolutions that stay float32 under autocast on a CPU: equal to plain ones, and no others are touched."""

import copy

import pytest
import torch
from torch import nn

from trk.models.slimfc import SlimFC
from trk.train.gradients import FloatConv2d, quick_on_cpu


def _net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 1),
        nn.Conv2d(8, 8, 3, 2, 1, groups=8),
        nn.Conv2d(8, 8, 3, 1, 1, groups=8),
        nn.Conv2d(8, 8, 3, 2, 1, groups=2),
        nn.Conv2d(8, 4, 3, 2, 1),
    )


def test_only_depth_wise_convolutions_with_a_stride_stay_float() -> None:
    net = _net()
    quick_on_cpu(net)
    assert [type(module) is FloatConv2d for module in net] == [False, True, False, False, False]
    single = nn.Sequential(nn.Conv2d(1, 1, 3, 2, 1, groups=1))
    quick_on_cpu(single)
    assert type(single[0]) is nn.Conv2d


def test_outputs_and_gradients_are_those_of_float32_under_autocast() -> None:
    plain = nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1, groups=8))
    quick = copy.deepcopy(plain)
    quick_on_cpu(quick)
    # What bfloat16 holds exactly: the layer before may have given it.
    x = torch.randn(2, 8, 12, 12).bfloat16().float()
    found = []
    for net, given, autocast in ((plain, x, False), (quick, x.bfloat16(), True), (plain, x, True)):
        given = given.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            out = net(given)
        gradients = torch.autograd.grad(out.float().square().sum(), (given, *net.parameters()))
        found.append((out, *gradients))
    exact, ours, reduced = found
    assert ours[0].dtype == torch.float32
    assert torch.equal(ours[0], exact[0])
    for one, other in zip(ours[2:], exact[2:], strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-5)
    assert torch.allclose(ours[1].float(), exact[1], rtol=1e-2, atol=1e-2)
    assert reduced[0].dtype == torch.bfloat16
    assert not torch.equal(reduced[0].float(), exact[0])


def test_a_copy_stays_float_and_its_parameters_go_by_the_same_names() -> None:
    net = _net()
    names = list(net.state_dict())
    quick_on_cpu(net)
    twin = copy.deepcopy(net)
    assert type(twin[1]) is FloatConv2d
    assert list(twin.state_dict()) == names
    assert twin[1].weight is not net[1].weight
    _net().load_state_dict(net.state_dict())


@pytest.mark.parametrize("autocast", [False, True])
def test_slimfc_gives_nearly_the_same_features(autocast: bool) -> None:
    torch.manual_seed(0)
    net, x = SlimFC().eval(), torch.rand(1, 3, 64, 64) * 255
    with torch.no_grad():
        before = net.features(x)
        quick_on_cpu(net)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            after = net.features(x).float()
    assert sum(type(module) is FloatConv2d for module in net.modules()) == 2
    assert float((after - before).abs().max() / before.std()) < (0.2 if autocast else 1e-6)
