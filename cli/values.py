"""Option values that more than one command reads: a box, and `name=value` settings."""

from collections.abc import Sequence
from math import isfinite, nan
from pathlib import Path

from ..engine.result import Box
from ..errors import BoxError, UsageError
from ..video.seeds import Seed, number_targets, read_seeds

BOX_FILES = (".csv", ".json", ".jsonl")


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
