"""DaSiamRPN's three released networks. Hyper-parameters: foolwood/DaSiamRPN:code/net.py (class cfg dictionaries).

Roundings are Python 2's, under which the weights were made and the published figures measured.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from ..dasiamrpn import DaSiamRPN
from ..proposals import anchor_step
from ..published import Published, speeds
from ..row import Checkpoint, Preset, Row, SearchSize

_README = "DaSiamRPN README"
_GEOMETRY: Mapping[str, Any] = {"crop": {"origin_rounding": "half_away", "side_rounding": "half_away"}}


def _row(
    variant: str,
    title: str,
    size: int,
    params: tuple[float, float, float],
    benchmark: str,
    checkpoint: Checkpoint,
    searches: tuple[SearchSize, ...] = (SearchSize(271),),
    geometry: Mapping[str, Any] = _GEOMETRY,
    published: tuple[Published, ...] = (),
) -> Row:
    return Row(
        model="dasiamrpn",
        variant=variant,
        title=title,
        paper="Distractor-aware Siamese Networks for Visual Object Tracking, ECCV 2018",
        source="foolwood/DaSiamRPN",
        family="siamrpn",
        build=partial(DaSiamRPN, size),
        step=anchor_step,
        searches=searches,
        params=dict(zip(("penalty_k", "window_influence", "lr"), params, strict=True)),
        geometry=geometry,
        presets={"default": Preset(), benchmark: Preset()},
        checkpoint=checkpoint,
        published=published,
        notes="Distractor re-ranking and local-to-global search are in the paper only, not in the released code.",
    )


_FOLDER = "Google Drive folder 1BtIkp5pB6aqePQGlMb2_Z7bfPy6XEj6H (README of foolwood/DaSiamRPN)"
_LICENCE = "none stated (code: MIT)"

ROWS = (
    _row(
        "vot",
        "DaSiamRPN (VOT)",
        1,
        (0.04, 0.44, 0.45),
        "vot2018",
        Checkpoint("SiamRPNVOT.model", _FOLDER, _LICENCE),
        published=(Published("VOT2018 EAO", 0.355, "-", "DaSiamRPN code comment"),),
    ),
    _row(
        "otb",
        "DaSiamRPN (OTB)",
        1,
        (0.22, 0.40, 0.30),
        "otb2015",
        Checkpoint("SiamRPNOTB.model", _FOLDER, _LICENCE),
        published=(
            Published("OTB2015 AUC", 0.655, "-", _README),
            *speeds("dasiamrpn", "otb"),
        ),
    ),
    _row(
        "big",
        "DaSiamRPN (twice as wide)",
        2,
        (0.055, 0.42, 0.295),
        "vot2018",
        Checkpoint(
            "SiamRPNBIG.model",
            "Google Drive id 1-vNVZxfbIplXHrqMHiJJYWXYWsOIvGsf (README of foolwood/DaSiamRPN)",
            _LICENCE,
        ),
        searches=(SearchSize(271), SearchSize(287, "small_target")),
        geometry={**_GEOMETRY, "small_target_area": 0.004},
        published=(Published("VOT2018 EAO", 0.383, "-", "DaSiamRPN code comment"),),
    ),
)
