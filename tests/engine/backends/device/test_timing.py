"""Where a device's time goes: moments in its stream, and a search in three parts."""

from types import SimpleNamespace

import numpy as np
import pytest
from cuda_stand_in import FakeRuntime, OnGpu, tensorrt
from torch_stand_in import torch_cuda
from trackers import PARAMS, on_backend, track

from trk import Tracker
from trk.engine.backends.device.timing import DeviceTimer
from trk.engine.bundle import Bundle
from trk.errors import BackendError

SIZE = np.array([[60.0, 50.0]], np.float32)


class Clocked(FakeRuntime):
    """The device's clock moves by what is put into the stream."""

    def __init__(self, fails=None):
        super().__init__(fails)
        self.now, self.moments = 0.0, {}

    def works(self, milliseconds):
        self.put(lambda: setattr(self, "now", self.now + milliseconds))

    def cudaEventRecord(self, event, stream):  # noqa: N802
        self.put(lambda: self.moments.__setitem__(event, self.now))
        return super().cudaEventRecord(event, stream)

    def cudaEventElapsedTime(self, before, after):  # noqa: N802
        return self._done("cudaEventElapsedTime", self.moments[after] - self.moments[before])


def test_the_devices_clock_is_read_between_moments_and_events_are_used_again():
    runtime = Clocked()
    timer = DeviceTimer(runtime.cuda)
    for parts in ((2.0, 5.0, 0.5), (1.0, 1.0, 3.0)):
        timer.record()
        for part in parts:
            runtime.works(part)
            timer.record()
        assert timer.intervals() == pytest.approx([part / 1e3 for part in parts])
    assert runtime.made["cudaEventCreateWithFlags"] == 4
    assert timer.intervals() == []


def test_an_event_that_fails_is_told():
    timer = DeviceTimer(Clocked({"cudaEventCreateWithFlags": "cudaErrorUnknown"}).cuda)
    with pytest.raises(BackendError, match="make an event"):
        timer.record()


@pytest.fixture(params=["tensorrt", "refused", "torch"])
def backend(request, tiny_bundle, monkeypatch, tmp_path):
    """A backend on a GPU that is none, and the runtime it is on; each run of its network takes 7 ms."""
    monkeypatch.setattr("trk.engine.plans.bundle_plans.place", lambda bundle: tmp_path)
    runtime = Clocked()
    if request.param == "torch":
        made = torch_cuda(Bundle(tiny_bundle), runtime, monkeypatch)
    else:
        made = tensorrt(tiny_bundle, runtime, refuses={"capture"} if request.param == "refused" else None)
    loaded = made._searches[0]._loaded
    run = loaded.run
    monkeypatch.setattr(loaded, "run", lambda: (run(), runtime.works(7.0)))
    return SimpleNamespace(made=made, runtime=runtime, launches=2 if request.param == "refused" else 3)


@pytest.mark.parametrize("there", [False, True], ids=["frame of the host's", "frame on the GPU"])
def test_a_search_in_three_launches_finds_what_one_launch_finds(backend, tiny_bundle, clip, there):
    made, runtime = backend.made, backend.runtime
    tracker = on_backend(Tracker(tiny_bundle, threads=1), made)
    frames = [OnGpu(runtime, frame) if there else frame for frame in clip.frames[:2]]
    track(tracker, frames, clip.boxes[0])
    expected = [array.copy() for array in made.search(0, tracker.state.kernels, SIZE, PARAMS)]
    other = made.mix(tracker.state.kernels, tracker.state.kernels, 0.5)
    for kernels in (tracker.state.kernels, other):
        for array in made._searches[0]._output:
            array[...] = -1
        launched = runtime.launched
        assert made.timed_search(0, kernels, SIZE, PARAMS) == (0.0, 0.007, 0.0)
        assert runtime.launched - launched == backend.launches
        for ours, theirs in zip(made._searches[0]._output, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5)
