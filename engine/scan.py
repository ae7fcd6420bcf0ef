"""Where to look for a target that was lost: overlapping windows over the whole frame, nearest first."""

from math import ceil, hypot


def windows(
    frame_wh: tuple[int, int], region_wh: tuple[float, float], around: tuple[float, float]
) -> list[tuple[float, float]]:
    """Return the centres x, y of search regions of `region_wh` that cover the frame, those nearest to `around` first.

    Neighbours overlap by half, so that a target with its context lies whole in one of them.
    """
    columns, rows = (max(1, ceil(length / (side / 2))) for length, side in zip(frame_wh, region_wh, strict=True))
    width, height = frame_wh[0] / columns, frame_wh[1] / rows
    centres = [((i + 0.5) * width, (j + 0.5) * height) for j in range(rows) for i in range(columns)]
    return sorted(centres, key=lambda centre: hypot(centre[0] - around[0], centre[1] - around[1]))
