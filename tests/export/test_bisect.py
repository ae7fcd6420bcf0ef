from hypothesis import given
from hypothesis import strategies as st

from trk.export.bisect import guilty

LAYERS = [f"layer{number}" for number in range(64)]


class Trials:
    """Good where every culprit is pinned; counts how often it was asked."""

    def __init__(self, culprits):
        self.culprits = set(culprits)
        self.asked = 0

    def __call__(self, pinned):
        self.asked += 1
        return self.culprits <= set(pinned)


def test_nothing_is_pinned_where_nothing_is_wrong():
    trials = Trials([])
    assert guilty(LAYERS, trials) == []
    assert trials.asked == 1


def test_none_where_no_set_of_layers_helps():
    assert guilty(LAYERS, lambda pinned: False) is None


@given(st.sets(st.sampled_from(LAYERS), max_size=5))
def test_exactly_the_culprits_are_found_in_the_order_of_the_layers(culprits):
    trials = Trials(culprits)
    assert guilty(LAYERS, trials) == sorted(culprits, key=LAYERS.index)
    # 64 layers halve 6 times.
    assert trials.asked <= 2 + 2 * max(1, len(culprits)) * 7


@given(
    st.sets(st.sampled_from(LAYERS), min_size=1, max_size=4), st.sets(st.sampled_from(LAYERS), min_size=1, max_size=4)
)
def test_of_two_remedies_one_is_taken_and_nothing_of_it_can_be_left_out(one, other):
    def good(pinned):
        return one <= set(pinned) or other <= set(pinned)

    found = set(guilty(LAYERS, good))
    assert good(found)
    assert not any(good(found - {layer}) for layer in found)
