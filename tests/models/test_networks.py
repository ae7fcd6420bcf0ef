"""Every network against what upstream's code computes: keys, features and maps, plain and fused."""

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trk.export.graphs import TemplateGraph, image
from trk.export.onnx_graph import to_onnx
from trk.export.verify import run
from trk.models.lightfc import LightFC
from trk.models.network import SiameseNet
from trk.models.registry import find
from trk.models.sasiam import SASiam
from trk.models.siamfc import SiamFC
from trk.models.siamrpnpp import SiamRPNpp

from shared import shared_module, shared_path

ROWS = {
    "dasiamrpn_SiamRPNBIG": "dasiamrpn/big",
    "dasiamrpn_SiamRPNotb": "dasiamrpn/otb",
    "dasiamrpn_SiamRPNvot": "dasiamrpn/vot",
    "nanotrack_v1": "nanotrack/v1",
    "nanotrack_v2": "nanotrack/v2",
    "nanotrack_v3": "nanotrack/v3",
    "siamdw_SiamFCRes22": "siamdw_fc/res22",
    "siamdw_SiamFCRes22W": "siamdw_fc/res22w",
    "siamdw_SiamFCIncep22": "siamdw_fc/incep22",
    "siamdw_SiamFCNext22": "siamdw_fc/next22",
    "siamdw_SiamRPNRes22_thicker": "siamdw_rpn/res22_softmax",
    "siamdw_SiamRPNRes22_thinner": "siamdw_rpn/res22",
    "siamfc_alexnet_v1": "siamfc/alexnet",
    "siamrpn_alex_dwxcorr": "siamrpnpp/alexnet",
    "siamrpn_alex_dwxcorr_16gpu": "siamrpnpp/alexnet_layers",
    "siamrpn_alex_dwxcorr_otb": "siamrpnpp/alexnet",
    "siamrpn_alexlegacy_xcorr": "siamrpn/alexnet",
    "siamrpn_mobilev2_l234_dwxcorr": "siamrpnpp/mobilenetv2",
    "siamrpn_r18_l234_dwxcorr": "siamrpnpp/resnet18",
    "siamrpn_r34_l234_dwxcorr": "siamrpnpp/resnet34",
    "siamrpn_r50_l234_dwxcorr": "siamrpnpp/resnet50",
    "siamrpn_r50_l234_dwxcorr_otb": "siamrpnpp/resnet50_otb",
    "siamrpn_r50_l234_dwxcorr_lt": "siamrpnpp/resnet50_lt",
}
"""The registry's name of each network of the goldens that is a row."""

LIGHT_ROWS = {
    "lightfc": "lightfc/mobilenetv2",
    "lightfc_seeded": "lightfc/mobilenetv2",
    "fearxs": "fear/xs",
    "fearxs_noembs": "fear/xs",
    "fearxs_seeded": "fear/xs",
}
"""The same of the goldens that lie in a folder of their own."""

FOLDERS = ("goldens", "goldens_light")

NETWORKS: dict[str, Callable[[], SiameseNet]] = {
    golden: find(*row.split("/")).build for golden, row in (ROWS | LIGHT_ROWS).items()
} | {
    # Upstream's modules in arrangements that are no row: parts are proven here that rows put together otherwise.
    "sasiam": lambda: SASiam(conv4_scale=1.0, response_bias=False, norm_bias=True),
    "siamfc_alexnet_v2": lambda: SiamFC(2),
    "siamfc_alexnet_v3": lambda: SiamFC(3),
    "siamrpn_alex_xcorr": lambda: SiamRPNpp("alexnet", head="upchannel"),
    "siamrpn_mobilev2_w1_l234_dwxcorr": lambda: SiamRPNpp(
        "mobilenetv2", used_layers=(3, 5, 7), width=1.0, adjust=(128, 128, 128)
    ),
    "siamrpn_r18_l34_dwxcorr": lambda: SiamRPNpp("resnet18", used_layers=(3, 4), adjust=(256, 256), weighted=True),
    "siamrpn_r34_l3_dwxcorr": lambda: SiamRPNpp("resnet34", used_layers=(3,), adjust=256),
    "siamrpn_r50_l3_dwxcorr": lambda: SiamRPNpp("resnet50", used_layers=(3,), adjust=(256,)),
}
"""How each network of the goldens is built."""

ALIASES = {"semantic4": "fuse.conv4", "semantic5": "fuse.conv5", "xi4": "attention.conv4", "xi5": "attention.conv5"}
"""Modules that make what the goldens name otherwise."""

SLOW = {
    "dasiamrpn_SiamRPNBIG",
    # Of the same modules as others that are fast, in other sizes or with other weights.
    *("dasiamrpn_SiamRPNotb", "siamrpn_alex_dwxcorr_otb", "siamrpn_r34_l234_dwxcorr", "siamrpn_r50_l3_dwxcorr"),
    *("siamrpn_r50_l234_dwxcorr_otb", "siamrpn_mobilev2_w1_l234_dwxcorr", "siamdw_SiamFCRes22W", "fearxs_noembs"),
}


class Case(NamedTuple):
    """A network with its golden's weights, run on the golden's template crop."""

    net: SiameseNet
    golden: ModuleType
    meta: dict[str, Any]
    reference: dict[str, np.ndarray]
    weights: dict[str, np.ndarray]
    kernels: tuple[Tensor, ...]
    template_features: dict[str, Any]
    features: dict[str, Any]


def folder_of(name: str) -> str:
    return FOLDERS[name in LIGHT_ROWS]


def weights_of(name: str, meta: dict[str, Any]) -> dict[str, np.ndarray]:
    if meta["weights"] == "seeded":
        weights: dict[str, np.ndarray] = shared_module(folder_of(name), "seeded.py").fill(
            {key: shape for key, shape, _ in meta["state_dict"]}
        )
        return weights
    with np.load(shared_path(*meta["weights"].split("/"))) as npz:
        return {key: npz[key] for key in npz.files}


def crop_of(golden: ModuleType, meta: dict[str, Any], size: str = "") -> Tensor:
    """Return the golden's search crop of `size`, 0..255; none is the template."""
    inputs = meta["input"]
    file = inputs["search"][size] if size else inputs["template"]
    picture = golden.x_831() if size == "831" else golden.image(file)
    return torch.from_numpy(golden.tensor(picture, inputs["channels"] == "RGB"))


def record_features(net: SiameseNet) -> dict[str, Any]:
    """Return a dict in which every module's output appears under the module's name, whenever the network runs."""
    features: dict[str, Any] = {}
    for name, module in net.named_modules():
        module.register_forward_hook(lambda _module, _inputs, out, name=name: features.__setitem__(name, out))
    return features


@contextmanager
def loaded(name: str) -> Iterator[Case]:
    golden = shared_module(folder_of(name), "golden.py")
    meta, reference = golden.network(name)
    weights = weights_of(name, meta)
    net = NETWORKS[name]().eval()
    net.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
    features = record_features(net)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.inference_mode():
        kernels = net.template(crop_of(golden, meta))
        yield Case(net, golden, meta, reference, weights, kernels, dict(features), features)
    torch.set_num_threads(threads)


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in NETWORKS]
)
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    with loaded(request.param) as case:
        yield case


def test_state_dict_has_upstreams_keys_in_order(case: Case) -> None:
    ours = [[key, list(value.shape), str(value.dtype)] for key, value in case.net.state_dict().items()]
    assert ours == [[key, shape, f"torch.{dtype}"] for key, shape, dtype in case.meta["state_dict"]]


def test_weights_are_the_goldens_weights(case: Case) -> None:
    digest = hashlib.sha256()
    for key, value in case.net.state_dict().items():
        digest.update(key.encode() + value.numpy().tobytes())
    assert digest.hexdigest() == case.meta["weights_sha256"]


def test_template_features_equal_upstreams(case: Case) -> None:
    assert_features(case.template_features, case.meta["template"])


def test_kernels_are_named_and_carry_the_batch_axis(case: Case) -> None:
    assert len(case.kernels) == len(case.net.kernel_names) == len(set(case.net.kernel_names))
    assert all(kernel.shape[0] == 1 for kernel in case.kernels)


def test_maps_equal_upstreams(case: Case) -> None:
    for size, golden in case.meta["search"].items():
        if size == "831":
            continue
        maps = case.net.search(crop_of(case.golden, case.meta, size), *case.kernels)
        assert_features(case.features, golden.get("features", {}))
        assert_maps(case.net.map_names, maps, golden["outputs"], case.reference)


def test_fused_maps_equal_upstreams(case: Case) -> None:
    fused = case.net.fused()
    if fused is case.net:
        pytest.skip("this network has no fused form")
    _, golden = next(iter(case.meta["search"].items()))
    assert_whole(fused, case, golden["outputs"])


def test_maps_as_upstream_tracks_equal_upstreams(case: Case) -> None:
    tracked = case.net.tracked()
    if not isinstance(case.net, LightFC):
        assert tracked is case.net  # as its checkpoint has it
        return
    golden = case.meta["search"]["256"]
    for net in (tracked, tracked.fused()):
        assert_whole(net, case, golden.get("outputs_upstream_deploy", golden["outputs"]))


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_maps_of_the_exported_graphs_equal_upstreams(name: str) -> None:
    """As a bundle runs it: uint8 crops, fused, batch norms folded, in ONNX Runtime."""
    golden = shared_module(folder_of(name), "golden.py")
    meta, reference = golden.network(name)
    net = NETWORKS[name]().eval()
    net.load_state_dict({key: torch.from_numpy(value) for key, value in weights_of(name, meta).items()})
    net, channels = net.tracked().fused().eval(), meta["input"]["channels"]
    size, searched = next(iter(meta["search"].items()))
    outputs = searched.get("outputs_upstream_deploy", searched["outputs"])
    crop = torch.from_numpy(golden.image(meta["input"]["template"])).unsqueeze(0)
    template = to_onnx(TemplateGraph(net, channels), (crop,), ["crop"], net.kernel_names)
    kernels = run(template, {"crop": crop.numpy()})
    crop = torch.from_numpy(golden.image(meta["input"]["search"][size])).unsqueeze(0)
    inputs = {"crop": crop} | {kernel: torch.from_numpy(np.array(kernels[kernel])) for kernel in net.kernel_names}
    search = to_onnx(Maps(net, channels), tuple(inputs.values()), list(inputs), net.map_names)
    maps = run(search, {key: value.numpy() for key, value in inputs.items()})
    found = tuple(torch.from_numpy(maps[key]) for key in net.map_names)
    assert_maps(net.map_names, found, outputs, reference)


class Maps(nn.Module):
    """A search branch without its step."""

    def __init__(self, net: SiameseNet, channels: str) -> None:
        super().__init__()
        self.net, self.channels = net, channels

    def forward(self, crop: Tensor, *kernels: Tensor) -> tuple[Tensor, ...]:
        return self.net.search(image(crop, self.channels), *kernels)


@pytest.mark.slow
def test_maps_of_the_long_term_search_equal_upstreams() -> None:
    with loaded("siamrpn_r50_l234_dwxcorr_lt") as case:
        maps = case.net.search(crop_of(case.golden, case.meta, "831"), *case.kernels)
        assert_maps(case.net.map_names, maps, case.meta["search"]["831"]["outputs"], case.reference)


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_golden_network_is_tested(folder: str) -> None:
    goldens = {path.stem for path in shared_path(folder, "networks").glob("*.json")}
    assert goldens == {name for name in NETWORKS if folder_of(name) == folder}


def assert_whole(net: SiameseNet, case: Case, goldens: dict[str, Any]) -> None:
    """Compare the maps of both branches of `net` on the golden's template and its first search crop."""
    size = next(iter(case.meta["search"]))
    kernels = net.template(crop_of(case.golden, case.meta))
    assert len(kernels) == len(net.kernel_names)
    maps = net.search(crop_of(case.golden, case.meta, size), *kernels)
    assert_maps(net.map_names, maps, goldens, case.reference)


def assert_features(features: dict[str, Any], goldens: dict[str, Any]) -> None:
    """Compare sampled values; a golden's name is a module's name, with [i] where the module returns a list."""
    for name, golden in goldens.items():
        module, index = re.fullmatch(r"([^\[]+)(?:\[(\d)\])?", name).groups()
        out = features[ALIASES.get(module, module)]
        out = out if isinstance(out, Tensor) else out[int(index or 0)]
        assert list(out.shape)[: len(golden["shape"])] == golden["shape"], name
        assert_close(out.reshape(-1)[golden["index"]], golden["value"], golden["atol"], name)


def assert_maps(
    names: tuple[str, ...], maps: tuple[Tensor, ...], goldens: dict[str, Any], reference: dict[str, np.ndarray]
) -> None:
    assert len(names) == len(maps)
    for name, out in zip(names, maps, strict=True):
        golden = goldens[name]
        assert list(out.shape) == golden["shape"], name
        if "npz" in golden:
            assert_close(out, reference[golden["npz"]], golden["atol"], name)
        else:
            values = out.reshape(-1)[reference[golden["npz_index"]]]
            assert_close(values, reference[golden["npz_samples"]], golden["atol"], name)


def assert_close(out: Tensor, expected: Any, atol: float, name: str) -> None:
    np.testing.assert_allclose(out.numpy(), np.asarray(expected, np.float32), rtol=0, atol=atol, err_msg=name)
