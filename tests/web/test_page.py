"""The page in a real Chromium without a screen: boxes drawn by mouse and finger, the run watched, results taken."""

import csv
import json
import signal
import subprocess
import sys
import urllib.request

import numpy as np
import pytest
from chromium import chromium

pytest.importorskip("fastapi", reason="the extra web is not installed (trk-engine[web])")
pytest.importorskip("selenium", reason="selenium is not installed")

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.actions.pointer_input import PointerInput
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from trk.bench.ope import overlap

MAIN = "from trk.cli.run import main; main()"

pytestmark = pytest.mark.slow


@pytest.fixture
def run(clip, tiny_trk, tmp_path):
    """`trk-run --web` as a process: its address, and what it wrote when it was interrupted."""
    words = [clip.video, "--web", "--port", 0, "--bundle", tiny_trk, "--threads", 1, "--boxes", tmp_path / "b.csv"]
    process = subprocess.Popen([sys.executable, "-c", MAIN, *map(str, words)], stdout=subprocess.PIPE, text=True)

    def end():
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
        with (tmp_path / "b.csv").open(newline="") as stream:
            return list(csv.DictReader(stream))

    yield process.stdout.readline().strip(), end
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.fixture
def browser(tmp_path):
    with chromium(tmp_path / "profile") as driver:
        yield driver


class Page:
    def __init__(self, browser, address):
        self.browser = browser
        browser.get(address)
        self.wait(lambda: self.state == "ready")
        self.canvas = self.by("picture")

    def by(self, name):
        return self.browser.find_element(By.ID, name)

    @property
    def state(self):
        return self.by("state").text

    def wait(self, condition):
        WebDriverWait(self.browser, 60, poll_frequency=0.1).until(lambda _: condition())

    def targets(self):
        return self.browser.find_elements(By.CSS_SELECTOR, "#targets li")

    def corners(self, box):
        """Screen offsets of a box's two corners from the canvas's centre."""
        width, height = self.canvas.size["width"], self.canvas.size["height"]
        scale = width / int(self.canvas.get_attribute("width"))
        x, y, w, h = (value * scale for value in box)
        return round(x - width / 2), round(y - height / 2), round(w), round(h)

    def draw(self, box):
        x, y, w, h = self.corners(box)
        drag = ActionChains(self.browser, duration=20).move_to_element_with_offset(self.canvas, x, y).click_and_hold()
        drag.move_by_offset(w // 2, h // 2).move_by_offset(w - w // 2, h - h // 2).release().perform()

    def draw_with_a_finger(self, box):
        x, y, w, h = self.corners(box)
        finger = ActionBuilder(self.browser, mouse=PointerInput("touch", "finger"), duration=20)
        finger.pointer_action.move_to(self.canvas, x, y).pointer_down()
        finger.pointer_action.move_to(self.canvas, x + w // 2, y + h // 2)
        finger.pointer_action.move_to(self.canvas, x + w, y + h).pointer_up()
        finger.perform()

    def box(self, number):
        """The box of a target as the page tells it."""
        words = self.targets()[number].get_attribute("title").replace(",", "").split()
        return [float(word) for word in words[1::2]]


def test_target_is_drawn_with_the_mouse_followed_and_downloaded(run, browser, clip, tmp_path):
    address, end = run
    page = Page(browser, address)
    assert page.by("hint").text == "Draw a box around the target"
    assert not page.by("run").is_enabled()
    page.draw(clip.boxes[0])
    page.wait(lambda: len(page.targets()) == 1)
    np.testing.assert_allclose(page.box(0), clip.boxes[0], atol=2)
    page.draw_with_a_finger((200, 150, 40, 40))
    page.wait(lambda: len(page.targets()) == 2)
    np.testing.assert_allclose(page.box(1), (200, 150, 40, 40), atol=2)

    page.by("run").click()
    page.wait(lambda: page.state == "finished")
    assert page.by("frame").text == "19 / 19"
    assert overlap(np.array([page.box(0)]), clip.boxes[19:])[0] > 0.6
    assert not page.by("error").is_displayed()

    links = browser.find_elements(By.CSS_SELECTOR, "#downloads a")
    fetched = {link.text: urllib.request.urlopen(link.get_attribute("href")).read() for link in links}
    assert len(fetched["CSV"].splitlines()) == 41
    assert len(json.loads(fetched["COCO"])["annotations"]) == 40
    assert fetched["Video (MP4)"][4:8] == b"ftyp"
    assert [line for line in browser.get_log("browser") if line["level"] == "SEVERE"] == []

    rows = end()
    assert len(rows) == 40
    page.wait(lambda: page.state == "disconnected")


def test_run_is_wound_back_and_a_target_drawn_anew(run, browser, clip):
    address, end = run
    page = Page(browser, address)
    page.draw(clip.boxes[0])
    page.wait(lambda: page.targets())
    page.canvas.send_keys(Keys.SPACE)
    page.wait(lambda: page.state == "finished")
    line = page.by("scores")
    line.send_keys(Keys.PAGE_DOWN)
    page.wait(lambda: page.state == "paused")
    assert page.by("frame").text == "9 / 19"
    line.send_keys(Keys.ARROW_LEFT)
    page.wait(lambda: page.by("frame").text == "8 / 19")

    page.targets()[0].find_element(By.CLASS_NAME, "redraw").click()
    assert page.by("hint").text == "Draw target 1 anew"
    wanted = clip.boxes[8] + [-4, -4, 8, 8]
    page.draw(wanted)
    page.wait(lambda: np.allclose(page.box(0), wanted, atol=2))
    page.by("run").click()
    page.wait(lambda: page.state == "finished")
    rows = end()
    assert [int(row["frame"]) for row in rows] == list(range(20))
    assert float(rows[8]["w"]) == pytest.approx(56, abs=2)


def test_box_typed_removed_and_refused(run, browser):
    address, _ = run
    page = Page(browser, address)
    browser.find_element(By.TAG_NAME, "summary").click()
    for name, value in zip("xywh", (900, 70, 48, 48), strict=True):
        browser.find_element(By.NAME, name).send_keys(str(value))
    browser.find_element(By.CSS_SELECTOR, "#typed button").click()
    page.wait(lambda: "outside the frame 320x240" in page.by("error").text)
    browser.find_element(By.NAME, "x").clear()
    browser.find_element(By.NAME, "x").send_keys("90", Keys.ENTER)
    page.wait(lambda: len(page.targets()) == 1)
    assert not page.by("error").is_displayed()
    page.targets()[0].find_elements(By.TAG_NAME, "button")[1].click()
    page.wait(lambda: not page.targets())
    assert not page.by("run").is_enabled()


def test_wrong_token_shows_why(run, browser):
    browser.get(run[0] + "x")
    assert "open the address that trk-run printed" in browser.find_element(By.TAG_NAME, "body").text
