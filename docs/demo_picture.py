"""Make docs/bunny.jpg anew: the contact sheet of `trk-run --demo`.

python docs/demo_picture.py
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import cv2

OUT = Path(__file__).with_name("bunny.jpg")
WIDTH = 1200


def main() -> None:
    """Track the sample, shrink the sheet."""
    with tempfile.TemporaryDirectory() as folder:
        sheet = Path(folder) / "sheet.png"
        words = ["--demo", "--quiet", "--out", str(sheet.with_suffix(".mp4")), "--sheet", str(sheet)]
        subprocess.run([sys.executable, "-c", "from trk.cli.run import main; main()", *words], check=True)
        image = cv2.imread(str(sheet))
    height = round(image.shape[0] * WIDTH / image.shape[1])
    small = cv2.resize(image, (WIDTH, height), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(OUT), small, [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main()
