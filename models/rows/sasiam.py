"""SA-Siam as microsoft/SA-Siam runs it. Hyper-parameters: SiamFC's, which that code keeps.

No checkpoint was ever published; weights are saved TensorFlow variables of one's own training.
"""

from functools import partial

from ..published import Published, speeds
from ..row import Row, SearchSize
from ..sasiam import SASiam
from ..scales import ScaleStep

_PARAMS = {"scale_penalty": 0.9745, "window_influence": 0.176, "scale_lr": 0.59, "scale_step": 1.0375}


def _step(side: int, search_size: int) -> ScaleStep:
    del search_size
    return ScaleStep(side, penalise="maxima", align_corners=True, reach=8.0)


def _row(variant: str, title: str, build: partial[SASiam], published: tuple[Published, ...] = ()) -> Row:
    return Row(
        model="sasiam",
        variant=variant,
        title=title,
        paper="A Twofold Siamese Network for Real-Time Object Tracking, CVPR 2018",
        source="microsoft/SA-Siam",
        family="siamfc",
        build=build,
        step=_step,
        searches=(SearchSize(255),),
        params=_PARAMS,
        channels="RGB",
        geometry={
            "template_size": 255,
            "search_steps": (-1, 0, 1),
            "crop": {"centre_shift": -0.5, "sampling": "affine", "fill_from": "current", "fill": "round"},
            "limits": {
                "centre_in_frame": False,
                "min_size": None,
                "max_size_frame": False,
                "relative_size": (0.2, 5.0),
            },
        },
        published=published,
        notes="Lambda is 0.3, the weight of the appearance branch. Crops are rounded to whole grey levels.",
    )


_FIGURES = (*speeds("sasiam", "full"), Published("OTB-100 AUC", 0.657, "-", "SA-Siam paper"))

ROWS = (
    _row("full", "SA-Siam", partial(SASiam), _FIGURES),
    _row("appearance", "SA-Siam, appearance branch alone", partial(SASiam, semantic=False)),
    _row("semantic", "SA-Siam, semantic branch alone", partial(SASiam, appearance=False)),
)
