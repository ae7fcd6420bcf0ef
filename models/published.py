"""Frames per second that papers and repositories state, with the card they name: one table for whoever compares.

Needs no PyTorch. Accuracy stands in the rows of the registry. Sources: the papers' tables and abstracts, PySOT's
model zoo (STVIR/pysot:MODEL_ZOO.md), the README of foolwood/DaSiamRPN.
"""

from dataclasses import dataclass

FPS = "fps"
"""What a speed is called among published figures."""


@dataclass(frozen=True)
class Published:
    """A figure that upstream or a paper states, with the hardware it names."""

    what: str
    value: float
    hardware: str
    source: str


def _fps(value: float, hardware: str, source: str) -> Published:
    return Published(FPS, value, hardware, source)


_ZOO = "PySOT MODEL_ZOO.md"
_SIAMRPNPP = "SiamRPN++ paper"
_TABLE_4 = "SiamDW paper, table 4"
_FC = {"res22": 70, "incep22": 67, "next22": 72, "res16": 75, "res19": 73, "res43": 35}
_RPN = {"res22": 150, "incep22": 145, "next22": 155, "res16": 160, "res19": 155, "res43": 75}

SPEEDS: dict[str, tuple[Published, ...]] = {
    "siamfc/alexnet": (_fps(86, "Titan X", "SiamFC paper, three scales"),),
    "siamrpn/alexnet": (_fps(160, "GTX 1060", "SiamRPN paper"),),
    "siamrpnpp/resnet50": (_fps(35, "Titan Xp", _SIAMRPNPP), _fps(35, "GTX 1080 Ti", _ZOO)),
    "siamrpnpp/resnet50_otb": (_fps(35, "GTX 1080 Ti", _ZOO),),
    "siamrpnpp/resnet50_lt": (_fps(21, "Titan Xp", _SIAMRPNPP), _fps(20, "GTX 1080 Ti", _ZOO)),
    "siamrpnpp/mobilenetv2": (_fps(70, "Titan Xp", _SIAMRPNPP), _fps(75, "GTX 1080 Ti", _ZOO)),
    "siamrpnpp/alexnet": (_fps(180, "GTX 1080 Ti", _ZOO),),
    "dasiamrpn/otb": (_fps(200, "GTX 1060", "DaSiamRPN README"),),
    **{f"siamdw_fc/{name}": (_fps(value, "GTX 1080", _TABLE_4),) for name, value in _FC.items()},
    **{f"siamdw_rpn/{name}": (_fps(value, "GTX 1080", _TABLE_4),) for name, value in _RPN.items()},
    "sasiam/full": (_fps(50, "Titan X", "SA-Siam paper"),),
}
"""By model and variant."""


def speeds(model: str, variant: str) -> tuple[Published, ...]:
    """Return the speeds that were published of a model; none where nobody states one."""
    return SPEEDS.get(f"{model}/{variant}", ())
