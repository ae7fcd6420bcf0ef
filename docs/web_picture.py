"""Make docs/web.jpg anew: the page of `trk-run --demo --web` in a headless Chromium, a box drawn, some frames tracked.

python docs/web_picture.py          # needs trk-engine[dev], chromium and chromedriver
"""

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from trk.weights.clips import sample

OUT = Path(__file__).with_name("web.jpg")
FLAGS = ("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "window-size=1280,880")
FRAME = 100
SECOND = (880, 330, 190, 110)
"""Another target, the rocks, in the video's pixels."""


def chromium(profile: str) -> webdriver.Chrome:
    """A browser without a screen."""
    options = webdriver.ChromeOptions()
    for flag in (*FLAGS, f"user-data-dir={profile}"):
        options.add_argument(f"--{flag}")
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))


def draw(browser: webdriver.Chrome, box: tuple[float, ...]) -> None:
    """Draw a box with the mouse."""
    canvas = browser.find_element(By.ID, "picture")
    width, height = canvas.size["width"], canvas.size["height"]
    x, y, w, h = (value * width / int(canvas.get_attribute("width") or 1) for value in box)
    drag = ActionChains(browser, duration=50).move_to_element_with_offset(canvas, x - width / 2, y - height / 2)
    drag.click_and_hold().move_by_offset(w / 2, h / 2).move_by_offset(w / 2, h / 2).release().perform()


def main() -> None:
    """Run the page, draw, track, take the picture."""
    words = [sys.executable, "-c", "from trk.cli.run import main; main()", "--demo", "--web", "--port", "0"]
    page = subprocess.Popen([*words, *sys.argv[1:]], stdout=subprocess.PIPE, text=True)
    assert page.stdout is not None
    address = page.stdout.readline().strip()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = chromium(profile)
        try:
            browser.get(address)
            wait = WebDriverWait(browser, 60, poll_frequency=0.05)
            wait.until(lambda _: browser.find_element(By.ID, "state").text == "ready")
            time.sleep(1)
            draw(browser, sample("bunny").init_box)
            draw(browser, SECOND)
            browser.find_element(By.ID, "run").click()
            wait.until(lambda _: int(browser.find_element(By.ID, "frame").text.split()[0]) >= FRAME)
            browser.find_element(By.ID, "pause").click()
            time.sleep(1)
            image = cv2.imdecode(np.frombuffer(browser.get_screenshot_as_png(), np.uint8), cv2.IMREAD_COLOR)
        finally:
            browser.quit()
            page.send_signal(signal.SIGINT)
            page.wait()
    cv2.imwrite(str(OUT), image, [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main()
