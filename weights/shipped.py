"""Where the bundle lies that ships with trk."""

from pathlib import Path

from ..errors import BundleError

HERE = Path(__file__).parent
DEFAULT = "default.trk"


def default_bundle() -> Path:
    """Return the path of the bundle that is used when none is named."""
    path = HERE / DEFAULT
    if not path.is_file():
        raise BundleError(f"this installation of trk lacks its default bundle ({path}): reinstall trk-engine")
    return path
