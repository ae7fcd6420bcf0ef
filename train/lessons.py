"""Which pairs a teacher is asked about: a template from one picture, a search crop from another near in time.

Crops are off as a tracker's are: shifted, half of them by little, scaled, blurred, with another target in some. Where
there is no box any region is a target for a moment: what the teacher finds is the label.
"""

from collections import Counter
from collections.abc import Sequence

from .augment import Augment
from .pairs import Sampling
from .tracks import Track

SHARES = {"shots": 0.2, "persons": 0.2, "objects": 0.2}
"""Shares of pairs by the last word of a source of clips; the tracks of all other sources share what is left."""
GAP, REGION_GAP = 25, 5
"""Two seconds of clips of 12.5 frames a second; a region that means nothing is still there after 0.4."""
TEMPLATE = Augment(shift=4, scale=0.1, colour=0.4, blur=0.1, noise=0.05)
SEARCH = Augment(shift=90, near=0.5, scale=0.35, colour=0.4, blur=0.15, noise=0.05)


def lessons(tracks: Sequence[Track], negative: float = 0.1) -> Sampling:
    """Return how pairs are drawn from `tracks`; `negative`: share whose search crop shows another target."""
    kinds = [_kind(track) for track in tracks]
    counts = Counter(kinds)
    left = 1.0 - sum(SHARES[kind] for kind in counts if kind)
    weight = {kind: (SHARES[kind] if kind else left) / count for kind, count in counts.items()}
    return Sampling(
        gap=GAP,
        region_gap=REGION_GAP,
        negative=negative,
        weights={track.source: weight[kind] for track, kind in zip(tracks, kinds, strict=True)},
        both_ways=True,
        flip=0.5,
        template=TEMPLATE,
        search=SEARCH,
    )


def _kind(track: Track) -> str:
    kind = track.source.rpartition("-")[2]
    return kind if kind in SHARES else ""
