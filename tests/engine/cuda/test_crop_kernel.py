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
from trk.engine.geometry import CropRule, Geometry, Regions, scaled, square
from trk.models.registry import find

PLAIN = CropRule(origin_shift=0.0)
"""A region begins at its centre less half its sides."""
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


def cut_by_opencv(frame, region, size, fill, rule=PLAIN):
    out = np.empty((size, size, 3), np.uint8)
    x, y, columns, rows, _ = region
    reach = columns / 2, rows / 2
    Cropper(rule).cut(frame, (x + reach[0], y + reach[1]), (columns, rows, *reach), fill, out)
    return out


def at(x, y, columns, rows=None):
    """A region, square where no rows are given."""
    return x, y, columns, rows or columns, (0.0, 0.0)


@st.composite
def cases(draw):
    size = draw(st.sampled_from(SIZES))
    shape = draw(st.tuples(st.integers(1, 400), st.integers(1, 400)))
    sides = st.sampled_from([1, 2, size - 1, size, size + 1, 2 * size, 4 * size, 9000]) | st.integers(1, 900)
    regions = []
    for _ in range(draw(st.integers(1, 3))):
        columns = draw(sides)
        rows = draw(sides | st.just(columns))
        x, y = (
            draw(st.integers(-side - 2, reach + 2) | st.integers(-20, 20))
            for side, reach in ((columns, shape[1]), (rows, shape[0]))
        )
        regions.append(at(x, y, columns, rows))
    return size, shape, regions, draw(st.none() | st.integers(0, 200)), draw(st.integers(0, 2**32 - 1))


@settings(max_examples=200, deadline=None)
@given(case=cases(), unseen=st.sampled_from([0, 0, 1, 5]))
def test_crops_are_opencvs_to_the_byte_wherever_they_are_cut(gpu, case, unseen):
    size, shape, regions, gap, seed = case
    rule = PLAIN.model_copy(update={"unseen_edge": unseen})
    random = np.random.default_rng(seed)
    frame, fill = random.integers(0, 256, (*shape, 3), np.uint8), random.integers(0, 256, 3, np.uint8)
    seen = frame if gap is None else pitched(frame, gap, seed)

    def place(table):
        for number, region in enumerate(regions):
            table.place(number, seen, region, fill, unseen)

    for crop, region in zip(gpu.cut(place, len(regions), size), regions, strict=True):
        np.testing.assert_array_equal(crop, cut_by_opencv(frame, region, size, fill, rule))


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (2, 2), (40, 60)])
def test_unseen_edge_of_any_frame_has_the_colour_outside(gpu, shape, on_device):
    random = np.random.default_rng(0)
    frame, fill = random.integers(100, 256, (*shape, 3), np.uint8), np.array([1, 2, 3], np.uint8)
    height, width = shape
    seen = pitched(frame, 7, 0) if on_device else frame
    (crop,) = gpu.cut(lambda table: table.place(0, seen, at(0, 0, 64), fill, 1), 1, 64)
    expected = np.broadcast_to(fill, (64, 64, 3)).copy()
    expected[: height - 1, : width - 1] = frame[:-1, :-1]
    np.testing.assert_array_equal(crop, expected)


@pytest.mark.parametrize(("unseen", "staged"), [(0, 40 * 50), (1, 39 * 49)])
def test_unseen_edge_does_not_go_up(gpu, unseen, staged):
    frame, fill = np.full((40, 50, 3), 9, np.uint8), np.zeros(3, np.uint8)
    gpu.cut(lambda table: table.place(0, frame, at(-10, -10, 100, 90), fill, unseen), 1, 31)
    assert gpu.staging.used == -(-staged * 3 // QUAD) * QUAD


def test_rows_of_the_table_are_as_far_apart_as_the_kernels_structs(gpu):
    random = np.random.default_rng(3)
    frame, fill = random.integers(0, 256, (60, 90, 3), np.uint8), np.array([250, 251, 252], np.uint8)
    regions = [at(3 * number, 60 - 4 * number, 40 - number, 10 + 2 * number) for number in range(9)]

    def place(table):
        for number, region in enumerate(regions):
            table.place(number, frame, region, fill)

    for crop, region in zip(gpu.cut(place, len(regions), 20), regions, strict=True):
        np.testing.assert_array_equal(crop, cut_by_opencv(frame, region, 20, fill))
    assert ROW.size % 8 == 0  # the first field of the next is an address


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
    regions = [at(5, -8, 60, 20), at(-30, 100, 127), at(50, 60, 300, 140)]
    cut_already = random.integers(0, 256, (31, 31, 3), np.uint8)

    def place(table):
        for number in range(3):
            table[2 * number : 2 * number + 2].place(0, seen[number], regions[number], fills[number])
            table[2 * number + 1 :] = cut_already[None]

    found = gpu.cut(place, 6, 31)
    for number in range(3):
        expected = cut_by_opencv(frames[number], regions[number], 31, fills[number])
        np.testing.assert_array_equal(found[2 * number], expected)
        np.testing.assert_array_equal(found[2 * number + 1], cut_already)


def test_only_what_is_seen_of_a_frame_goes_up_and_a_frame_goes_up_once_at_most(gpu):
    frame, fill = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8), np.zeros(3, np.uint8)
    gpu.cut(lambda table: table.place(0, frame, at(-60, 20, 100), fill), 1, 31)
    assert gpu.staging.used == 40 * 100 * 3
    gpu.cut(lambda table: table.place(0, frame, at(-60, 150, 140, 90), fill), 1, 31)
    assert gpu.staging.used == 80 * 50 * 3
    regions = [at(5 * number, 3 * number, 160, 120) for number in range(20)]

    def place(table):
        for number, region in enumerate(regions):
            table.place(number, frame, region, fill)

    found = gpu.cut(place, 20, 31)
    for crop, region in zip(found, regions, strict=True):
        np.testing.assert_array_equal(crop, cut_by_opencv(frame, region, 31, fill))
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
    "lightfc": Geometry.model_validate(find("lightfc").geometry).crop,
    "fear": Geometry.model_validate(find("fear", "xs").geometry).crop,
}
SQUARE_ONLY = ("nested", "affine")
PROPORTIONS = {"square": (1.0, 1.0), "wide": (1.6, 1 / 1.6), "tall": (1 / 1.6, 1.6)}
FORMS = [(rule, form) for rule in RULES for form in PROPORTIONS if form == "square" or rule not in SQUARE_ONLY]


def extents_of(area, form):
    """Three scales of a region of a form, about an `area`, that does not reach as far to the left as to the right."""
    across, down = (area**0.5 * share for share in PROPORTIONS[form])
    middle = square(across) if form == "square" else (across, down, 0.45 * across, 0.55 * down)
    return scaled(middle, [0.96, 1.0, 1.04])


@pytest.mark.parametrize(("rule", "form"), FORMS)
@pytest.mark.parametrize("share", [0.1, 0.95, 1.05], ids=["small", "as large as is copied", "cut by the host"])
@pytest.mark.parametrize("centre", [(190.3, 150.7), (350.2, 260.9), (20.6, 15.1)], ids=["middle", "end", "begin"])
def test_pyramids_of_every_rule_are_those_of_the_hosts_cropper(gpu, rule, form, share, centre):
    frame, fill = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8), np.array([7, 8, 9], np.uint8)
    size = 127
    extents = extents_of((share * LARGE_WINDOW**0.5 * size / 1.04) ** 2, form)
    expected, told = np.empty((3, size, size, 3), np.uint8), []
    told.append(Cropper(RULES[rule]).cut_pyramid(frame, centre, extents, fill, expected))
    cropper = DeviceCropper(RULES[rule])
    found = gpu.cut(lambda table: told.append(cropper.cut_pyramid(frame, centre, extents, fill, table)), 3, size)
    np.testing.assert_array_equal(found, expected)
    assert told[0] == told[1]
    if rule not in SQUARE_ONLY:
        *_, columns, rows, middle = Regions(RULES[rule]).at(centre, extents[1])
        assert told[1] == (middle, columns, rows)
    by_host = share > 1 or rule in SQUARE_ONLY
    crops_only = 3 * -(-size * size * 3 // QUAD) * QUAD
    assert (gpu.staging.used == crops_only) == by_host


@pytest.mark.parametrize("rule", ["lightfc", "fear"])
@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    centre=st.tuples(st.floats(-60, 260), st.floats(-60, 260)),
    sides=st.tuples(st.floats(1, 500), st.floats(1, 500)),
    reach=st.tuples(st.floats(0.3, 0.7), st.floats(0.3, 0.7)),
    gap=st.none() | st.integers(0, 50),
    seed=st.integers(0, 2**32 - 1),
)
def test_frames_here_and_on_the_device_are_cut_alike(gpu, rule, shape, centre, sides, reach, gap, seed):
    random, size = np.random.default_rng(seed), 128
    frame, fill = random.integers(0, 256, (*shape, 3), np.uint8), random.integers(0, 256, 3, np.uint8)
    seen = frame if gap is None else pitched(frame, gap, seed)
    extents = [(*sides, *(share * side for share, side in zip(reach, sides, strict=True)))]
    expected, told = np.empty((1, size, size, 3), np.uint8), []
    told.append(Cropper(RULES[rule]).cut_pyramid(frame, centre, extents, fill, expected))
    cropper = DeviceCropper(RULES[rule])
    found = gpu.cut(lambda table: told.append(cropper.cut_pyramid(seen, centre, extents, fill, table)), 1, size)
    np.testing.assert_array_equal(found, expected)
    assert told[0] == told[1]


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
