"""The smallest set of layers whose exact arithmetic puts a network right.

Source: QuickXplain (Junker, AAAI 2004): halves are tried before parts, so k guilty layers of n take about
2 k log2(n / k) + 2 k trials.
"""

from collections.abc import Callable, Sequence

Good = Callable[[Sequence[str]], bool]
"""Whether all is well with these layers pinned."""


def guilty(layers: Sequence[str], good: Good) -> list[str] | None:
    """Return a smallest set of `layers` to pin, no member of which can be left out, in their order; None: none helps.

    `good` has to be monotone enough: pinning more layers does not make it worse.
    """
    if good([]):
        return []
    if not good(layers):
        return None
    found = set(_needed([], True, list(layers), good))
    return [layer for layer in layers if layer in found]


def _needed(pinned: list[str], untried: bool, among: list[str], good: Good) -> list[str]:
    """Return which of `among` are needed besides `pinned`. `untried`: `pinned` alone is known not to do."""
    if not untried and good(pinned):
        return []
    if len(among) == 1:
        return among
    middle = len(among) // 2
    first, second = among[:middle], among[middle:]
    from_second = _needed(pinned + first, False, second, good)
    from_first = _needed(pinned + from_second, not from_second, first, good)
    return from_first + from_second
