import sys

import numpy as np
import pytest

from trk.bench.cluster import on_ray
from trk.bench.datasets.layouts import open_dataset
from trk.bench.evaluate import Protocol, evaluate, plan
from trk.bench.peers import bundle_spec, peer_spec
from trk.bench.store import Store
from trk.errors import BackendError, UsageError


@pytest.mark.slow
def test_a_real_local_ray_finds_what_one_process_finds(clip, tiny_trk, tmp_path):
    pytest.importorskip("ray", reason="ray is not installed (trk-engine[ray])")
    for name in ("one", "two", "spoiled"):
        place = tmp_path / "set" / name
        place.mkdir(parents=True)
        for image in sorted(clip.folder.iterdir())[:6]:
            (place / image.name).write_bytes(image.read_bytes())
        np.savetxt(place / "groundtruth.txt", clip.boxes[:6], "%g", ",")
    (tmp_path / "set" / "spoiled" / "003.png").write_bytes(b"")
    sequences = [one.read() for one in open_dataset(tmp_path / "set").found]
    jobs = plan([bundle_spec(tiny_trk, threads=1), peer_spec("stay")], sequences, Protocol())
    there = {one.job.key: one for one in evaluate(jobs, Store(tmp_path / "a"), Protocol(), ray="local")}
    here = {one.job.key: one for one in evaluate(jobs, Store(tmp_path / "b"), Protocol())}
    assert len(there) == len(here) == 6
    for key, one in here.items():
        assert there[key].error == one.error
        if one.run is not None:
            np.testing.assert_array_equal(there[key].run.boxes, one.run.boxes)
    assert sum("003.png is empty" in one.error for one in there.values()) == 2
    assert len(list((tmp_path / "a").iterdir())) == 4


@pytest.mark.slow
def test_an_address_where_nothing_answers_is_told():
    pytest.importorskip("ray", reason="ray is not installed (trk-engine[ray])")
    with pytest.raises(BackendError, match=r"no Ray cluster at 127\.0\.0\.1:1"):
        list(on_ray([(print, ())], "127.0.0.1:1"))


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'trk-engine\[ray\]'"):
        list(on_ray([], "local"))
