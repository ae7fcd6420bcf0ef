"""The example in a browser: a real Chromium runs a bundle with ONNX Runtime Web, beside the engine."""

import os
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from chromium import chromium

from trk import Tracker
from trk.bench.ope import overlap
from trk.video.writer import open_video

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "browser"
PACKAGES = (
    Path(os.environ.get("TRK_ORT_WEB", "/nowhere")),
    FOLDER / "node_modules" / "onnxruntime-web",
)
"""Where npm has put onnxruntime-web: the folder that TRK_ORT_WEB names, or beside the example."""
DRIVE = """
const [walks, done] = arguments;
(async () => {
  const ort = await import("/node_modules/onnxruntime-web/dist/ort.wasm.min.mjs");
  const { Tracker, openBundle } = await import("/trk.js");
  ort.env.wasm.wasmPaths = "/node_modules/onnxruntime-web/dist/";
  ort.env.wasm.numThreads = 1;
  const tracker = new Tracker(await openBundle(ort, await (await fetch("/my.trk")).arrayBuffer()));
  const found = [];
  for (const [numbers, first] of walks) for (const number of numbers) {
    const blob = await (await fetch(`/frames/${String(number).padStart(3, "0")}.png`)).blob();
    const picture = await createImageBitmap(blob, { colorSpaceConversion: "none" });
    const canvas = new OffscreenCanvas(picture.width, picture.height), pen = canvas.getContext("2d");
    pen.drawImage(picture, 0, 0);
    const image = pen.getImageData(0, 0, picture.width, picture.height);
    if (number === numbers[0]) await tracker.init(image, first);
    else { const { box, score } = await tracker.update(image); found.push([...box, score]); }
  }
  return found;
})().then((found) => done({ found }), (error) => done({ error: String(error) }));
"""

pytestmark = pytest.mark.slow


class Server(SimpleHTTPRequestHandler):
    """The example's folder, and beside it what `places` has."""

    places: dict[str, Path] = {}
    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript", ".wasm": "application/wasm"}

    def translate_path(self, path):
        plain = path.split("?")[0]
        for prefix, place in self.places.items():
            if plain.startswith(prefix):
                return str(place) + plain.removeprefix(prefix)
        return super().translate_path(path)

    def log_message(self, *words):
        pass


@contextmanager
def serving(frames, trk):
    """The address of the example's page, which has `trk` and the pictures in the folder `frames` beside it."""
    package = next((place for place in PACKAGES if (place / "dist" / "ort.wasm.min.mjs").exists()), None)
    if package is None:
        pytest.skip(
            "onnxruntime-web is not installed (npm install in examples/browser, or TRK_ORT_WEB names its folder)"
        )
    places = {"/node_modules/onnxruntime-web": package, "/frames": frames, "/my.trk": trk}
    handler = type("Handler", (Server,), {"places": places})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(FOLDER))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def served(clip, tiny_trk):
    with serving(clip.folder, tiny_trk) as address:
        yield address


@pytest.fixture
def browser(tmp_path):
    with chromium(tmp_path / "profile") as browser:
        yield browser


def run(browser, address, walks):
    """x, y, w, h and score of every frame of `walks` but the first of each; or what the example said."""
    browser.get(f"{address}/index.html")
    browser.set_script_timeout(120)
    answer = browser.execute_async_script(DRIVE, [[list(numbers), list(box)] for numbers, box in walks])
    return answer.get("error") or np.array(answer["found"])


def compare(found, expected):
    assert not isinstance(found, str), found
    np.testing.assert_allclose(found[:, :4], expected[:, :4], atol=0.01)
    np.testing.assert_allclose(found[:, 4], expected[:, 4], rtol=1e-4)


def rewritten(trk, out, manifest):
    """Another .trk of the same files with another manifest."""
    with ZipFile(trk) as old, ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(name, manifest if name == "bundle.json" else old.read(name))
    return out


def test_boxes_are_those_of_the_engine(served, browser, clip, tiny_bundle):
    found = run(browser, served, [(range(len(clip.frames)), clip.boxes[0])])
    tracker = Tracker(tiny_bundle, threads=1)
    tracker.init(clip.frames[0], clip.boxes[0])
    expected = [tracker.update(frame) for frame in clip.frames[1:]]
    compare(found, np.array([[*result.box, result.score] for result in expected]))


def test_boxes_at_borders_are_those_of_the_engine_by_rules_of_few_models(browser, border_clip, border_trk):
    with serving(border_clip.folder, border_trk) as address:
        compare(run(browser, address, border_clip.walks), border_clip.expected(border_trk))


def test_bundle_from_before_a_rule_existed_runs_as_it_did(served, browser, clip, tiny_trk, older_manifest, tmp_path):
    walks = [(range(3), clip.boxes[0])]
    with serving(clip.folder, rewritten(tiny_trk, tmp_path / "old.trk", older_manifest)) as address:
        found = run(browser, address, walks)
    compare(found, run(browser, served, walks))


def test_what_it_does_not_know_is_refused(browser, clip, tiny_trk, unknown_rules, tmp_path):
    for manifest, says in unknown_rules:
        with serving(clip.folder, rewritten(tiny_trk, tmp_path / "new.trk", manifest)) as address:
            found = run(browser, address, [(range(1), clip.boxes[0])])
        assert found == f"Error: {says} is not in this example"


def test_page_takes_a_bundle_a_video_and_a_box_drawn_with_the_mouse(served, browser, clip, tiny_trk, tmp_path):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    video = tmp_path / "clip.mp4"
    with open_video(video, (320, 240), 2.0) as writer:  # slow enough for every frame to be seen
        for number, frame in enumerate(clip.frames[:8]):
            writer.write(frame, number / 2)
    browser.get(f"{served}/index.html")
    by = partial(browser.find_element, By.ID)

    def wait(text):
        WebDriverWait(browser, 60, poll_frequency=0.05).until(lambda _: text in by("says").text)

    by("bundle").send_keys(str(tiny_trk))
    wait("Choose a video")
    by("video").send_keys(str(video))
    wait("Draw a box")
    canvas = by("picture")
    assert np.abs(pixels_of(browser)[..., :3] - clip.frames[0][..., ::-1]).mean() < 10
    x, y, w, h = clip.boxes[0]
    drag = ActionChains(browser, duration=20).move_to_element_with_offset(canvas, int(x - 160), int(y - 120))
    drag.click_and_hold().move_by_offset(20, 20).move_by_offset(int(w - 20), int(h - 20)).release().perform()
    wait("Press Start")
    by("start").click()
    wait("3.5 s")
    picture = pixels_of(browser)
    rows, columns = np.nonzero(np.abs(picture[..., :3] - [0x44, 0xDE, 0x5E]).max(axis=2) < 40)
    drawn = [columns.min(), rows.max() - h, columns.max() - columns.min(), h]
    assert overlap(np.array([drawn], float), clip.boxes[7:8])[0] > 0.5
    assert [line for line in browser.get_log("browser") if line["level"] == "SEVERE"] == []


def pixels_of(browser):
    """What the page's canvas shows: red, green, blue, opacity."""
    script = "return [...document.getElementById('picture').getContext('2d').getImageData(0, 0, 320, 240).data]"
    return np.array(browser.execute_script(script), int).reshape(240, 320, 4)
