"""Option values that more than one command reads: a box, a preset, and `name=value` settings."""

import json
from collections.abc import Sequence
from math import isfinite, nan
from pathlib import Path
from typing import Any

import click

from ..engine.result import Box
from ..errors import BoxError, UsageError
from ..video.seeds import Seed, number_targets, read_seeds
from ..weights.shipped import bundle_path

PRESET_FILE = ".json"
BOX_FILES = (".csv", ".json", ".jsonl")


class BundlePath(click.Path):
    """A folder or a .trk file; or the name of a bundle that ships, where nothing here has that name."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path. Raises BundleError where what ships is missing."""
        return super().convert(bundle_path(value), param, ctx)


def parse_box(text: str) -> Box:
    """Return x, y, w, h from `"x,y,w,h"`. Raises BoxError; whether it lies in the frame is known only there."""
    parts = text.replace(" ", ",").split(",")
    try:
        numbers = [float(part) for part in parts if part]
    except ValueError:
        numbers = []
    if len(numbers) != 4 or len([part for part in parts if part]) != 4:
        raise BoxError(f"--init {text!r} is not x,y,w,h: four numbers with commas, such as --init 120,80,60,40")
    return numbers[0], numbers[1], numbers[2], numbers[3]


def parse_seeds(inits: Sequence[str]) -> list[Seed]:
    """Return the boxes of every --init, numbers or file. Raises BoxError."""
    groups = []
    for text in inits:
        is_file = Path(text).suffix.lower() in BOX_FILES
        groups.append(read_seeds(Path(text)) if is_file else [Seed(parse_box(text))])
    return number_targets(groups)


def parse_params(preset: str | None, settings: Sequence[str]) -> dict[str, Any]:
    """Return `preset` and `params` for `Tracker`, of a preset's name or a .json file of trk-tune, and `--set` options.

    Raises UsageError; which names exist is the bundle's to say.
    """
    own = parse_settings(settings)
    if preset is None or not preset.lower().endswith(PRESET_FILE):
        return {"preset": preset, "params": own}
    return {"preset": None, "params": {**_read_preset(Path(preset)), **own}}


def _read_preset(path: Path) -> dict[str, float]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        values = {str(name): float(value) for name, value in found["params"].items()}
        if not values or not all(isfinite(value) for value in values.values()):
            raise ValueError
    except OSError as error:
        raise UsageError(f"--preset {path} can't be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(
            f'--preset {path} is no preset: it should hold {{"params": {{"lr": 0.3, ...}}}}, as trk-tune writes it'
        ) from None
    return values


def parse_settings(settings: Sequence[str]) -> dict[str, float]:
    """Return the values of `("penalty_k=0.05", ...)`. Raises UsageError; which names exist is the bundle's to say."""
    values = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = nan
        if not (name.strip() and equals and isfinite(number)):
            raise UsageError(f"--set {setting!r} is not name=number, such as --set window_influence=0.4")
        values[name.strip()] = number
    return values
