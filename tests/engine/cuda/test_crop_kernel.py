"""crop.cu, compiled as C++ for the host: OpenCV's crops to the byte. NVRTC compiles it for every GPU, without one."""

import numpy as np
import pytest
from cuda_stand_in import FakeRuntime, compiling
from hypothesis import given, settings
from hypothesis import strategies as st

from trk.engine.backends.device.crops import (
    LARGE_WINDOW,
    QUAD,
    ROW,
    SEGMENT,
    CropTable,
    DeviceCropper,
    Staging,
)
from trk.engine.crop import Cropper
from trk.engine.cuda.kernel_source import SIGNATURES, engine_kernels
from trk.engine.device_frame import DeviceFrame
from trk.engine.geometry import CropRule

PLAIN = CropRule(origin_shift=0.0)
"""A square begins at its centre less half its side."""
SIZES = (16, 127, 255, 303)
GUARD = 7
THREADS = 256


class Gpu:
    """A stand-in for one, with the kernels and a staging memory."""

    def __init__(self):
        self.cuda = FakeRuntime().cuda
        self.kernels = engine_kernels(self.cuda)
        self.staging = Staging(self.cuda)

    def upload(self, *segments):
        """Copy pieces of memory, each source, target and quads."""
        packed = self.cuda.pinned(max(1, len(segments)) * SEGMENT.size)
        for number, segment in enumerate(segments):
            SEGMENT.pack_into(packed, number * SEGMENT.size, *segment)
        self.cuda.run_kernel(self.kernels["upload"], (16, 1), THREADS, packed.ctypes.data, len(segments))
        self.cuda.synchronize()

    def cut(self, place, crops, size):
        """The crops that `place` writes into a table."""
        rows, out = self.cuda.pinned(crops * ROW.size), self.cuda.pinned(crops * size * size * 3 + GUARD)
        out[:] = GUARD
        table = CropTable(self.cuda, self.staging, rows, size, out.ctypes.data)
        place(table)
        table.finish()
        staging = self.staging
        self.upload((staging.host_address, staging.address, staging.used // QUAD))
        grid = -(-size * size // THREADS), crops
        self.cuda.run_kernel(self.kernels["cut"], grid, THREADS, rows.ctypes.data, out.ctypes.data, size)
        self.cuda.synchronize()
        assert (out[-GUARD:] == GUARD).all()  # nothing is written behind the last pixel
        return table.copy()


@pytest.fixture(scope="module")
def gpu():
    return Gpu()


def pitched(frame, gap, seed):
    """`frame` on the device, `gap` bytes of noise behind each row."""
    height, width, _ = frame.shape
    memory = np.random.default_rng(seed).integers(0, 256, (height, width * 3 + gap), np.uint8)
    memory[:, : width * 3] = frame.reshape(height, -1)
    return DeviceFrame(memory.ctypes.data, frame.shape, memory, stride=memory.shape[1])


def cut_by_opencv(frame, square, size, fill):
    out = np.empty((size, size, 3), np.uint8)
    x, y, side, _ = square
    Cropper(PLAIN).cut(frame, (x + side / 2, y + side / 2), side, fill, out)
    return out


def at(x, y, side):
    return x, y, side, (0.0, 0.0)


@st.composite
def cases(draw):
    size = draw(st.sampled_from(SIZES))
    shape = draw(st.tuples(st.integers(1, 400), st.integers(1, 400)))
    sides = st.sampled_from([1, 2, size - 1, size, size + 1, 2 * size, 4 * size, 9000]) | st.integers(1, 900)
    squares = []
    for _ in range(draw(st.integers(1, 3))):
        side = draw(sides)
        x, y = (draw(st.integers(-side - 2, reach + 2) | st.integers(-20, 20)) for reach in (shape[1], shape[0]))
        squares.append(at(x, y, side))
    return size, shape, squares, draw(st.none() | st.integers(0, 200)), draw(st.integers(0, 2**32 - 1))


@settings(max_examples=150, deadline=None)
@given(case=cases())
def test_crops_are_opencvs_to_the_byte_wherever_they_are_cut(gpu, case):
    size, shape, squares, gap, seed = case
    random = np.random.default_rng(seed)
    frame, fill = random.integers(0, 256, (*shape, 3), np.uint8), random.integers(0, 256, 3, np.uint8)
    seen = frame if gap is None else pitched(frame, gap, seed)

    def place(table):
        for number, square in enumerate(squares):
            table.place(number, seen, square, fill)

    for crop, square in zip(gpu.cut(place, len(squares), size), squares, strict=True):
        np.testing.assert_array_equal(crop, cut_by_opencv(frame, square, size, fill))


def test_square_of_a_million_pixels_is_the_colour_outside_but_for_the_frame(gpu):
    frame, fill = pitched(np.full((40, 50, 3), 200, np.uint8), 0, 0), np.array([1, 2, 3], np.uint8)
    (crop,) = gpu.cut(lambda table: table.place(0, frame, at(-499_980, -499_980, 1_000_001), fill), 1, 17)
    assert crop[8, 8].tolist() == [200, 200, 200]
    crop[8, 8] = fill
    assert (crop == fill).all()


def test_targets_of_several_frames_are_parts_of_one_table_in_any_mixture(gpu):
    random = np.random.default_rng(5)
    frames = [random.integers(0, 256, (h, w, 3), np.uint8) for h, w in ((90, 120), (300, 40), (200, 200))]
    seen = [frames[0], pitched(frames[1], 9, 1), frames[2]]
    fills = [np.full(3, value, np.uint8) for value in (9, 99, 199)]
    squares = [at(5, -8, 60), at(-30, 100, 127), at(50, 60, 300)]
    cut_already = random.integers(0, 256, (31, 31, 3), np.uint8)

    def place(table):
        for number in range(3):
            table[2 * number : 2 * number + 2].place(0, seen[number], squares[number], fills[number])
            table[2 * number + 1 :] = cut_already[None]

    found = gpu.cut(place, 6, 31)
    for number in range(3):
        expected = cut_by_opencv(frames[number], squares[number], 31, fills[number])
        np.testing.assert_array_equal(found[2 * number], expected)
        np.testing.assert_array_equal(found[2 * number + 1], cut_already)


def test_only_what_is_seen_of_a_frame_goes_up_and_a_frame_goes_up_once_at_most(gpu):
    frame, fill = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8), np.zeros(3, np.uint8)
    gpu.cut(lambda table: table.place(0, frame, at(-60, 20, 100), fill), 1, 31)
    assert gpu.staging.used == 40 * 100 * 3
    squares = [at(5 * number, 3 * number, 140) for number in range(20)]

    def place(table):
        for number, square in enumerate(squares):
            table.place(number, frame, square, fill)

    found = gpu.cut(place, 20, 31)
    for crop, square in zip(found, squares, strict=True):
        np.testing.assert_array_equal(crop, cut_by_opencv(frame, square, 31, fill))
    assert frame.nbytes < gpu.staging.used <= 2 * frame.nbytes


def test_memory_for_windows_grows_where_they_need_more_and_keeps_what_is_in_it(monkeypatch):
    monkeypatch.setattr("trk.engine.backends.device.crops.CAPACITY", 4096)
    small, random = Gpu(), np.random.default_rng(0)
    frames = [random.integers(0, 256, (side, side, 3), np.uint8) for side in (30, 50, 90, 200)]
    fill = np.zeros(3, np.uint8)

    def place(table):
        for number, frame in enumerate(frames):
            table.place(number, frame, at(0, 0, len(frame)), fill)

    for crop, frame in zip(small.cut(place, 4, 16), frames, strict=True):
        np.testing.assert_array_equal(crop, cut_by_opencv(frame, at(0, 0, len(frame)), 16, fill))
    asked = small.cuda.bindings.runtime.made.copy()
    small.cut(place, 4, 16)
    assert small.cuda.bindings.runtime.made["cudaMalloc"] == asked["cudaMalloc"]


RULES = {
    "plain": CropRule(),
    "recentred": CropRule(origin_rounding="half_even", centre_shift=-0.5),
    "nested": CropRule(origin_rounding="half_even", pyramid="nested"),
    "affine": CropRule(sampling="affine", centre_shift=-0.5),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("share", [0.1, 0.95, 1.05], ids=["small", "as large as is copied", "cut by the host"])
def test_pyramids_of_every_rule_are_those_of_the_hosts_cropper(gpu, rule, share):
    frame, fill = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8), np.array([7, 8, 9], np.uint8)
    size, centre = 127, (190.3, 150.7)
    sides = [share * LARGE_WINDOW**0.5 * size / 1.04 * step for step in (0.96, 1.0, 1.04)]
    expected, told = np.empty((3, size, size, 3), np.uint8), []
    told.append(Cropper(RULES[rule]).cut_pyramid(frame, centre, sides, fill, expected))
    cropper = DeviceCropper(RULES[rule])
    found = gpu.cut(lambda table: told.append(cropper.cut_pyramid(frame, centre, sides, fill, table)), 3, size)
    np.testing.assert_array_equal(found, expected)
    assert told[0] == told[1]
    crops_only = 3 * -(-size * size * 3 // QUAD) * QUAD
    assert (gpu.staging.used == crops_only) == (share > 1 or rule in ("nested", "affine"))


def test_upload_copies_any_number_of_quads_and_segments(gpu):
    random = np.random.default_rng(0)
    one_round = 16 * THREADS * 4
    for sizes in (
        [],
        [0],
        [1],
        [3, 0, 5],
        [255, 256, 257],
        [one_round - 1, one_round, one_round + 1],
        [3 * one_round + 7],
    ):
        sources, targets = ([gpu.cuda.pinned((quads + 1) * QUAD) for quads in sizes] for _ in range(2))
        for source in sources:
            source[:] = random.integers(1, 256, source.size)
        gpu.upload(*((s.ctypes.data, t.ctypes.data, n) for s, t, n in zip(sources, targets, sizes, strict=True)))
        for source, target in zip(sources, targets, strict=True):
            np.testing.assert_array_equal(target[:-QUAD], source[:-QUAD])
            assert not target[-QUAD:].any()


@pytest.mark.parametrize("capability", ["7.5", "8.0", "8.6", "8.9", "9.0", "10.0", "12.0"])
def test_nvrtc_compiles_the_kernels_for_every_gpu_since_turing(capability):
    cuda, loaded = compiling(capability)
    assert list(engine_kernels(cuda)) == list(SIGNATURES)
    code, *found = loaded
    assert code[:4] == b"\x7fELF"
    assert all(name in code for name in found)
