"""The ways of bench/graph_work.py are ways to compute the same."""

import numpy as np
import pytest

from trk.bench import graph_work
from trk.models.registry import find


@pytest.mark.slow
def test_every_way_finds_the_same_box():
    found, graph = graph_work.ways(find("nanotrack", "v3"), seed=0, targets=[2])

    boxes = {way.what: way.session.run(["box"], way.feeds)[0] for way in found}
    engine = boxes["the engine's"]
    assert {way.targets for way in found} == {1, 2}
    assert set(graph_work.SETTINGS) < set(boxes)
    for what, box in boxes.items():
        np.testing.assert_allclose(box, np.broadcast_to(engine, box.shape), atol=1e-2, err_msg=what)
    as_it_is, saved = graph_work.load_times(graph, rounds=3)
    assert len(as_it_is) == len(saved) == 3
    assert min(as_it_is + saved) > 0
