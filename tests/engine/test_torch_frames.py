"""Frames on their way to a GPU in PyTorch: order and memory, with tensors of the host in the device's place."""

import ctypes
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from trk.engine.backends.slots import Slots
from trk.engine.backends.torch import pack, unpack
from trk.engine.backends.torch_frames import TorchCarrier, downloaded
from trk.engine.device_frame import DeviceFrame
from trk.errors import FrameError


class Stream:
    def __init__(self, calls, name):
        self.calls, self.name, self.cuda_stream = calls, name, 78

    def wait_stream(self, other):
        self.calls.append(f"{self.name} waits for {other.name}")

    def wait_event(self, event):
        self.calls.append(f"{self.name} waits for {'a copy' if event.recorded else 'nothing'}")

    def synchronize(self):
        self.calls.append(f"host waits for {self.name}")


class Event:
    recorded = False

    def record(self, stream):
        self.recorded = True

    def synchronize(self):
        pass


class Pinnable(torch.Tensor):
    """A tensor that says it can be pinned, and writes down what is copied into it."""

    calls: list[str] = []

    def pin_memory(self):
        return self

    def copy_(self, source, non_blocking=False):
        assert non_blocking
        Pinnable.calls.append("copy")
        return super().copy_(source)


@pytest.fixture
def fake():
    calls = Pinnable.calls = []
    work = Stream(calls, "work")

    @contextmanager
    def entered(stream):
        yield

    def as_tensor(memory, device):
        described = memory.__cuda_array_interface__
        size = int(np.prod(described["shape"]))
        held = (ctypes.c_uint8 * size).from_address(described["data"][0])
        return torch.from_numpy(np.frombuffer(held, np.uint8).reshape(described["shape"]).copy())

    cuda = SimpleNamespace(
        current_device=lambda: 0,
        Stream=lambda: Stream(calls, "copies"),
        ExternalStream=lambda handle: Stream(calls, f"stream {handle}"),
        Event=Event,
        current_stream=lambda: work,
        stream=entered,
        synchronize=lambda: calls.append("host waits"),
    )
    return SimpleNamespace(
        calls=calls,
        cuda=cuda,
        uint8=torch.uint8,
        zeros=lambda shape, dtype, device="cpu": torch.zeros(shape, dtype=dtype).as_subclass(Pinnable),
        as_tensor=as_tensor,
        inference_mode=torch.no_grad,
    )


def frame_of(value, shape=(4, 5, 3)):
    return np.full(shape, value, np.uint8)


def there(slots):
    return int(slots.places[slots.current].device[0, 0, 0])


def test_frame_goes_up_once_and_the_work_waits_for_it(fake):
    slots = Slots(TorchCarrier(fake))
    slots.take(frame_of(7))
    assert there(slots) == 7
    assert fake.calls == ["copy", "work waits for a copy"]


def test_what_was_named_goes_up_with_the_work_and_is_there_in_its_turn(fake):
    slots = Slots(TorchCarrier(fake))
    frames = [frame_of(value) for value in range(5)]
    slots.take(frames[0])
    for number in range(1, 5):
        slots.announce(frames[number])
        slots.stage()
        before = len(fake.calls)
        slots.take(frames[number])
        assert there(slots) == number
        assert fake.calls[before:] == ["work waits for a copy"]


def test_naming_a_frame_while_the_one_before_is_still_on_its_way_loses_none(fake):
    slots = Slots(TorchCarrier(fake))
    frames = [frame_of(value) for value in range(4)]
    slots.take(frames[0])
    slots.announce(frames[1])
    slots.stage()
    slots.announce(frames[2])
    slots.take(frames[1])
    assert there(slots) == 1
    slots.stage()
    slots.take(frames[2])
    assert there(slots) == 2
    assert fake.calls.count("copy") == 3


def test_a_new_size_gets_places_of_its_own_and_waits_for_its_turn(fake):
    slots = Slots(TorchCarrier(fake))
    slots.take(frame_of(1))
    large = frame_of(2, (8, 9, 3))
    slots.announce(large)
    slots.stage()
    assert fake.calls.count("copy") == 1
    slots.take(large)
    assert (there(slots), list(slots.shapes)) == (2, [(4, 5, 3), (8, 9, 3)])
    small, places = frame_of(3), slots.places
    slots.announce(small)
    slots.stage()  # its size was there: it is on its way
    slots.announce(small)
    slots.stage()
    assert fake.calls.count("copy") == 3
    slots.take(small)
    assert (there(slots), fake.calls.count("copy")) == (3, 3)
    slots.take(large)
    assert slots.places is places


def test_sizes_that_came_longest_ago_make_room(fake, monkeypatch):
    monkeypatch.setattr("trk.engine.backends.slots.KEPT_BYTES", 2 * 2 * 60)
    slots = Slots(TorchCarrier(fake))
    staged = frame_of(9)
    for frame in (frame_of(1), frame_of(2, (5, 4, 3)), frame_of(1)):
        slots.take(frame)
    slots.announce(staged)
    slots.stage()
    slots.take(frame_of(3, (6, 3, 3)))
    assert list(slots.shapes) == [(4, 5, 3), (6, 3, 3)]
    slots.take(frame_of(4, (8, 9, 3)))  # larger than all that may be kept: alone
    assert list(slots.shapes) == [(8, 9, 3)]
    slots.take(staged)  # brought anew: its place went
    assert there(slots) == 9


def test_frame_on_the_device_is_copied_there_after_its_maker_is_done(fake):
    picture = frame_of(9)
    slots = Slots(TorchCarrier(fake))
    slots.take(DeviceFrame(picture.ctypes.data, (4, 5, 3), picture, 0, 55))
    assert there(slots) == 9
    assert fake.calls == ["copies waits for stream 55", "copy", "work waits for a copy"]


def test_frame_on_the_device_comes_to_the_host_where_its_pixels_are_wanted(fake):
    picture = frame_of(3)
    np.testing.assert_array_equal(downloaded(fake, DeviceFrame(picture.ctypes.data, (4, 5, 3), picture, 0, 5)), picture)
    assert fake.calls[0] == "host waits for stream 5"


def test_frame_on_another_device_is_told(fake):
    slots = Slots(TorchCarrier(fake))
    for call in (slots.take, slots.announce):
        with pytest.raises(FrameError, match="lies on GPU 1 and the backend runs on GPU 0"):
            call(DeviceFrame(4096, (4, 5, 3), None, 1))


def test_results_of_all_targets_come_down_in_one_piece():
    out = {
        "box": torch.arange(12.0).reshape(3, 4),
        "score": torch.tensor([0.25, float("nan"), -1.0]),
        "best": torch.tensor([0, 2**31 - 1, 2139095041], dtype=torch.int32),  # the last are NaN as floats
    }
    found = unpack(pack(torch, out).numpy())
    for name, value in out.items():
        np.testing.assert_array_equal(getattr(found, name), value.numpy())
        assert getattr(found, name).dtype == value.numpy().dtype
