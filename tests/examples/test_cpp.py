"""The example in C++: compiled, and run beside the engine."""

import csv
import io
import os
import shutil
import subprocess
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import onnxruntime
import pytest

from trk import Tracker

SOURCE = Path(__file__).resolve().parents[2] / "examples" / "cpp" / "track.cpp"
PLACES = [Path(os.environ.get("ORT", "/nowhere")), Path("/usr/local"), Path("/usr"), Path("/opt/onnxruntime")]
"""Where ONNX Runtime's headers may be: the folder that the environment variable ORT names, and the usual ones."""

pytestmark = pytest.mark.slow


def headers() -> Path | None:
    for place in PLACES:
        for folder in (place / "include", place / "include" / "onnxruntime"):
            if (folder / "onnxruntime_cxx_api.h").exists():
                return folder
    return None


def library() -> Path | None:
    """ONNX Runtime's library: beside the headers, or the one in the Python package."""
    package = Path(onnxruntime.__file__).parent / "capi"
    found = [*(PLACES[0] / "lib").glob("libonnxruntime.so*"), *package.glob("libonnxruntime.so*")]
    return found[0].resolve() if found else None


@pytest.fixture(scope="module")
def track(tmp_path_factory):
    include, shared = headers(), library()
    if shutil.which("g++") is None or include is None or shared is None:
        pytest.skip("g++ or ONNX Runtime's C++ headers are not installed (the variable ORT may name their folder)")
    if subprocess.run(["g++", "-fsyntax-only", "-include", "nlohmann/json.hpp", "-xc++", os.devnull]).returncode:
        pytest.skip("nlohmann-json is not installed")
    place = tmp_path_factory.mktemp("cpp")
    (place / "libonnxruntime.so").symlink_to(shared)
    (place / "libonnxruntime.so.1").symlink_to(shared)
    words = ["g++", "-std=c++17", "-O2", "-Wall", "-Werror", SOURCE, "-isystem", include, "-L", place, "-lonnxruntime"]
    subprocess.run([*map(str, words), f"-Wl,-rpath,{place}", "-o", str(place / "track")], check=True, timeout=300)
    return place / "track"


def run(track, bundle, frames, box):
    height, width = frames[0].shape[:2]
    words = [str(word) for word in (track, bundle, width, height, *box)]
    return subprocess.run(words, input=b"".join(map(bytes, frames)), capture_output=True, timeout=120)


def results(done):
    """x, y, w, h and score of every frame but the first."""
    assert done.returncode == 0, done.stderr.decode()
    rows = list(csv.DictReader(io.StringIO(done.stdout.decode())))
    return np.array([[float(row[name]) for name in ("x", "y", "w", "h", "score")] for row in rows[1:]])


def compare(found, expected):
    np.testing.assert_allclose(found[:, :4], expected[:, :4], atol=0.01)
    np.testing.assert_allclose(found[:, 4], expected[:, 4], rtol=1e-4)


def test_boxes_are_those_of_the_engine(track, clip, tiny_bundle):
    # A target at the border, too: what lies outside has the mean colour.
    shifted = [np.roll(frame, (-60, -80), axis=(0, 1)) for frame in clip.frames]
    for frames, box in ((clip.frames, clip.boxes[0]), (shifted, clip.boxes[0] - [80, 60, 0, 0])):
        tracker = Tracker(tiny_bundle, threads=1)
        tracker.init(frames[0], box)
        expected = [tracker.update(frame) for frame in frames[1:]]
        compare(results(run(track, tiny_bundle, frames, box)), np.array([[*r.box, r.score] for r in expected]))


def test_boxes_at_borders_are_those_of_the_engine_by_rules_of_few_models(track, border_clip, border_trk, tmp_path):
    with ZipFile(border_trk) as files:
        files.extractall(tmp_path)
    found = [
        results(run(track, tmp_path, [border_clip.frames[number] for number in numbers], box))
        for numbers, box in border_clip.walks
    ]
    compare(np.concatenate(found), border_clip.expected(border_trk))


def test_bundle_from_before_a_rule_existed_runs_as_it_did(track, clip, tiny_bundle, bundle_copy, older_manifest):
    (bundle_copy / "bundle.json").write_text(older_manifest)
    found, expected = (run(track, bundle, clip.frames[:3], clip.boxes[0]) for bundle in (bundle_copy, tiny_bundle))
    assert (found.returncode, found.stdout) == (0, expected.stdout)


def test_what_it_does_not_know_is_refused(track, clip, bundle_copy, unknown_rules):
    for manifest, says in unknown_rules:
        (bundle_copy / "bundle.json").write_text(manifest)
        done = run(track, bundle_copy, clip.frames[:2], clip.boxes[0])
        assert (done.returncode, done.stdout) == (2, b"")
        assert done.stderr.decode() == f"track: {says} is not in this example\n"


def test_folder_that_is_no_bundle_is_refused(track, clip, tmp_path):
    done = run(track, tmp_path / "nowhere", clip.frames[:2], clip.boxes[0])
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"bundle.json can't be read" in done.stderr
