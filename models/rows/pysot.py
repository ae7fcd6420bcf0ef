"""SiamRPN++ and SiamRPN as PySOT publishes them.

Hyper-parameters: STVIR/pysot:experiments/*/config.yaml.
"""

from collections.abc import Mapping
from functools import partial

from ..proposals import anchor_step
from ..published import speeds
from ..row import Checkpoint, Preset, Row, SearchSize
from ..siamrpnpp import SiamRPNpp

_PAPER = "SiamRPN++: Evolution of Siamese Visual Tracking with Very Deep Networks, CVPR 2019"
_SOURCE = "STVIR/pysot"
_L234 = (2, 3, 4)


def _params(penalty_k: float, window_influence: float, lr: float) -> dict[str, float]:
    return {"penalty_k": penalty_k, "window_influence": window_influence, "lr": lr}


def _checkpoint(experiment: str, drive: str) -> Checkpoint:
    where = f"Google Drive id {drive} (PySOT's model zoo, experiment {experiment})"
    return Checkpoint("model.pth", where, "CC BY-SA 3.0")


def _row(
    variant: str,
    title: str,
    build: partial[SiamRPNpp],
    params: dict[str, float],
    search_size: int = 255,
    presets: Mapping[str, Preset] | None = None,
    checkpoint: Checkpoint | None = None,
    benchmarks: tuple[str, ...] = (),
    notes: str = "",
) -> Row:
    return Row(
        model="siamrpnpp",
        variant=variant,
        title=title,
        paper=_PAPER,
        source=_SOURCE,
        family="siamrpn",
        build=build,
        step=anchor_step,
        searches=(SearchSize(search_size),),
        params=params,
        presets={"default": Preset(), **{name: Preset() for name in benchmarks}, **(presets or {})},
        checkpoint=checkpoint,
        published=speeds("siamrpnpp", variant),
        notes=notes,
    )


_R50 = partial(SiamRPNpp, "resnet50", used_layers=_L234, adjust=(256, 256, 256))
_ALEX = _params(0.16, 0.40, 0.30)
# What each model was tuned for: upstream publishes one set of values a model, so these presets change nothing.
_VOT = ("vot2016", "vot2018", "vot2019")
_OTB = ("otb2015",)

ROWS = (
    _row(
        "resnet50",
        "SiamRPN++ ResNet-50",
        partial(_R50, weighted=True),
        _params(0.05, 0.42, 0.38),
        presets={
            "8gpu": Preset(_params(0.04, 0.44, 0.33)),
            "16gpu": Preset(_params(0.01, 0.40, 0.38)),
        },
        checkpoint=_checkpoint("siamrpn_r50_l234_dwxcorr", "1Q4-1563iPwV6wSf_lBHDj5CPFiGSlEPG"),
        benchmarks=_VOT,
    ),
    _row(
        "resnet50_otb",
        "SiamRPN++ ResNet-50, levels averaged (OTB)",
        partial(_R50, weighted=False),
        _params(0.24, 0.50, 0.25),
        checkpoint=_checkpoint("siamrpn_r50_l234_dwxcorr_otb", "1Cx_oHu6o0gNeH7F9zZrgevfAGdyWC4D5"),
        presets={"8gpu": Preset()},
        benchmarks=_OTB,
    ),
    _row(
        "mobilenetv2",
        "SiamRPN++ MobileNetV2 1.4",
        partial(SiamRPNpp, "mobilenetv2", used_layers=(3, 5, 7), width=1.4, adjust=(256, 256, 256)),
        _params(0.04, 0.40, 0.50),
        checkpoint=_checkpoint("siamrpn_mobilev2_l234_dwxcorr", "1JB94pZTvB1ZByU-qSJn4ZAIfjLWE5EBJ"),
        benchmarks=_VOT,
    ),
    _row(
        "alexnet",
        "SiamRPN++ AlexNet (depth-wise)",
        partial(SiamRPNpp, "alexnetlegacy"),
        _ALEX,
        search_size=287,
        checkpoint=_checkpoint("siamrpn_alex_dwxcorr", "1t62x56Jl7baUzPTo0QrC4jJnwvPZm-2m"),
        benchmarks=(*_VOT, *_OTB),
        notes="PySOT's OTB file (experiment siamrpn_alex_dwxcorr_otb) has the same keys, shapes and hyper-parameters.",
    ),
    _row(
        "alexnet_layers",
        "SiamRPN++ AlexNet, keys layer1..5",
        partial(SiamRPNpp, "alexnet"),
        _ALEX,
        search_size=287,
        notes="The layout of PySOT's training configuration siamrpn_alex_dwxcorr_16gpu; no weights published.",
    ),
    _row(
        "resnet34",
        "SiamRPN++ ResNet-34",
        partial(SiamRPNpp, "resnet34", used_layers=_L234, adjust=(128, 128, 128), weighted=True),
        _params(0.05, 0.42, 0.38),
        notes="Configuration of our own from PySOT's modules; no weights published.",
    ),
    _row(
        "resnet18",
        "SiamRPN++ ResNet-18",
        partial(SiamRPNpp, "resnet18", used_layers=_L234, adjust=(256, 256, 256)),
        _params(0.05, 0.42, 0.38),
        notes="Configuration of our own from PySOT's modules; no weights published.",
    ),
    Row(
        model="siamrpnpp",
        variant="resnet50_lt",
        title="SiamRPN++ ResNet-50, long-term",
        paper=_PAPER,
        source=_SOURCE,
        family="siamrpn",
        build=partial(SiamRPNpp, "resnet50", used_layers=_L234, adjust=(128, 256, 512), weighted=True),
        step=anchor_step,
        searches=(SearchSize(255), SearchSize(831, "lost", {"window_influence": 0.001})),
        params=_params(0.05, 0.28, 0.22),
        presets={"default": Preset(), "vot2018lt": Preset()},
        geometry={"hysteresis": {"low": 0.8, "high": 0.998}, "limits": {"of": "report"}},
        checkpoint=_checkpoint("siamrpn_r50_l234_dwxcorr_lt", "1lOOTedwGLbGZ7MAbqJimIcET3ANJd29A"),
        published=speeds("siamrpnpp", "resnet50_lt"),
        notes="While lost, the search covers 831 px. Upstream keeps a lost flag across init, trk does not.",
    ),
)

SIAMRPN = Row(
    model="siamrpn",
    variant="alexnet",
    title="SiamRPN AlexNet, up-channel head",
    paper="High Performance Visual Tracking with Siamese Region Proposal Network, CVPR 2018",
    source=_SOURCE,
    family="siamrpn",
    build=partial(SiamRPNpp, "alexnetlegacy", head="upchannel"),
    step=anchor_step,
    searches=(SearchSize(255),),
    params=_params(0.055, 0.42, 0.295),
    published=speeds("siamrpn", "alexnet"),
    notes="The paper prints no hyper-parameters: these are DaSiamRPN's defaults. No weights published.",
)
