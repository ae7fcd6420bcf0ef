"""The light SiamRPN++ that trk trains itself. Hyper-parameters: chosen on validation clips (docs/training.md)."""

from dataclasses import replace

from ..light import LightNet, light_step
from ..row import Row, SearchSize

LIGHT = Row(
    model="siamrpnpp",
    variant="light",
    title="SiamRPN++ light (MobileNetV2, trk's own)",
    paper="SiamRPN++ (Li et al., CVPR 2019), narrowed; not a model of the paper",
    source="trk",
    family="light",
    build=LightNet,
    step=light_step,
    searches=(SearchSize(255),),
    params={"penalty_k": 0.05, "window_influence": 0.2, "lr": 0.8, "fusion": 0.35},
    shipped="siamrpnpp_light.safetensors",
    geometry={"template_size": 159, "crop": {"recentre": True}, "limits": {"min_size": 4}},
    notes="The trunk is frozen ImageNet MobileNetV2, so crops become features once and training needs no more.",
    template_rate=0.1,
    on_lost="search",
)

ROWS = (
    LIGHT,
    replace(
        LIGHT,
        variant="small",
        title="SiamRPN++ light, small search region (MobileNetV2, trk's own)",
        searches=(SearchSize(191),),
        params={**LIGHT.params, "window_influence": 0.1},
        notes="The light model's weights; it looks three quarters as far, for 0.6 of the work.",
    ),
)
