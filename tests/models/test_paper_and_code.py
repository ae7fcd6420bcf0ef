"""Where papers and upstream's code disagree, and where one stumbles: a test for each that concerns a network."""

from collections.abc import Sequence
from math import cos, exp, pi, sqrt

import pytest
import torch
from random_networks import network
from torch import nn

from trk.models.alexnet import AlexNet
from trk.models.cir import PLANS, CIRNet, InceptionUnit, NeXtUnit
from trk.models.dasiamrpn import DaSiamRPN
from trk.models.fear import Fear, fear_step
from trk.models.lightfc import BRANCHES, CentreStep, FusedFusion, FusedHead, Head, LightFC
from trk.models.nanotrack import NanoTrack
from trk.models.resnet import ResNet
from trk.models.rpn import AdjustLayer, MultiRPN, Neck, up_channel_kernels
from trk.models.sasiam import MEAN_BGR, SASiam, SemanticNet
from trk.models.siamdw import SiamDWFC, SiamDWRPN
from trk.models.siamfc import AlexNetV, SiamFC
from trk.models.siamrpnpp import SiamRPNpp


def convs(module: nn.Module) -> list[nn.Conv2d]:
    return [m for m in module.modules() if isinstance(m, nn.Conv2d)]


def test_up_channel_kernel_o_holds_channels_o_times_f_onwards() -> None:
    x = torch.arange(6 * 4).reshape(1, 6, 2, 2)
    kernels = up_channel_kernels(x, 3)
    assert kernels.shape == (1, 3, 2, 2, 2)
    assert torch.equal(kernels[0, 2, 1], x[0, 5])


def test_fusion_weights_are_logits_that_a_softmax_turns_into_weights() -> None:
    head = MultiRPN(5, (4, 4, 4), weighted=True).eval()
    with torch.no_grad():
        head.cls_weight.copy_(torch.tensor([5.0, -5.0, -5.0]))
    zf, xf = [torch.randn(1, 4, 7, 7) for _ in range(3)], [torch.randn(1, 4, 12, 12) for _ in range(3)]
    kernels = head.template(zf)
    cls, loc = head.search(xf, *kernels)
    first = head.levels()[0].search([xf[0]], *kernels[:2])
    assert torch.allclose(head.level_weights()[0].sum(), torch.tensor(1.0))
    torch.testing.assert_close(cls, first[0], rtol=0.01, atol=0.01)
    assert not torch.allclose(loc, first[1], rtol=0.01, atol=0.01)


def test_otb_and_mobilenet_models_average_their_levels_and_have_no_weights() -> None:
    head = MultiRPN(5, (4, 4, 4), weighted=False).eval()
    assert not [key for key in head.state_dict() if key.endswith("_weight")]
    zf, xf = [torch.randn(1, 4, 7, 7) for _ in range(3)], [torch.randn(1, 4, 12, 12) for _ in range(3)]
    kernels = head.template(zf)
    cls, _ = head.search(xf, *kernels)
    maps = [level.search([xf[i]], *kernels[2 * i : 2 * i + 2])[0] for i, level in enumerate(head.levels())]
    torch.testing.assert_close(cls, torch.stack(maps).mean(0))


def test_reduce_layer_of_siamrpnpp_is_a_1x1_convolution_with_batch_norm() -> None:
    layers = list(AdjustLayer(8, 4).downsample)
    assert [type(layer) for layer in layers] == [nn.Conv2d, nn.BatchNorm2d]
    assert layers[0].kernel_size == (1, 1)
    assert layers[0].bias is None


def test_neck_crops_to_7x7_where_the_template_map_is_narrower_than_20() -> None:
    neck = Neck((8, 8), (4, 4)).eval()
    maps = [torch.randn(1, 8, 15, 15), torch.randn(1, 8, 20, 20)]
    plain, cropped = neck(maps, crop=False), neck(maps, crop=True)
    assert [m.shape[-1] for m in plain] == [15, 20]
    assert torch.equal(cropped[0], plain[0][:, :, 4:11, 4:11])
    assert torch.equal(cropped[1], plain[1])


def test_resnet_stem_is_unpadded_and_its_shortcuts_are_3x3_from_the_second_stage_on() -> None:
    net = ResNet(50)
    assert net.conv1.padding == (0, 0)
    sides = [net.get_submodule(f"layer{i}.0.downsample.0").kernel_size[0] for i in (1, 2, 3, 4)]
    assert sides == [1, 3, 3, 3]


def test_first_blocks_of_resnet_stages_run_at_half_the_stages_dilation() -> None:
    net = ResNet(50)
    for stage, dilation in ((2, 1), (3, 2), (4, 4)):
        first = net.get_submodule(f"layer{stage}.0.conv2").dilation[0]
        assert first == max(dilation // 2, 1)
        assert net.get_submodule(f"layer{stage}.1.conv2").dilation[0] == dilation


def test_unused_resnet_stages_have_no_parameters() -> None:
    stages = {key.split(".")[0] for key in ResNet(50, (3,)).state_dict()}
    assert "layer3" in stages
    assert "layer4" not in stages


def test_relu_before_pool_gives_upstreams_values() -> None:
    x = torch.randn(1, 4, 11, 11)
    pool = nn.MaxPool2d(3, 2)
    assert torch.equal(pool(x.relu()), pool(x).relu())
    layers = list(AlexNet().layer1)
    assert [type(layer) for layer in layers[2:]] == [nn.ReLU, nn.MaxPool2d]


def test_dasiamrpn_returns_class_map_first() -> None:
    net = DaSiamRPN().eval()
    cls, loc = net.search(torch.zeros(1, 3, 143, 143), *net.template(torch.zeros(1, 3, 127, 127)))
    assert (net.map_names, cls.shape[1], loc.shape[1]) == (("cls", "loc"), 10, 20)


@pytest.mark.parametrize("name", ["CIResNet-22", "CIResNet-22W", "CIResInception-22", "CIResNeXt-22"])
def test_siamdw_indices_skip_the_pool_and_the_last_unit_has_no_relu(name: str) -> None:
    net = CIRNet(name).eval()
    units = sorted({key.split(".")[1] for key in net.state_dict() if key.startswith("layer2.")})
    assert units == ["0", "2", "3", "4"]
    features = net(255 * torch.rand(1, 3, 127, 127))
    assert bool((features < 0).any())
    assert not bool((net.layer2[3](torch.randn(1, net.out_channels, 9, 9)) < 0).any())


def test_siamdw_paper_nets_have_the_papers_units_not_the_tutorials() -> None:
    assert PLANS["CIResNet-16"].units == (1, 4)
    assert PLANS["CIResNet-19"].units == (2, 4)
    assert PLANS["CIResNet-43"].units == (14,)


def test_siamdw_inception_adds_no_shortcut() -> None:
    unit = InceptionUnit(20, 4, last=True).eval()
    for branch in (unit.branch3x3.bn3, unit.branch1x1.bn):
        nn.init.zeros_(branch.weight)
    assert not bool(unit(torch.randn(1, 20, 9, 9)).any())


def test_siamdw_inception_1x1_branch_has_its_own_epsilon() -> None:
    unit = InceptionUnit(20, 4, last=False)
    assert (unit.branch1x1.bn.eps, unit.branch3x3.bn1.eps) == (1e-3, 1e-5)


def test_siamdw_resnext_has_a_stem_bias_and_a_shortcut_without_batch_norm() -> None:
    assert CIRNet("CIResNeXt-22").conv0.bias is not None
    unit = NeXtUnit(64, 64, last=False)
    assert [type(layer) for layer in unit.shortcut] == [nn.Conv2d]
    assert unit.bn0.num_features == 256


def test_siamfc_batch_norms_have_epsilon_1e_6() -> None:
    assert {m.eps for m in AlexNetV().modules() if isinstance(m, nn.BatchNorm2d)} == {1e-6}


@pytest.mark.parametrize(("template", "search"), [(127, 255), (135, 263)])
def test_siamdw_fc_scores_17_at_255_and_at_263_with_a_135_template(template: int, search: int) -> None:
    with torch.device("meta"):
        net = SiamDWFC("CIResInception-22")
        score = net.search(torch.zeros(1, 3, search, search), *net.template(torch.zeros(1, 3, template, template)))[0]
    assert score.shape == (1, 1, 17, 17)


@pytest.mark.parametrize(("net", "scale"), [(SiamFC(), 0.001), (SiamDWFC("CIResNet-16"), 0.1)])
def test_score_scale_is_in_the_kernel_where_half_precision_needs_it(net: SiamFC | SiamDWFC, scale: float) -> None:
    net.eval()
    z = 255 * torch.rand(1, 3, 127, 127)
    features = net.backbone(z) if isinstance(net, SiamFC) else net.features(z)
    torch.testing.assert_close(net.template(z)[0][:, 0], features * scale)


def test_siamdw_thinner_head_has_one_class_channel_an_anchor() -> None:
    shapes = {head: SiamDWRPN("CIResNet-22", head).connect_model.template_cls.weight.shape[0] for head in HEADS}
    assert shapes == HEADS


HEADS = {"thicker": 5120, "thinner": 1280}


def test_sasiam_multiplies_conv4_by_a_tenth_on_both_sides() -> None:
    net, unscaled = SASiam(appearance=False).eval(), SASiam(appearance=False, conv4_scale=1.0).eval()
    unscaled.load_state_dict(net.state_dict())
    features = torch.randn(1, 384, 8, 8)
    bias = net.fuse["conv4"].bias[None, :, None, None]
    scaled = net._fused_channels("conv4", features) - bias
    torch.testing.assert_close(scaled, (unscaled._fused_channels("conv4", features) - bias) * 0.1)


@torch.inference_mode()
def test_sasiam_appearance_template_is_the_centre_of_the_255_crops_features() -> None:
    net = SASiam(semantic=False).eval()
    z = 255 * torch.rand(1, 3, 255, 255)
    expected = net.appearance(z)[:, :, 8:14, 8:14] * 0.001
    torch.testing.assert_close(net.template(z)[0][:, 0], expected, rtol=1e-4, atol=1e-7)


def test_sasiam_semantic_branch_turns_rgb_into_bgr_minus_mean() -> None:
    grey = torch.tensor(MEAN_BGR).flip(0)[None, :, None, None].expand(1, 3, 40, 40)
    seen: list[torch.Tensor] = []
    net = SemanticNet()
    net.conv1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with pytest.raises(RuntimeError):  # 40 px are too few for the whole network, enough for its first layer
        net(grey)
    assert not bool(seen[0].any())


def test_sasiam_attention_weights_lie_between_a_half_and_one_and_a_half() -> None:
    attention = SASiam(appearance=False).attention["conv5"]
    weights = attention(100 * torch.randn(1, 256, 22, 22), 6)
    assert weights.shape == (1, 256, 1, 1)
    assert bool(((weights >= 0.5) & (weights <= 1.5)).all())


def test_sasiam_response_norm_is_pytorchs() -> None:
    x = 50 * torch.randn(1, 96, 5, 5)
    torch.testing.assert_close(SemanticNet().norm1(x), nn.LocalResponseNorm(5, alpha=1e-4)(x), rtol=1e-5, atol=1e-5)


def test_sasiam_attention_reads_the_nine_regions_row_by_row() -> None:
    features = torch.zeros(1, 1, 22, 22)
    features[:, :, 0:8, 14:22] = 7.0  # top right: the third region
    attention = SASiam(appearance=False).attention["conv5"]
    nn.init.zeros_(attention.fc1.bias)
    with torch.no_grad():
        attention.fc1.weight.copy_(torch.eye(9))
        attention.fc2.weight.zero_()[0, 2] = 1.0
        attention.fc2.bias.zero_()
    weight = float(attention(features, 6).detach())
    assert weight == pytest.approx(float(torch.tensor(7.0).sigmoid()) + 0.5)


@pytest.mark.parametrize(("version", "alive"), [(1, 287_966), (2, 334_078), (3, 541_446)])
def test_nanotracks_neck_is_in_the_checkpoint_and_never_runs(version: int, alive: int) -> None:
    net = NanoTrack(version).eval()
    assert sum(p.numel() for name, p in net.named_parameters() if not name.startswith("neck.")) == alive
    ran: list[bool] = []
    net.neck.register_forward_hook(lambda *_: ran.append(True))
    maps = net.search(torch.zeros(1, 3, 255, 255), *net.template(torch.zeros(1, 3, 127, 127)))
    assert not ran
    assert bool((maps[1] > 0).all())


def test_alexnet_models_have_no_neck_and_a_score_of_21_at_287() -> None:
    with torch.device("meta"):
        net = SiamRPNpp("alexnetlegacy")
        cls, _ = net.search(torch.zeros(1, 3, 287, 287), *net.template(torch.zeros(1, 3, 127, 127)))
    assert net.neck is None
    assert cls.shape[-1] == 21


def lightfc() -> LightFC:
    net = network("lightfc")
    assert isinstance(net, LightFC)
    return net


def test_lightfc_as_tracked_lost_the_biases_of_its_merged_convolutions_and_nothing_else() -> None:
    net = lightfc()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    after = net.tracked().state_dict()
    changed = {key for key, value in after.items() if not torch.equal(value, before[key])}
    branches = [f"head.conv1_{name}.rbr_{branch}" for name in BRANCHES for branch in ("dense", "3x3")]
    assert changed == {f"{branch}.conv.bias" for branch in branches}
    assert not any(bool(after[key].any()) for key in changed)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


@torch.inference_mode()
def test_lightfc_fused_parts_equal_the_plain_ones() -> None:
    net = lightfc()
    assert isinstance(net.head, Head)
    fused = FusedFusion(net.fusion), FusedHead(net.head)
    assert not fused[0].training
    xf, kernel, mixed = torch.randn(1, 96, 16, 16), torch.randn(1, 96, 8, 8), torch.randn(1, 192, 16, 16)
    torch.testing.assert_close(fused[0](xf, kernel), net.fusion(xf, kernel), rtol=1e-4, atol=1e-3)
    for ours, plain in zip(fused[1](mixed), net.head(mixed), strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_lightfc_puts_the_correlation_before_the_search_features_and_fear_after_them() -> None:
    xf = torch.randn(1, 96, 16, 16)
    assert torch.equal(lightfc().fusion(xf, torch.randn(1, 96, 8, 8))[:, 96:], xf)
    fear = network("fear")
    assert isinstance(fear, Fear)
    seen: list[torch.Tensor] = []
    fear.connect_model.cls_dw.enc.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x = torch.randn(1, 256, 16, 16)
    fear.connect_model.cls_dw(x, torch.randn(1, 256, 8, 8))
    assert torch.equal(seen[0][:, :256], x)


def test_lightfc_window_multiplies_and_is_not_zero_on_the_border() -> None:
    step = CentreStep(16, 256)
    line = [0.5 * (1 - cos(2 * pi * k / 17)) for k in range(1, 17)]
    torch.testing.assert_close(step.window.reshape(16, 16), torch.outer(*[torch.tensor(line)] * 2))
    score = torch.rand(1, 1, 16, 16)
    maps = score, torch.full((1, 2, 16, 16), 0.25), torch.zeros(1, 2, 16, 16)
    _, found, best = step(*maps, torch.tensor([[64.0, 64.0]]), torch.tensor([0.0, 1.0, 1.0]))
    assert int(best) == int((score.reshape(-1) * step.window).argmax())
    assert float(found) == float(score.reshape(-1)[int(best)])


def fear_maps(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    cls = 3 * torch.randn(1, 1, 16, 16, generator=random)
    return cls, 10 + 40 * torch.rand(1, 4, 16, 16, generator=random), 40 + 20 * torch.rand(1, 2, generator=random)


@pytest.mark.parametrize("params", [(0.0, 0.0, 1.0), (0.062, 0.38, 0.765), (0.5, 1.0, 0.0)])
def test_fear_without_smooth_is_the_best_cells_box_whatever_the_other_parameters(params: Sequence[float]) -> None:
    cls, bbox, size = fear_maps(0)
    box, score, best = fear_step(16, 256)(cls, bbox, size, torch.tensor([*params, 0.0]))
    index = int(cls.argmax())
    left, top, right, bottom = bbox.reshape(4, -1)[:, index]
    row, column = divmod(index, 16)
    x, y = 16 * column - 128 - left, 16 * row - 128 - top
    assert int(best) == index
    assert float(score) == float(cls.reshape(-1)[index].sigmoid())
    torch.testing.assert_close(
        box[0], torch.stack([x + (left + right) / 2, y + (top + bottom) / 2, left + right, top + bottom])
    )


def smoothed_twice(cls: torch.Tensor, bbox: torch.Tensor, size: torch.Tensor, params: Sequence[float]) -> list[float]:
    """Upstream's post-processing, one cell after the other: index, score, and x, y, w, h of the box in the crop."""
    penalty_k, influence, lr = params
    pw, ph = size[0].tolist()

    def side(w: float, h: float) -> float:
        return sqrt((w + (w + h) / 2) * (h + (w + h) / 2))

    hanning = [0.5 - 0.5 * cos(2 * pi * k / 15) for k in range(16)]
    cells = []
    for index, logit in enumerate(cls.reshape(-1).tolist()):
        left, top, right, bottom = bbox.reshape(4, -1)[:, index].tolist()
        row, column = divmod(index, 16)
        x, y, w, h = 16 * column - left, 16 * row - top, left + right, top + bottom
        rc, sc = (pw / ph) / (w / h), side(w, h) / side(pw, ph)
        penalty = exp(-(max(rc, 1 / rc) * max(sc, 1 / sc) - 1) * penalty_k)
        p = 1 / (1 + exp(-logit))
        ranked = penalty * p * (1 - influence) + influence * hanning[row] * hanning[column]
        cells.append((ranked, -index, p, penalty, x, y, w, h))
    _, index, p, penalty, x, y, w, h = max(cells)
    rate = penalty * p * lr
    w, h = w * rate + pw * (1 - rate), h * rate + ph * (1 - rate)
    w, h = pw * (1 - rate) + rate * w, ph * (1 - rate) + rate * h
    return [-index, p, x, y, w, h]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("params", [(0.062, 0.38, 0.765), (0.2, 0.1, 0.4), (0.0, 0.0, 1.0)])
def test_fear_with_smooth_smooths_its_size_twice_and_keeps_its_corner(params: Sequence[float], seed: int) -> None:
    maps = fear_maps(seed)
    box, score, best = fear_step(16, 256)(*maps, torch.tensor([*params, 1.0]))
    index, p, x, y, w, h = smoothed_twice(*maps, params)
    assert int(best) == index
    assert float(score) == pytest.approx(p, abs=1e-6)
    assert box[0].tolist() == pytest.approx([x - 128 + w / 2, y - 128 + h / 2, w, h], abs=1e-4)
