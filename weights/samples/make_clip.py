"""Makes the clip `cat` and its ground truth: a cat's face on a disc before a wall, every box known exactly.

    python weights/samples/make_clip.py [--out weights/samples/cat]

Needs scikit-image (for its packaged photographs), OpenCV and PyAV. The same versions make the same file.

Everything is placed in a world of pixels and seen by a camera that pans, zooms, rolls and shakes. A frame is the mean
of several instants within its exposure, so that what moves fast is blurred as a camera blurs it; its box is the disc's
at the middle of the exposure. A pillar stands before the disc's path and covers part of it.
"""

import argparse
import csv
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from skimage import data

PHOTOGRAPHS = cast("Any", data)

WIDTH, HEIGHT, FPS, FRAMES = 480, 360, 25, 150
WORLD_WH = (1500, 760)
EXPOSURE = 0.5
"""Of the time between two frames."""
INSTANTS = 12
HORIZON = 458
PILLAR_X, PILLAR_WIDTH = 905, 52
WALL_CORNERS = ((62, 0), (438, 0), (500, 511), (0, 511))
"""Of the brick photograph, taken at a slant: what a rectangle of the wall has become."""

FACE_CENTRE, FACE_AXES = (226.0, 139.0), (130.0, 137.0)
"""The cat's face in the photograph: an ellipse, centre and half axes in pixels."""
RIM = 1.05
"""The disc's edge, a light rim, in face radii."""

# x264's vector code rounds differently from run to run (its macroblock tree did) unless told not to.
ENCODING = {"preset": "veryslow", "crf": "24", "threads": "1", "x264-params": "cpu-independent=1"}

# Keys of the motion: frame, then world x, y, disc half width (world pixels), turn (degrees), squash (width to height).
DISC = (
    (0, 330, 330, 46, 0, 1.00),
    (20, 395, 285, 48, -9, 1.00),
    (40, 460, 350, 52, 7, 0.96),
    (58, 500, 290, 64, 14, 0.90),
    (66, 640, 260, 66, 4, 0.92),
    (73, 810, 340, 62, -10, 0.98),
    (90, 905, 350, 58, -4, 1.00),
    (106, 985, 330, 54, 8, 1.04),
    (122, 1090, 260, 42, 16, 1.00),
    (136, 1035, 330, 34, 4, 0.94),
    (150, 960, 300, 38, -8, 1.00),
)
# The same for the camera: frame, world x, y of its centre, zoom, roll (degrees).
CAMERA = (
    (0, 370, 330, 1.00, 0.0),
    (30, 430, 320, 1.05, 0.8),
    (58, 560, 310, 1.10, -1.0),
    (74, 740, 330, 1.00, 0.5),
    (100, 930, 330, 1.12, 1.5),
    (125, 1040, 310, 1.20, -1.0),
    (150, 990, 320, 1.05, 0.0),
)
# Shake: amplitude in pixels, cycles per frame, phase; for x and for y.
SHAKE = ((2.2, 0.171, 0.3), (1.6, 0.227, 1.9))

Matrix = NDArray[np.float64]
Picture = NDArray[np.float32]
Colour = tuple[int, int, int]


def smooth(keys: tuple[tuple[float, ...], ...], frame: float) -> NDArray[np.float64]:
    """The keyed values at a (fractional) frame: a Catmull-Rom curve through the keys, over uneven times."""
    table = np.asarray(keys, np.float64)
    times, values = table[:, 0], table[:, 1:]
    slopes = np.gradient(values, times, axis=0)
    i = int(np.clip(np.searchsorted(times, frame, side="right") - 1, 0, len(times) - 2))
    step = times[i + 1] - times[i]
    u = (frame - times[i]) / step
    start, end = values[i], values[i + 1]
    a = (2 * u**3 - 3 * u**2 + 1) * start + (u**3 - 2 * u**2 + u) * step * slopes[i]
    return np.asarray(a + (3 * u**2 - 2 * u**3) * end + (u**3 - u**2) * step * slopes[i + 1])


def camera(frame: float) -> Matrix:
    """World to picture, 3 x 3."""
    x, y, zoom, roll = smooth(CAMERA, frame)
    shake = [size * np.sin(2 * np.pi * rate * frame + phase) for size, rate, phase in SHAKE]
    c, s = zoom * np.cos(np.radians(roll)), zoom * np.sin(np.radians(roll))
    tx, ty = WIDTH / 2 + shake[0] - c * x + s * y, HEIGHT / 2 + shake[1] - s * x - c * y
    return np.array([[c, -s, tx], [s, c, ty], [0, 0, 1]])


def disc(frame: float) -> Matrix:
    """Unit disc to world, 3 x 3."""
    x, y, half, turn, squash = smooth(DISC, frame)
    a, b = half * squash, half * FACE_AXES[1] / FACE_AXES[0]
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    return np.array([[a * c, -b * s, x], [a * s, b * c, y], [0, 0, 1]])


def box(frame: float) -> tuple[float, float, float, float]:
    """The disc's bounding box in the picture: x, y, w, h, 0-indexed, a pixel's corner at whole numbers."""
    m = camera(frame) @ disc(frame)
    half_w, half_h = RIM * np.hypot(m[0, 0], m[0, 1]), RIM * np.hypot(m[1, 0], m[1, 1])
    return float(m[0, 2] - half_w), float(m[1, 2] - half_h), float(2 * half_w), float(2 * half_h)


@dataclass(frozen=True)
class Scene:
    """The painted world and the disc: float32 0..1 BGR, the disc and the pillar with their coverage."""

    world: Picture
    face: Picture
    face_cover: Picture
    face_to_unit: Matrix
    pillar_cover: Picture


def bricks() -> Picture:
    """The brick wall, grey, seen straight on and with its rows level."""
    side = 420
    square = np.array([(0, 0), (side, 0), (side, side), (0, side)], np.float32)
    straight = cv2.getPerspectiveTransform(np.array(WALL_CORNERS, np.float32), square)
    level = cv2.rotate(cv2.warpPerspective(PHOTOGRAPHS.brick(), straight, (side, side)), cv2.ROTATE_90_CLOCKWISE)
    return np.asarray(level, np.float32)


def tinted(grey: Picture, size_wh: tuple[int, int], scale: float, low: Colour, high: Colour) -> Picture:
    """A grey texture, tiled by mirroring, its darks and lights given BGR colours."""
    grey = np.asarray(cv2.resize(np.float32(grey), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    darks, lights = np.percentile(grey, (2, 98))
    grey = np.clip((grey - darks) / (lights - darks), 0, 1)
    tile = np.block([[grey, grey[:, ::-1]], [grey[::-1], grey[::-1, ::-1]]])
    times = (-(-size_wh[1] // tile.shape[0]), -(-size_wh[0] // tile.shape[1]))
    grey = np.tile(tile, times)[: size_wh[1], : size_wh[0], None]
    dark, light = (np.asarray(colour, np.float32) / 255 for colour in (low, high))
    return np.asarray(dark + grey * (light - dark), np.float32)


def paint() -> Scene:
    """The scene from scikit-image's packaged photographs."""
    width, height = WORLD_WH
    world = tinted(bricks(), WORLD_WH, 0.8, (62, 74, 128), (160, 186, 214))
    lawn = tinted(PHOTOGRAPHS.grass(), (width, height - HORIZON), 0.7, (24, 62, 40), (96, 190, 140))
    world[HORIZON:] = lawn
    world[HORIZON - 14 : HORIZON] *= np.linspace(1.0, 0.45, 14, dtype=np.float32)[:, None, None]
    pillar = tinted(PHOTOGRAPHS.gravel(), (PILLAR_WIDTH, height), 0.45, (70, 66, 62), (206, 204, 200))
    round_off = np.sin(np.linspace(0.12, 0.88, PILLAR_WIDTH, dtype=np.float32) * np.pi)[None, :, None]
    left = PILLAR_X - PILLAR_WIDTH // 2
    world[:, left : left + PILLAR_WIDTH] = pillar * (0.35 + 0.75 * round_off)
    cover = np.zeros((height, width), np.float32)
    cover[:, left : left + PILLAR_WIDTH] = 1

    (cx, cy), (a, b) = FACE_CENTRE, FACE_AXES
    pad = 20
    photo = cv2.copyMakeBorder(PHOTOGRAPHS.chelsea()[:, :, ::-1], pad, pad, pad, pad, cv2.BORDER_REFLECT)
    face = photo.astype(np.float32) / 255
    ys, xs = np.mgrid[: face.shape[0], : face.shape[1]].astype(np.float32)
    radius = np.hypot((xs + 0.5 - cx - pad) / a, (ys + 0.5 - cy - pad) / b)
    edge = 1.5 / a
    rim = np.clip((radius - 1) / edge + 0.5, 0, 1)[..., None]
    face = face * (1 - rim) + np.array([0.86, 0.94, 0.97], np.float32) * rim
    disc_cover = np.clip((RIM - radius) / edge + 0.5, 0, 1)
    to_unit = np.array([[1 / a, 0, -(cx + pad) / a], [0, 1 / b, -(cy + pad) / b], [0, 0, 1]])
    return Scene(world, np.asarray(face, np.float32), disc_cover, to_unit, cover)


def instant(scene: Scene, frame: float) -> tuple[Picture, float]:
    """What the camera sees at one instant, and how much of the disc is not behind the pillar (0..1)."""
    size, view = (WIDTH, HEIGHT), camera(frame)
    to_picture = view @ disc(frame) @ scene.face_to_unit
    shrink = max(1, int(0.9 / np.hypot(*to_picture[:2, 0])))
    face, cover = scene.face, scene.face_cover
    if shrink > 1:  # warpAffine samples points: shrink first, or fine fur flickers
        half = (face.shape[1] // shrink, face.shape[0] // shrink)
        face, cover = (np.asarray(cv2.resize(x, half, interpolation=cv2.INTER_AREA), np.float32) for x in (face, cover))
        ratio = np.array([[scene.face.shape[1] / half[0], 0, 0], [0, scene.face.shape[0] / half[1], 0], [0, 0, 1]])
        to_picture = to_picture @ ratio
    # Matrices speak of corners, warpAffine of pixel centres.
    picture = warped(scene.world, view, size)
    pillar = warped(scene.pillar_cover, view, size)[..., None]
    alpha = warped(cover, to_picture, size)[..., None]
    seen = alpha * (1 - pillar)
    picture = picture * (1 - seen) + warped(face, to_picture, size) * seen
    return picture, float(seen.sum() / max(float(alpha.sum()), 1e-6))


def warped(image: Picture, matrix: Matrix, size_wh: tuple[int, int]) -> Picture:
    """`image` under a matrix that maps its corner coordinates to the picture's."""
    shift = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    centred = np.linalg.inv(shift) @ matrix @ shift
    border = cv2.BORDER_REFLECT if image.ndim == 3 and image.shape[0] == WORLD_WH[1] else cv2.BORDER_CONSTANT
    return np.asarray(cv2.warpAffine(image, centred[:2], size_wh, flags=cv2.INTER_LINEAR, borderMode=border))


def render(scene: Scene, frame: int) -> tuple[NDArray[np.uint8], float]:
    """Frame as uint8 [H, W, 3] BGR, and the visible part of the disc at the middle of the exposure."""
    offsets = (np.arange(INSTANTS) + 0.5) / INSTANTS - 0.5
    views = [instant(scene, frame + EXPOSURE * offset)[0] for offset in offsets]
    light = 1 + 0.07 * np.sin(2 * np.pi * frame / 90)
    picture = np.mean(views, axis=0) * light
    return np.clip(picture * 255 + 0.5, 0, 255).astype(np.uint8), instant(scene, frame)[1]


def write_clip(path: Path, frames: list[NDArray[np.uint8]]) -> None:
    """H.264 in MP4, one thread, so that the result does not depend on the machine's cores."""
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=FPS, options=ENCODING)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number, image in enumerate(frames):
            yuv = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420), np.uint8)
            frame = av.VideoFrame.from_ndarray(yuv, format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def main() -> None:
    """Write clip.mp4 and groundtruth.csv."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "cat")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(1)
    scene = paint()
    rendered = [render(scene, number) for number in range(FRAMES)]
    write_clip(out / "clip.mp4", [image for image, _ in rendered])
    with (out / "groundtruth.csv").open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["frame", "x", "y", "w", "h", "visible"])
        for number, (_, visible) in enumerate(rendered):
            rows.writerow([number, *(f"{v:.3f}" for v in box(number)), f"{visible:.3f}"])


if __name__ == "__main__":
    main()
