"""The example in C++: compiled, and run beside the engine."""

import csv
import io
import os
import shutil
import subprocess
from pathlib import Path

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


def test_boxes_are_those_of_the_engine(track, clip, tiny_bundle):
    # A target at the border, too: what lies outside has the mean colour.
    shifted = [np.roll(frame, (-60, -80), axis=(0, 1)) for frame in clip.frames]
    for frames, box in ((clip.frames, clip.boxes[0]), (shifted, clip.boxes[0] - [80, 60, 0, 0])):
        done = run(track, tiny_bundle, frames, box)
        assert done.returncode == 0, done.stderr.decode()
        rows = list(csv.DictReader(io.StringIO(done.stdout.decode())))
        tracker = Tracker(tiny_bundle, threads=1)
        tracker.init(frames[0], box)
        expected = [tracker.update(frame) for frame in frames[1:]]
        found = np.array([[float(row[name]) for name in "xywh"] for row in rows[1:]])
        np.testing.assert_allclose(found, [result.box for result in expected], atol=0.01)
        np.testing.assert_allclose([float(row["score"]) for row in rows[1:]], [r.score for r in expected], rtol=1e-4)


def test_what_it_does_not_know_is_refused(track, clip, bundle_copy):
    manifest = bundle_copy / "bundle.json"
    manifest.write_text(manifest.read_text().replace('"sampling": "resize"', '"sampling": "affine"'))
    done = run(track, bundle_copy, clip.frames[:2], clip.boxes[0])
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b'track: sampling = "affine" is not in this example\n'
    done = run(track, bundle_copy / "nowhere", clip.frames[:2], clip.boxes[0])
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"bundle.json can't be read" in done.stderr
