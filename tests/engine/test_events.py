from types import SimpleNamespace

import numpy as np
import pytest
from cuda_stand_in import FakeRuntime, fake_tensorrt

from trk import Tracker
from trk.engine.backends.cuda import Cuda
from trk.engine.backends.events import CudaMarks, HostMarks, Staged, TorchMarks
from trk.engine.backends.tensorrt import TensorRTBackend
from trk.engine.backends.trt_library import Library
from trk.engine.bundle import Bundle
from trk.errors import BackendError


class Clocked(FakeRuntime):
    """With events; the device's clock moves by what is put into the stream."""

    def __init__(self, fails=None):
        super().__init__(fails)
        self.now = 0.0
        self.made = 0
        self.moments = {}

    def works(self, milliseconds):
        self.put(lambda: setattr(self, "now", self.now + milliseconds))

    def cudaEventCreateWithFlags(self, flags):  # noqa: N802
        self.made += 1
        return self._done("cudaEventCreateWithFlags", f"event {self.made}")

    def cudaEventRecord(self, event, stream):  # noqa: N802
        self.put(lambda: self.moments.__setitem__(event, self.now))
        return self._done("cudaEventRecord")

    def cudaEventSynchronize(self, event):  # noqa: N802
        self.cudaStreamSynchronize(None)
        return self._done("cudaEventSynchronize")

    def cudaEventElapsedTime(self, before, after):  # noqa: N802
        return self._done("cudaEventElapsedTime", self.moments[after] - self.moments[before])


def test_the_devices_clock_is_read_between_marks_and_events_are_used_again():
    runtime = Clocked()
    marks = CudaMarks(Cuda(runtime))
    for parts in ((2.0, 5.0, 0.5), (1.0, 1.0, 3.0)):
        marks.mark()
        for part in parts:
            runtime.works(part)
            marks.mark()
        assert marks.seconds() == pytest.approx([part / 1e3 for part in parts])
    assert runtime.made == 4
    assert marks.seconds() == []


def test_an_event_that_fails_is_told():
    marks = CudaMarks(Cuda(Clocked({"cudaEventCreateWithFlags": "cudaErrorUnknown"})))
    with pytest.raises(BackendError, match="make an event"):
        marks.mark()


def test_the_hosts_clock_is_read_at_marks(monkeypatch):
    monkeypatch.setattr("trk.engine.backends.events.perf_counter", iter([1.0, 1.5, 1.75]).__next__)
    marks = HostMarks()
    for _ in range(3):
        marks.mark()
    assert marks.seconds() == [0.5, 0.25]
    assert marks.seconds() == []


def test_pytorchs_events_are_waited_for_before_they_are_read():
    log = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing
            self.number = len([entry for entry in log if entry[0] == "made"])
            log.append(("made", self.number))

        def record(self):
            log.append(("recorded", self.number))

        def synchronize(self):
            log.append(("waited", self.number))

        def elapsed_time(self, after):
            assert ("waited", 2) in log
            return (after.number - self.number) * 4.0

    marks = TorchMarks(SimpleNamespace(cuda=SimpleNamespace(Event=Event)))
    for _ in range(3):
        marks.mark()
    assert marks.seconds() == [0.004, 0.004]


def test_a_search_in_three_launches_finds_what_one_launch_finds(bundle_copy, clip):
    runtime = Clocked()
    library = Library("tensorrt", fake_tensorrt(runtime))
    backend = TensorRTBackend(Bundle(bundle_copy), library, Cuda(runtime))
    assert isinstance(backend, Staged)
    tracker = Tracker(bundle_copy, threads=1)
    tracker.backend = backend
    tracker.init(clip.frames[0], clip.boxes[0])
    tracker.update(clip.frames[1])
    size, params = np.array([[60.0, 50.0]], np.float32), np.array([0.97, 0.2, 0.3, 1.04], np.float32)
    expected = [array.copy() for array in backend.search(0, tracker.state.kernels, size, params)]
    runner = backend._searches[0]
    execute = runner._work.run

    def takes_a_while(key):
        execute(key)
        runtime.works(7.0)

    runner._work.run = takes_a_while
    for array in runner.output:
        array[...] = -1
    launched = runtime.launched
    found = backend.stages(0, tracker.state.kernels, size, params)
    assert found == (0.0, 0.007, 0.0)
    assert runtime.launched - launched == 3
    for ours, theirs in zip(runner.output, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert backend.stages(0, tracker.state.kernels, size, params) == found


def test_pytorch_on_a_cpu_computes_and_copies_nothing(tiny_bundle, clip):
    tracker = Tracker(tiny_bundle, "torch", threads=1)
    assert isinstance(tracker.backend, Staged)
    tracker.init(clip.frames[0], clip.boxes[0])
    tracker.update(clip.frames[1])
    size, params = np.array([[60.0, 50.0]], np.float32), np.array([0.97, 0.2, 0.3, 1.04], np.float32)
    found = tracker.backend.stages(0, tracker.state.kernels, size, params)
    assert found.compute > found.upload >= 0
    assert found.download >= 0
