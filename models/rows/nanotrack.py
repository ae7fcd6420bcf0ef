"""NanoTrack V1 to V3. Hyper-parameters: HonglinChu/SiamTrackers:NanoTrack/models/config/config*.yaml."""

from functools import partial

from ..nanotrack import NanoTrack
from ..proposals import point_step
from ..published import Published
from ..row import Checkpoint, Preset, Row, SearchSize

_README = "NanoTrack README"
_TUNED = Preset(
    {"penalty_k": 0.05, "window_influence": 0.11, "lr": 0.8},
    geometry={"crop": {"recentre": True}},
)
"""Its numbers were chosen on validation clips: bench/NOTES.md, section "NanoTrack, tuned"."""


def _row(version: int, params: tuple[float, float, float], figures: dict[str, float]) -> Row:
    return Row(
        model="nanotrack",
        variant=f"v{version}",
        title=f"NanoTrack V{version}",
        paper="none: published as code",
        source="HonglinChu/SiamTrackers, folder NanoTrack",
        family="nanotrack",
        build=partial(NanoTrack, version),
        step=point_step,
        searches=(SearchSize(255),),
        params=dict(zip(("penalty_k", "window_influence", "lr"), params, strict=True)),
        presets={"default": Preset(), "tuned": _TUNED},
        checkpoint=Checkpoint(
            f"nanotrackv{version}.pth", "in the repository: NanoTrack/models/pretrained", "Apache-2.0 (the folder's)"
        ),
        published=tuple(Published(what, value, "-", _README) for what, value in figures.items()),
        notes="The checkpoint's neck is used by no forward pass of upstream and is left out.",
    )


ROWS = (
    _row(3, (0.138, 0.455, 0.348), {"VOT2018 EAO": 0.449, "GOT-10k val AO": 0.719}),
    _row(2, (0.150, 0.490, 0.385), {"VOT2018 EAO": 0.352, "GOT-10k val AO": 0.680}),
    _row(1, (0.148, 0.462, 0.390), {"VOT2018 EAO": 0.311, "GOT-10k val AO": 0.604}),
)
