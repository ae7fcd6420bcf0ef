"""Every example is run, on the clip whose boxes are known."""

import base64
import csv
import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
from streams import http_camera

from trk.bench.ope import overlap

FOLDER = Path(__file__).resolve().parents[2] / "examples"
OTHER = "200,150,40,40"


@pytest.fixture
def example():
    def load(name):
        spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def frames_of(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]


def test_every_example_is_in_the_table_and_has_a_test():
    names = {path.name for path in FOLDER.glob("*.py")}
    table = (FOLDER / "README.md").read_text()
    tests = Path(__file__).read_text()
    assert names
    for name in names:
        assert f"`{name}`" in table
        assert f'example("{name.removesuffix(".py")}")' in tests


def test_webcam(example, clip, tiny_trk, capsys):
    arguments = [str(clip.video), "--init", clip.init, "--bundle", str(tiny_trk), "--frames", "6"]
    assert example("webcam").main(arguments) == 6
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert lines[0].split()[0] == "0.04"


def test_webcam_on_a_camera_of_the_network(example, clip, tiny_trk, capsys):
    with http_camera([*clip.frames, *clip.frames[::-1]]) as camera:
        camera.interval = 0.04
        arguments = [camera.url, "--init", clip.init, "--bundle", str(tiny_trk), "--frames", "8"]
        assert example("webcam").main(arguments) == 8
    assert len(capsys.readouterr().out.splitlines()) == 7


def test_cameras_at_their_own_rates_beside_a_file_and_one_that_is_not_there(example, clip, tiny_trk, capsys):
    frames = [*clip.frames, *clip.frames[::-1]]
    with http_camera(frames) as slow, http_camera(frames) as fast:
        slow.interval, fast.interval = 0.2, 0.02
        words = [f"{source}={clip.init}" for source in (slow.url, fast.url, clip.folder, "nowhere.mp4")]
        assert example("cameras").main([*words, "--bundle", str(tiny_trk), "--frames", "50"]) == 50
    lines = capsys.readouterr().out.splitlines()
    told = {name: sum(line.startswith(f"{name}: ") for line in lines) for name in (slow.url, fast.url, clip.folder)}
    assert any(line.startswith("nowhere.mp4: no file or folder") for line in lines)
    assert told[clip.folder] == 21  # its frames and its end
    assert min(told.values()) > 0


def test_many_targets(example, clip, tiny_trk, tmp_path):
    out = tmp_path / "b.csv"
    arguments = [str(clip.folder), str(out), clip.init, OTHER, "--bundle", str(tiny_trk)]
    assert example("many_targets").main(arguments) == 20
    with out.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["id"] for row in rows] == ["1", "2"] * 20


def test_follow_and_crop_keeps_the_target_in_the_middle(example, clip, tiny_trk, tmp_path):
    out = tmp_path / "o.mp4"
    arguments = [str(clip.folder), str(out), "--init", clip.init, "--bundle", str(tiny_trk), "--calm", "0"]
    assert example("follow_and_crop").main([*arguments, "--size", "192"]) == 20
    frames = frames_of(out)
    assert frames[0].shape == (192, 192, 3)
    # The square is 48 pixels in a crop of 96: its glaring pattern fills the middle, the calm ground the corners.
    assert min(frame[60:132, 60:132].std() for frame in frames) > 50
    assert max(frame[:24, :24].std() for frame in frames) < 30
    assert np.abs(frames[-1][:24].astype(float) - frames[0][:24]).mean() > 1  # the ground moved


def test_redact_leaves_nothing_of_the_target(example, clip, tiny_trk, tmp_path):
    out = tmp_path / "o.mp4"
    assert example("redact").main([str(clip.folder), str(out), "--init", clip.init, "--bundle", str(tiny_trk)]) == 20
    for plain, image, (x, y, w, h) in zip(clip.frames, frames_of(out), clip.boxes.astype(int), strict=True):
        square = np.s_[y + 4 : y + h - 4, x + 4 : x + w - 4]
        assert image[square].std() < 0.5 * plain[square].std()
        far = np.s_[200:, :60]
        assert np.abs(image[far].astype(float) - plain[far]).mean() < 12


def test_label_backwards(example, clip, tiny_trk, tmp_path):
    out = tmp_path / "b.coco.json"
    init = ",".join(str(value) for value in clip.boxes[-1])
    arguments = [str(clip.video), str(out), "--init", init, "--bundle", str(tiny_trk)]
    assert example("label_backwards").main(arguments) == 20
    document = json.loads(out.read_text())
    assert [one["image_id"] for one in document["annotations"]] == list(range(20))
    assert overlap(np.array([one["bbox"] for one in document["annotations"]]), clip.boxes).min() > 0.6


def test_to_pandas(example, clip, tiny_trk, capsys):
    pytest.importorskip("pandas", reason="pandas is not installed")
    found = example("to_pandas").table(str(clip.folder), clip.boxes[0], str(tiny_trk))
    assert overlap(found[list("xywh")].to_numpy(), clip.boxes).min() > 0.7
    assert (
        found.speed.iloc[1:].between(20, 500).all()
    )  # 5 pixels to the right and up to 7 up or down, 25 times a second
    assert example("to_pandas").main([str(clip.folder), "--init", clip.init, "--bundle", str(tiny_trk)]) == 20


def test_to_supervision(example, clip, tiny_trk, tmp_path):
    pytest.importorskip("supervision", reason="supervision is not installed")
    out = tmp_path / "o.mp4"
    arguments = [str(clip.folder), str(out), clip.init, OTHER, "--bundle", str(tiny_trk)]
    assert example("to_supervision").main(arguments) == 20
    assert len(frames_of(out)) == 20


def test_to_norfair(example, clip, tiny_trk):
    pytest.importorskip("norfair", reason="norfair is not installed")
    found = example("to_norfair").main([str(clip.folder), clip.init, "--bundle", str(tiny_trk)])
    assert {identity for _, identity, _ in found} == {1}
    boxes = np.array([corners for _, _, corners in found])
    boxes[:, 2:] -= boxes[:, :2]
    assert overlap(boxes, clip.boxes[[frame for frame, _, _ in found]]).min() > 0.5


def test_cvat_function(example, clip, tiny_trk, monkeypatch):
    module = example("cvat_function")
    monkeypatch.setenv("TRK_BUNDLE", str(tiny_trk))
    context = SimpleNamespace(user_data=SimpleNamespace(), Response=lambda **answer: answer)
    module.init_context(context)
    x, y, w, h = clip.boxes[0].tolist()
    shapes, states = [[x, y, x + w, y + h], [200, 150, 240, 190]], []
    for number, frame in enumerate(clip.frames):
        if number == 10:
            module.init_context(context)  # the worker was replaced: nothing is remembered
        image = base64.b64encode(cv2.imencode(".png", frame)[1].tobytes()).decode()
        event = SimpleNamespace(body={"image": image, "shapes": shapes, "states": states})
        answer = module.handler(context, event)
        assert answer["status_code"] == 200
        body = json.loads(answer["body"])
        shapes, states = body["shapes"], body["states"]
    x, y, right, bottom = shapes[0]
    assert overlap(np.array([[x, y, right - x, bottom - y]]), clip.boxes[19:])[0] > 0.7


def test_cvat_agent(clip, tiny_trk):
    """As cvat-cli loads and calls it: two rectangles, their states kept by the agent."""
    common = pytest.importorskip("cvat_cli._internal.common", reason="cvat-cli is not installed")
    import cvat_sdk.auto_annotation as cvat
    from PIL import Image

    loader = common.FunctionLoader(None, FOLDER / "cvat_agent.py", {"bundle": str(tiny_trk)})
    function = loader.load()  # as example("cvat_agent") would
    assert isinstance(function.spec, cvat.TrackingFunctionSpec)
    x, y, w, h = clip.boxes[0].tolist()
    corners = [[x, y, x + w, y + h], [200.0, 150.0, 240.0, 190.0]]
    states = []
    for number, frame in enumerate(clip.frames):
        picture = function.preprocess_image(None, Image.fromarray(frame[:, :, ::-1]))
        np.testing.assert_array_equal(picture, frame)
        if number == 0:
            shapes = [cvat.TrackableShape(type="rectangle", points=points) for points in corners]
            states = [function.init_tracking_state(None, picture, shape) for shape in shapes]
        else:
            shapes = [function.track(None, picture, state) for state in states]
    assert [shape.type for shape in shapes] == ["rectangle"] * 2
    x, y, right, bottom = shapes[0].points
    assert overlap(np.array([[x, y, right - x, bottom - y]]), clip.boxes[19:])[0] > 0.7
