"""A checkpoint finds its row, fills its network whole, or the error says what is wrong and whose it is."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from old_pickles import write_state_dict
from random_networks import crops
from torch import Tensor

from trk.errors import CheckpointError, ModelError
from trk.models.dasiamrpn import DaSiamRPN
from trk.models.fear import Fear
from trk.models.lightfc import LightFC
from trk.models.nanotrack import NanoTrack
from trk.models.network import SiameseNet
from trk.models.registry import ROWS, find
from trk.models.siamrpnpp import SiamRPNpp
from trk.weights.checkpoint import Checkpoint, read_checkpoint
from trk.weights.recognise import load_into, recognise, shapes

from shared import shared_path


def checkpoint(tensors: dict[str, Tensor], file: str = "model.pth") -> Checkpoint:
    return Checkpoint(tensors, "0" * 64, file, "PyTorch zip")


def empty(row_name: str) -> dict[str, Tensor]:
    """Tensors of the right shapes for a row, without memory behind them."""
    row = next(row for row in ROWS if row.name == row_name)
    return {key: torch.empty(shape, device="meta") for key, shape in shapes(row).items()}


def refuses(net: torch.nn.Module, tensors: dict[str, Tensor], file: str = "model.pth") -> str:
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_into(net, checkpoint(tensors, file))
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    message = str(caught.value)
    assert "\n" not in message
    assert file in message
    return message


@pytest.mark.parametrize("name", [row.name for row in ROWS])
def test_every_row_is_recognised_by_its_keys_and_shapes(name: str) -> None:
    row = next(row for row in ROWS if row.name == name)
    same = [other for other in ROWS if shapes(other) == shapes(row)]
    if len(same) == 1:
        assert recognise(checkpoint(empty(name))) is row
        return
    with pytest.raises(CheckpointError) as caught:
        recognise(checkpoint(empty(name)))
    assert ", ".join(other.name for other in same) + " equally well" in str(caught.value)


def test_what_trk_wrote_into_a_file_tells_rows_of_one_structure_apart() -> None:
    for name in ("siamrpnpp/light", "siamrpnpp/small"):
        own = replace(checkpoint(empty("siamrpnpp/light")), about={"model": name})
        assert recognise(own).name == name


def test_old_checkpoints_without_batch_counters_are_recognised() -> None:
    tensors = {key: value for key, value in empty("dasiamrpn/big").items() if not key.endswith("num_batches_tracked")}
    assert recognise(checkpoint(tensors)).name == "dasiamrpn/big"


@pytest.mark.parametrize("variant", ["vot", "otb"])
def test_rows_of_one_structure_are_told_apart_by_upstreams_file_name(variant: str) -> None:
    tensors = empty("dasiamrpn/vot")
    assert recognise(checkpoint(tensors, f"SiamRPN{variant.upper()}.model")).variant == variant
    with pytest.raises(CheckpointError, match=r"dasiamrpn/vot, dasiamrpn/otb equally well.*name the model"):
        recognise(checkpoint(tensors, "weights.pth"))


def test_weighted_checkpoint_is_not_taken_for_the_averaged_variant() -> None:
    assert recognise(checkpoint(empty("siamrpnpp/resnet50"))).variant == "resnet50"
    assert recognise(checkpoint(empty("siamrpnpp/resnet50_otb"))).variant == "resnet50_otb"
    assert recognise(checkpoint(empty("siamrpnpp/resnet50_lt"))).variant == "resnet50_lt"


def test_thinner_and_thicker_heads_are_told_apart() -> None:
    thinner = recognise(checkpoint(empty("siamdw_rpn/res22")))
    thicker = recognise(checkpoint(empty("siamdw_rpn/res22_softmax")))
    assert (thinner.variant, thicker.variant) == ("res22", "res22_softmax")


def test_recognition_stays_within_the_model_that_is_named() -> None:
    with pytest.raises(CheckpointError, match="fits no model; the nearest is dasiamrpn/"):
        recognise(checkpoint(empty("dasiamrpn/vot") | {"conv_r1.weight": torch.zeros(1)}), "dasiamrpn")
    with pytest.raises(ModelError, match="trk knows no model 'siamese'"):
        recognise(checkpoint(empty("siamfc/alexnet")), "siamese")


def test_foreign_checkpoint_is_of_no_network() -> None:
    with pytest.raises(CheckpointError, match=r"of no network that trk knows: its keys begin fc\.weight"):
        recognise(checkpoint({"fc.weight": torch.zeros(2, 2)}))


REAL = {
    **{f"nanotrack/nanotrackv{version}.npz": f"nanotrack/v{version}" for version in (1, 2, 3)},
    "weights/lightfc.npz": "lightfc/mobilenetv2",
    "weights/fearxs.npz": "fear/xs",
    "weights/fearxs_noembs.npz": "fear/xs",
}


@pytest.mark.parametrize("file", REAL)
def test_real_weights_are_recognised_and_loaded(file: str) -> None:
    real = read_checkpoint(shared_path(*file.split("/")))
    row = recognise(real)
    assert row.name == REAL[file]
    net = row.build()
    load_into(net, real)
    assert all(torch.equal(value, real.tensors[key]) for key, value in net.state_dict().items())


def test_siamrpnvot_as_pytorch_0_3_wrote_it_fills_the_network(tmp_path: Path) -> None:
    source = DaSiamRPN(1)
    weights = {key: value for key, value in source.state_dict().items() if not key.endswith("num_batches_tracked")}
    write_state_dict(tmp_path / "SiamRPNVOT.model", weights, "cuda:0")
    read = read_checkpoint(tmp_path / "SiamRPNVOT.model")
    row = recognise(read)
    assert row.name == "dasiamrpn/vot"
    net = row.build()
    load_into(net, read)
    assert all(torch.equal(net.state_dict()[key], value) for key, value in weights.items())


@pytest.mark.parametrize(
    ("build", "first"),
    [
        (lambda: NanoTrack(2), "backbone.features.0.1.weight"),
        (LightFC, "backbone.features.0.1.weight"),
        (Fear, "encoder.model.backbone.stages.xif0_0.conv.bias"),
    ],
)
def test_half_the_keys_missing_says_how_many_and_which(build: Callable[[], SiameseNet], first: str) -> None:
    tensors = dict(list(build().state_dict().items())[::2])
    message = refuses(build(), tensors)
    assert f"keys are missing ({first}" in message
    assert ", ..." in message


def test_wrong_shapes_are_shown_beside_the_right_ones() -> None:
    net = NanoTrack(1)
    tensors = net.state_dict() | {"ban_head.cls_logits.0.weight": torch.zeros(3, 128, 1, 1)}
    assert "ban_head.cls_logits.0.weight 3x128x1x1 for 2x128x1x1" in refuses(net, tensors)


@pytest.mark.parametrize(
    ("net", "theirs"),
    [(NanoTrack(3), "nanotrack/v2"), (LightFC(), "fear/xs"), (Fear(), "lightfc/mobilenetv2")],
    ids=["nanotrack", "lightfc", "fear"],
)
def test_another_networks_checkpoint_names_that_network(net: SiameseNet, theirs: str) -> None:
    message = refuses(net, find(*theirs.split("/")).build().state_dict())
    assert message.endswith(f"it is a checkpoint of {theirs}")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("build", "key"),
    [
        (lambda: NanoTrack(1), "ban_head.bbox_pred.0.bias"),
        (LightFC, "head.conv1_size.rbr_3x3.conv.bias"),  # which its tracker does without
        (Fear, "connect_model.bbox_pred.pointwise.bias"),
    ],
)
def test_weight_that_is_not_finite_is_named(build: Callable[[], SiameseNet], key: str, value: float) -> None:
    tensors = {key: tensor.clone() for key, tensor in build().state_dict().items()}
    tensors[key][1] = value
    assert f"1 values of {key} are not finite" in refuses(build(), tensors)


def test_known_strays_are_tolerated_and_unknown_ones_are_not() -> None:
    net = SiamRPNpp("alexnet", width=0.125)
    tensors, extra = dict(net.state_dict()), torch.zeros(1)
    load_into(net, checkpoint(tensors | {"mask_head.head.0.weight": extra, "backbone.fc.bias": extra}))
    assert "1 are not the network's (rpn_head.mystery)" in refuses(net, tensors | {"rpn_head.mystery": extra})


def test_fbnets_end_in_a_fear_checkpoint_is_tolerated_and_no_other_stage_is() -> None:
    net, extra = Fear(), torch.zeros(1)
    tensors, stages = dict(net.state_dict()), "encoder.model.backbone.stages"
    end = {f"{stages}.xif5_0.pw.conv.weight": extra, f"{stages}.xif6_0.bn.bias": extra}
    end |= {"encoder.model.head.conv.bias": extra}
    assert recognise(checkpoint(tensors | end)).name == "fear/xs"
    load_into(net, checkpoint(tensors | end))
    assert "1 are not the network's" in refuses(net, tensors | end | {f"{stages}.xif4_8.pw.conv.weight": extra})


def test_half_precision_weights_are_widened() -> None:
    source, net = NanoTrack(1), NanoTrack(1)
    halves = {key: v.half() if v.is_floating_point() else v for key, v in source.state_dict().items()}
    load_into(net, checkpoint(halves))
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    torch.testing.assert_close(net.state_dict(), source.state_dict(), rtol=1e-3, atol=1e-4)


NAMINGS: dict[str, Callable[[], SiameseNet]] = {
    "pysot legacy": lambda: SiamRPNpp("alexnetlegacy"),
    "pysot layers": lambda: SiamRPNpp("alexnet"),
    "pysot up-channel": lambda: SiamRPNpp("alexnetlegacy", head="upchannel"),
    "dasiamrpn": DaSiamRPN,
}


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("pysot legacy", "pysot layers"),
        ("pysot layers", "pysot legacy"),
        ("dasiamrpn", "pysot up-channel"),
        ("pysot up-channel", "dasiamrpn"),
    ],
)
@torch.inference_mode()
def test_the_same_network_under_other_names_is_filled(theirs: str, ours: str) -> None:
    source, net = NAMINGS[theirs]().eval(), NAMINGS[ours]().eval()
    load_into(net, checkpoint(source.state_dict()))
    z, x = crops(net, 1)
    expected = source.search(x, *source.template(z))
    for out, reference in zip(net.search(x, *net.template(z)), expected, strict=True):
        assert torch.equal(out, reference)


def test_npz_of_numpy_is_as_good_as_a_state_dict(tmp_path: Path) -> None:
    source, net = NanoTrack(1), NanoTrack(1)
    np.savez(tmp_path / "nano.npz", **{key: value.numpy() for key, value in source.state_dict().items()})
    load_into(net, read_checkpoint(tmp_path / "nano.npz"))
    torch.testing.assert_close(net.state_dict(), source.state_dict())
    assert find("nanotrack", "v1") is recognise(read_checkpoint(tmp_path / "nano.npz"))
