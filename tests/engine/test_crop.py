import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trk import FrameError
from trk.engine import crop as crop_module
from trk.engine.crop import Cropper, check_frame, fill_colour, mean_colour
from trk.engine.geometry import CropRule, Geometry, Regions, box_extent, round_as, square
from trk.engine.manifest import Search
from trk.engine.target import Motion
from trk.models.registry import find

from shared import shared_module

RULES = {
    "pysot": CropRule(),
    "nanotrack": CropRule(),
    "dasiamrpn": CropRule(origin_rounding="half_even"),
    "siamdw": CropRule(origin_rounding="half_even", pyramid="nested"),
    "dasiamrpn_py2": CropRule(origin_rounding="half_away", side_rounding="half_away"),
    "siamfc": CropRule(origin_rounding="half_even", origin_shift=-0.5, fill="round"),
}


@pytest.mark.parametrize("family", RULES)
def test_crops_equal_upstreams_to_the_byte(family):
    golden = shared_module("goldens", "golden.py")
    rule, cropper = RULES[family], Cropper(RULES[family])
    cases = golden.read_json("crops", f"{family}.json")["cases"]
    assert len(cases) >= 32
    for case in cases:
        mean = case["avg"][::-1] if family == "siamfc" else case["avg"]  # the goldens state it as RGB there
        out = np.empty((case["model_sz"], case["model_sz"], 3), np.uint8)
        frame = golden.crop_frame(case["frame"])
        before = frame.copy()
        cropper.cut(frame, (case["cx"], case["cy"]), square(case["original_sz"]), fill_colour(mean, rule), out)
        expected = cv2.imread(golden.path("crops", case["png"]))
        np.testing.assert_array_equal(out, expected, err_msg=case["name"])
        np.testing.assert_array_equal(frame, before, err_msg="the frame was modified")


def test_nested_pyramid_equals_siamdws_to_the_byte():
    golden = shared_module("goldens", "golden.py")
    rule, cropper = RULES["siamdw"], Cropper(RULES["siamdw"])
    cases = golden.read_json("crops", "siamdw.json")["pyramid"]
    assert cases
    for case in cases:
        out = np.empty((3, case["out_side"], case["out_side"], 3), np.uint8)
        cropper.cut_pyramid(
            golden.crop_frame(case["frame"]),
            (case["cx"], case["cy"]),
            [square(side) for side in case["in_side_scaled"]],
            fill_colour(case["avg"], rule),
            out,
        )
        expected = cv2.imread(golden.path("crops", case["png"]))
        np.testing.assert_array_equal(np.concatenate(list(out), axis=1), expected, err_msg=case["name"])


LIGHT = {"lightfc": find("lightfc"), "fearxs": find("fear", "xs")}
"""By the names of their goldens."""
CASES_OF_A_FAMILY = 50


def geometry_of(family):
    return Geometry.model_validate(LIGHT[family].geometry)


def begun(geometry, size, box, frame):
    """The rules of a bundle whose search crops have `size` pixels, and a target that fills `box`."""
    motion = Motion(geometry, (Search(file="search.onnx", inputs=(), outputs=(), size=size, when="always"),))
    return motion, motion.start(tuple(box), mean_colour(frame), frame.shape[1::-1])


def cut_as_asked(golden, family, geometry, case):
    """The crop of a golden case as the engine makes it: its region, what was told of it, its pixels, its target."""
    template = case["name"].endswith("/template")
    frame, size = golden.crop_frame(case["frame"]), case["model_sz"]
    own = geometry.template_size if template else LIGHT[family].searches[0].size
    assert size == own or case["name"].endswith("search_at_128")
    before = frame.copy()
    motion, target = begun(geometry, size, case["box"], frame)
    assert target.box == pytest.approx(case["box"], abs=1e-12)
    extent = motion.template_extent(target) if template else motion.search_extent(target, 0)
    centre, out = (target.cx, target.cy), np.empty((size, size, 3), np.uint8)
    told = Cropper(geometry.crop).cut(frame, centre, extent, fill_colour(target.mean, geometry.crop), out)
    np.testing.assert_array_equal(frame, before, err_msg="the frame was modified")
    return Regions(geometry.crop).at(centre, extent), told, out, target


def assert_pixels_are(golden, case, out):
    if "png" in case:  # it says where, before the checksum says that
        expected = golden.image(f"crops/{case['png']}")
        np.testing.assert_array_equal(out, expected, err_msg=case["name"])
    assert golden.sha(out) == case["sha256"], case["name"]


def test_crops_equal_lightfcs_to_the_byte():
    golden = shared_module("goldens_light", "golden.py")
    geometry = geometry_of("lightfc")
    cases = golden.read_json("crops", "lightfc.json")["cases"]
    assert len(cases) == CASES_OF_A_FAMILY
    for case in cases:
        name, side = case["name"], case["original_sz"]
        exemplar = round(case["model_sz"] / case["factor"])  # of a crop of another size or factor: not the row's
        assert exemplar == geometry.exemplar_size or name.endswith("search_at_128")
        own = geometry.model_copy(update={"exemplar_size": exemplar})
        region, (middle, width, height), out, _ = cut_as_asked(golden, "lightfc", own, case)
        assert region == (case["x1"], case["y1"], side, side, middle), name
        assert middle == (case["x1"] + side / 2, case["y1"] + side / 2), name
        assert case["model_sz"] / width == case["model_sz"] / height == case["resize_factor"], name
        assert_pixels_are(golden, case, out)


def test_crops_equal_fears_to_the_byte():
    golden = shared_module("goldens_light", "golden.py")
    geometry = geometry_of("fearxs")
    cases = golden.read_json("crops", "fearxs.json")["cases"]
    assert len(cases) == CASES_OF_A_FAMILY
    for case in cases:
        name, size = case["name"], case["model_sz"]
        contexts = geometry.box_context
        assert case["offset"] == (contexts.template if name.endswith("/template") else contexts.search)
        (x, y, columns, rows, middle), told, out, target = cut_as_asked(golden, "fearxs", geometry, case)
        assert [x, y, columns, rows] == case["original_box"], name
        assert told == (middle, columns, rows) == ((x + columns / 2, y + rows / 2), columns, rows), name
        assert target.mean[::-1] == pytest.approx(case["pad_rgb"], rel=1e-12)
        left, top, w, h = target.box
        in_crop = ((left - x) / columns, (top - y) / rows, w / columns, h / rows)
        assert [size * share for share in in_crop] == pytest.approx(case["target_in_crop_px"], rel=1e-6), name
        assert_pixels_are(golden, case, out)


def on_canvas(frame, x, y, columns, rows, fill):
    """A region of `frame` as upstreams lay it out: a canvas of its size, filled, the frame pasted."""
    canvas = np.empty((rows, columns, 3), np.uint8)
    canvas[:] = fill
    height, width = frame.shape[:2]
    left, right, top, bottom = max(0, -x), min(columns, width - x), max(0, -y), min(rows, height - y)
    if left < right and top < bottom:
        canvas[top:bottom, left:right] = frame[y + top : y + bottom, x + left : x + right]
    return canvas


def resized(canvas, m):
    return canvas if canvas.shape == (m, m, 3) else cv2.resize(canvas, (m, m))


def padded(frame, centre, sides, fill, m, rule):
    """The crop of whole `sides` (width, height) as upstreams make it: laid out, resized."""
    x, y = (
        round_as(c - side / 2 - rule.origin_shift, rule.origin_rounding) for c, side in zip(centre, sides, strict=True)
    )
    return resized(on_canvas(frame, x, y, *sides, fill), m)


def reaching(width, height):
    """The extent of a region of `width` and `height` around its middle."""
    return width, height, width / 2, height / 2


ANYWHERE = {
    "shape": st.tuples(st.integers(1, 120), st.integers(1, 120)),
    "centre": st.tuples(st.floats(-40, 160), st.floats(-40, 160)),
    "m": st.sampled_from([17, 127, 255]),
    "seed": st.integers(0, 2**32 - 1),
}


def noise(seed, shape):
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (*shape, 3), np.uint8), random.integers(0, 256, 3, np.uint8)


@settings(max_examples=300, deadline=None)
@given(side=st.integers(1, 1200), **ANYWHERE)
def test_crop_equals_a_padded_canvas_wherever_the_target_is(shape, centre, side, m, seed):
    frame, fill = noise(seed, shape)
    out = np.empty((m, m, 3), np.uint8)
    Cropper(CropRule()).cut(frame, centre, square(side), fill, out)
    np.testing.assert_array_equal(out, padded(frame, centre, (side, side), fill, m, CropRule()))


LENGTHS = st.integers(1, 200) | st.integers(1, 1200) | st.sampled_from([17, 34, 127, 254, 255, 510])


@settings(max_examples=300, deadline=None)
@given(width=LENGTHS, height=LENGTHS, **ANYWHERE)
def test_crop_of_any_proportions_equals_a_padded_canvas_stretched_to_a_square(shape, centre, width, height, m, seed):
    frame, fill = noise(seed, shape)
    out, cropper = np.empty((m, m, 3), np.uint8), Cropper(CropRule())
    cropper.cut(frame, (3.0, 2.0), reaching(90, 40), 255 - fill, out)  # what is left of another crop is not seen
    middle, *cut = cropper.cut(frame, centre, reaching(width, height), fill, out)
    assert cut == [width, height]
    assert middle == Regions(CropRule()).at(centre, reaching(width, height))[4]
    np.testing.assert_array_equal(out, padded(frame, centre, (width, height), fill, m, CropRule()))


@settings(max_examples=300, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 90), st.integers(1, 120)),
    box=st.tuples(st.integers(-50, 130), st.integers(-50, 100), st.integers(1, 90), st.integers(1, 90)),
    context=st.sampled_from([0.2, 2.0]),
    m=st.sampled_from([16, 128]),
    seed=st.integers(0, 2**32 - 1),
)
def test_box_with_its_context_is_cut_as_fear_does(shape, box, context, m, seed):
    # Source: LIGHT_TRACKERS.md 2.3: corner and size are each cut toward zero, from products in float64.
    frame, fill = noise(seed, shape)
    x, y, w, h = box
    corner = int(x - w * context), int(y - h * context)
    size = int(w * (1 + context + context)), int(h * (1 + context + context))
    out = np.empty((m, m, 3), np.uint8)
    centre = x + w / 2, y + h / 2
    told = Cropper(geometry_of("fearxs").crop).cut(frame, centre, box_extent(w, h, context), fill, out)
    assert told == ((corner[0] + size[0] / 2, corner[1] + size[1] / 2), *size)
    np.testing.assert_array_equal(out, resized(on_canvas(frame, *corner, *size, fill), m))


UNSEEN = [CropRule(unseen_edge=1), CropRule(unseen_edge=3), geometry_of("lightfc").crop]


@settings(max_examples=200, deadline=None)
@given(rule=st.sampled_from(UNSEEN), width=st.integers(1, 300), height=st.integers(1, 300), **ANYWHERE)
def test_unseen_edge_of_a_frame_counts_as_outside(rule, shape, centre, width, height, m, seed):
    frame, fill = noise(seed, shape)
    out, expected = np.empty((2, m, m, 3), np.uint8)
    told = Cropper(rule).cut(frame, centre, reaching(width, height), fill, out)
    seen, all_seen = frame[: -rule.unseen_edge, : -rule.unseen_edge], rule.model_copy(update={"unseen_edge": 0})
    assert told == Cropper(all_seen).cut(frame, centre, reaching(width, height), fill, expected)
    if seen.size:
        Cropper(all_seen).cut(np.ascontiguousarray(seen), centre, reaching(width, height), fill, expected)
    else:
        expected[:] = fill
    np.testing.assert_array_equal(out, expected)
    x, y, *_ = Regions(rule).at(centre, reaching(width, height))
    np.testing.assert_array_equal(out, resized(on_canvas(seen, x, y, width, height, fill), m))


def test_unseen_edge_is_the_last_column_and_row_and_no_other():
    frame = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3) + 50
    out, fill = np.empty((6, 6, 3), np.uint8), np.array([1, 2, 3], np.uint8)
    rule = CropRule(unseen_edge=1, origin_shift=0.0)
    Cropper(rule).cut(frame, (5, 3), square(6), fill, out)
    np.testing.assert_array_equal(out[:5, :5], frame[:5, 2:7])
    assert (out[5] == fill).all()
    assert (out[:, 5] == fill).all()
    Cropper(rule).cut(frame, (3, 3), square(6), fill, out)  # ends a column before the frame: its last row only
    np.testing.assert_array_equal(out[:5], frame[:5, :6])
    assert (out[5] == fill).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (3, 3)])
@pytest.mark.parametrize("extent", [square(1), square(50), reaching(90, 8), square(20_000)])
@pytest.mark.parametrize("rule", [CropRule(unseen_edge=3), CropRule(unseen_edge=3, sampling="affine")])
def test_frame_that_is_nothing_but_unseen_edge_shows_the_colour_outside(rule, shape, extent):
    frame, fill = np.full((*shape, 3), 200, np.uint8), np.array([7, 8, 9], np.uint8)
    out = np.empty((33, 33, 3), np.uint8)
    for centre in ((0.5, 0.5), (-3.0, 4.0), (shape[1], shape[0])):
        out[:] = 99
        Cropper(rule).cut(frame, centre, extent, fill, out)
        assert (out == fill).all()


@pytest.mark.parametrize(("width", "height"), [(300, 40), (40, 300), (171, 300)])
def test_region_too_long_for_a_canvas_is_sampled_about_as_it_would_be_laid_out(width, height, monkeypatch):
    y, x = np.mgrid[0:70, 0:90]
    frame, fill = np.stack([x, y, x * 0], 2).astype(np.uint8), np.array([200, 210, 220], np.uint8)
    laid_out, sampled = np.empty((2, 64, 64, 3), np.uint8)
    told = Cropper(CropRule()).cut(frame, (40, 30), reaching(width, height), fill, laid_out)
    monkeypatch.setattr(crop_module, "MAX_CANVAS_SIDE", 100)
    assert Cropper(CropRule()).cut(frame, (40, 30), reaching(width, height), fill, sampled) == told
    inside = (laid_out[..., 2] == 0) & (sampled[..., 2] == 0)
    assert inside.mean() > 0.1
    assert np.abs(laid_out.astype(int) - sampled)[inside].max() <= 1


def test_crop_of_a_frame_that_is_not_contiguous():
    frame = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    view = frame[::-1, ::2, ::-1]
    out, expected = np.empty((2, 63, 63, 3), np.uint8)
    Cropper(CropRule()).cut(view, (30, 40), square(50), np.zeros(3, np.uint8), out)
    Cropper(CropRule()).cut(np.ascontiguousarray(view), (30, 40), square(50), np.zeros(3, np.uint8), expected)
    np.testing.assert_array_equal(out, expected)


def test_centre_that_was_cut_differs_by_less_than_a_pixel():
    frame = np.zeros((100, 100, 3), np.uint8)
    out = np.empty((31, 31, 3), np.uint8)
    rule = CropRule(origin_shift=0.0)
    for x in np.linspace(20, 60, 57):
        middle, *sides = Cropper(rule).cut(frame, (x, 50.25), reaching(21.4, 30.6), np.zeros(3, np.uint8), out)
        assert abs(middle[0] - x) <= 0.5
        assert abs(middle[1] - 50.25) <= 0.5
        assert sides == [21, 31]


def test_affine_crop_samples_the_corners_of_the_box():
    x, y = np.meshgrid(np.arange(200), np.arange(150))
    frame = np.stack([x, y, x * 0], axis=2).astype(np.uint8)
    out = np.empty((101, 101, 3), np.uint8)
    rule = CropRule(sampling="affine", centre_shift=-0.5)
    # A side of 51 pixels around pixel 80.5 - 0.5 begins at pixel 55 and ends at 105: half a pixel a sample.
    Cropper(rule).cut(frame, (80.5, 60.5), square(51.0), np.zeros(3, np.uint8), out)
    np.testing.assert_allclose(out[50, :, 0], np.linspace(55, 105, 101), atol=1)
    np.testing.assert_allclose(out[:, 50, 1], np.linspace(35, 85, 101), atol=1)


def test_mean_colour_equals_numpys():
    frame = np.random.default_rng(3).integers(0, 256, (71, 97, 3), np.uint8)
    assert mean_colour(frame) == tuple(np.mean(frame, axis=(0, 1)))
    assert mean_colour(frame[::2, ::-1]) == tuple(np.mean(frame[::2, ::-1], axis=(0, 1)))


def test_fill_truncates_rounds_or_is_black_as_the_rule_says():
    mean = (104.9, 0.5, 254.6)
    assert fill_colour(mean, CropRule()).tolist() == [104, 0, 254]
    assert fill_colour(mean, CropRule(fill="round")).tolist() == [105, 0, 255]
    assert fill_colour(mean, CropRule(fill="black")).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [
        ("half_even", [10, 0, 12, -2]),
        ("half_up", [11, 0, 12, -1]),
        ("half_away", [11, -1, 12, -2]),
        ("up", [11, 0, 12, -1]),
        ("toward_zero", [10, 0, 11, -1]),
    ],
)
def test_roundings_differ_at_halves(rounding, expected):
    assert [round_as(value, rounding) for value in (10.5, -0.5, 11.5, -1.5)] == expected


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (None, "NumPy array"),
        (np.zeros((4, 4), np.uint8), "COLOR_GRAY2BGR"),
        (np.zeros((4, 4, 4), np.uint8), "[4, 4, 4]"),
        (np.zeros((4, 4, 3), np.uint16), "uint16"),
        (np.zeros((4, 4, 3), np.float32), "float32"),
        (np.zeros((0, 4, 3), np.uint8), "at least one pixel"),
    ],
)
def test_a_frame_of_another_kind_is_refused_with_the_reason(frame, message):
    with pytest.raises(FrameError, match=message.replace("[", r"\[").replace("]", r"\]")):
        check_frame(frame)
