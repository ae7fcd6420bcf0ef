"""What ships with trk: the default bundle, and weights with their cards."""

import re
from pathlib import Path
from typing import NamedTuple

from ..errors import BundleError, CheckpointError

HERE = Path(__file__).parent
BUNDLES = {"default": "default.trk", "int8": "slimfc_int8.trk", "small": "slimfc_small.trk"}
"""What ships, by the names that `--bundle` takes."""
_FIELD = re.compile(r"^(Licence|Notice): (.+)$", re.MULTILINE)


def default_bundle(name: str = "default") -> Path:
    """Return the path of the bundle that is used when none is named, or of another that ships: "int8", "small"."""
    if name not in BUNDLES:
        raise BundleError(f"no bundle {name!r} ships with trk: it has {', '.join(BUNDLES)}")
    path = HERE / BUNDLES[name]
    if not path.is_file():
        raise BundleError(f"this installation of trk lacks its bundle {name} ({path}): reinstall trk-engine")
    return path


def bundle_path(named: str | Path | None) -> Path:
    """Return where a bundle is: None is the default; a name in BUNDLES one that ships, unless a file here is so called.

    Raises BundleError where what ships is missing; whether there is a bundle at another path is not looked at.
    """
    path = Path("default" if named is None else named)
    is_shipped = named is None or (str(path) in BUNDLES and not path.exists())
    return default_bundle(str(path)) if is_shipped else path


class ShippedWeights(NamedTuple):
    """Weights in this folder, and their terms."""

    path: Path
    licence: str
    notice: str


def shipped_weights(name: str) -> ShippedWeights:
    """Return the weights file `name` with the licence and notice that its card (the .md beside it) begins with."""
    path = HERE / name
    card = path.with_suffix(".md")
    if not path.is_file() or not card.is_file():
        raise CheckpointError(f"this installation of trk lacks {name} or its card: reinstall trk-engine")
    fields = dict(_FIELD.findall(card.read_text(encoding="utf-8")))
    return ShippedWeights(path, fields.get("Licence", "see the card"), fields.get("Notice", ""))
