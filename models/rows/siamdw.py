"""SiamDW: SiamFC+ and SiamRPN+ on cropping-inside-residual backbones.

Hyper-parameters: researchmm/SiamDW:experiments/test/*/*.yaml, in the order of upstream's tables. Speeds: table 4 of the
paper, on a GTX 1080.
"""

from collections.abc import Mapping
from functools import partial
from math import ceil
from typing import Any

from ..proposals import anchor_step
from ..published import speeds
from ..row import Checkpoint, Preset, Row, SearchSize
from ..scales import ScaleStep
from ..siamdw import SiamDWFC, SiamDWRPN

_PAPER = "Deeper and Wider Siamese Networks for Real-Time Visual Tracking, CVPR 2019"
_SOURCE = "researchmm/SiamDW"
_DRIVE = "Google Drive folder 19dBWxOqZnvM0FsgXGzH2Y7Bg7wgYMEoO (README of researchmm/SiamDW)"
_LICENCE = "none stated (code: MIT)"
_SETS = ("otb2013", "otb2015", "vot2015", "vot2016", "vot2017")

_FC_CROP = {"origin_rounding": "half_even", "pyramid": "nested"}
_FC: Mapping[str, Any] = {
    "search_steps": (-1, 0, 1),
    "side": "running",
    "round_exemplar": True,
    "crop": _FC_CROP,
    "limits": {"relative_side": (0.2, 5.0)},
}
# A 263 px search comes with a 135 px template: upstream takes 128 off whatever the search size is.
_LARGE: Mapping[str, Any] = {"template_size": 135, "exemplar_size": 135}

# scale_step, scale_lr, scale_penalty, window_influence, and the search size where it is not 255.
_FC_TABLE: Mapping[str, tuple[tuple[float, ...], ...]] = {
    "CIResNet-22": (
        (1.0482, 0.3629, 0.9997, 0.3896),
        (1.1897, 0.2226, 0.9370, 0.2897),
        (1.1190, 0.4373, 0.9811, 0.2569),
        (1.1535, 0.4596, 0.9259, 0.3309),
        (1.1466, 0.2061, 0.9994, 0.3242),
    ),
    "CIResInception-22": (
        (1.1767, 0.2702, 0.9370, 0.2376, 263),
        (1.1832, 0.3035, 0.9453, 0.2496, 263),
        (1.1755, 0.3407, 0.9807, 0.3254),
        (1.1859, 0.5921, 0.9359, 0.2616),
        (1.1679, 0.6782, 0.9285, 0.2566),
    ),
    "CIResNeXt-22": (
        (1.0921, 0.4428, 0.9617, 0.2913, 263),
        (1.1390, 0.1775, 0.9593, 0.2094, 263),
        (1.1849, 0.3373, 0.9417, 0.2518, 263),
        (1.1561, 0.1615, 0.9593, 0.2548, 263),
        (1.1531, 0.5706, 0.9489, 0.2581),
    ),
}


def _fc_step(side: int, search_size: int, stride: int = 8) -> ScaleStep:
    del search_size
    upsample = 2 * stride
    return ScaleStep(side, stride, upsample, penalise="maxima", centre=float(ceil(side * upsample / 2)), scaled=False)


def _fc_preset(values: tuple[float, ...]) -> Preset:
    step, lr, penalty, influence = values[:4]
    params = {"scale_penalty": penalty, "window_influence": influence, "scale_lr": lr, "scale_step": step}
    if len(values) == 4:
        return Preset(params)
    return Preset(params, (SearchSize(int(values[4])),), _LARGE)


def _fc(
    variant: str,
    title: str,
    backbone: str,
    file: str | None = None,
    notes: str = "",
    stride: int = 8,
) -> Row:
    table = _FC_TABLE.get(backbone, ())
    return Row(
        model="siamdw_fc",
        variant=variant,
        title=f"SiamFC+ {title}",
        paper=_PAPER,
        source=_SOURCE,
        family="siamfc",
        build=partial(SiamDWFC, backbone),
        step=partial(_fc_step, stride=stride),
        searches=(SearchSize(255),),
        params={"scale_penalty": 0.9745, "window_influence": 0.35, "scale_lr": 0.59, "scale_step": 1.0375},
        geometry=_FC,
        presets={"default": Preset(), **{name: _fc_preset(row) for name, row in zip(_SETS, table, strict=False)}},
        checkpoint=Checkpoint(file, _DRIVE, _LICENCE) if file else None,
        published=speeds("siamdw_fc", variant),
        notes=notes,
    )


_RPN: Mapping[str, Any] = {"crop": {"origin_rounding": "half_even", "side_rounding": "half_away"}}
_RPN_TABLE = (
    (0.2560, 0.4390, 0.0740),
    (0.8410, 0.7140, 0.3900),
    (0.8950, 0.6540, 0.3700),
    (0.7110, 0.7010, 0.3550),
    (0.0380, 0.3880, 0.3470),
)


def _rpn_preset(name: str, penalty_k: float, lr: float, window_influence: float) -> Preset:
    params = {"penalty_k": penalty_k, "window_influence": window_influence, "lr": lr}
    if name != "vot2017":
        return Preset(params)
    return Preset(params, (SearchSize(271), SearchSize(287, "small_target")), {"small_target_area": 0.004})


def _rpn(
    variant: str,
    title: str,
    backbone: str,
    head: str,
    file: str | None = None,
    notes: str = "",
    stride: int = 8,
) -> Row:
    table = zip(_SETS, _RPN_TABLE, strict=True) if backbone == "CIResNet-22" else ()
    return Row(
        model="siamdw_rpn",
        variant=variant,
        title=f"SiamRPN+ {title}",
        paper=_PAPER,
        source=_SOURCE,
        family="siamrpn",
        build=partial(SiamDWRPN, backbone, head),
        step=partial(anchor_step, stride=stride),
        searches=(SearchSize(255),),
        params={"penalty_k": 0.055, "window_influence": 0.42, "lr": 0.295},
        geometry=_RPN,
        presets={"default": Preset(), **{name: _rpn_preset(name, *values) for name, values in table}},
        checkpoint=Checkpoint(file, _DRIVE, _LICENCE) if file else None,
        published=speeds("siamdw_rpn", variant),
        notes=notes,
    )


_PAPER_ONLY = "In the paper only; no weights published."

ROWS = (
    _fc("res22", "CIResNet-22", "CIResNet-22", "CIResNet22.pth"),
    _fc(
        "res22w",
        "CIResNet-22W",
        "CIResNet-22W",
        "CIResNet22W.pth",
        "Upstream keeps its hyper-parameters in a Drive file.",
    ),
    _fc("incep22", "CIResInception-22", "CIResInception-22", "CIResIncep22.pth"),
    _fc("next22", "CIResNeXt-22", "CIResNeXt-22", "CIResNeXt22.pth"),
    _fc("res16", "CIResNet-16", "CIResNet-16", notes=_PAPER_ONLY),
    _fc("res19", "CIResNet-19", "CIResNet-19", notes=_PAPER_ONLY),
    _fc("res43", "CIResNet-43", "CIResNet-43", notes=_PAPER_ONLY, stride=4),
    _rpn("res22", "CIResNet-22 (sigmoid)", "CIResNet-22", "thinner", "CIResNet22_RPN.pth"),
    _rpn("res22_softmax", "CIResNet-22 (softmax)", "CIResNet-22", "thicker", notes="Upstream's other score form."),
    _rpn("incep22", "CIResInception-22", "CIResInception-22", "thinner", notes="No weights published."),
    _rpn("next22", "CIResNeXt-22", "CIResNeXt-22", "thinner", notes="No weights published."),
    _rpn("res16", "CIResNet-16", "CIResNet-16", "thinner", notes=_PAPER_ONLY),
    _rpn("res19", "CIResNet-19", "CIResNet-19", "thinner", notes=_PAPER_ONLY),
    _rpn("res43", "CIResNet-43", "CIResNet-43", "thinner", notes=_PAPER_ONLY, stride=4),
)
