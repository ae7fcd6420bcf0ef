"""What many tests share: bundles, each exported once a session, and a clip whose boxes are known."""

import gc
import logging
import shutil
import signal
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
from hypothesis import settings

from trk.engine.bundle import Bundle
from trk.video.writer import open_video

# The same examples on every run: a push must not fail by chance. `--hypothesis-profile=random` looks for new ones.
settings.register_profile("fixed", derandomize=True)
settings.register_profile("random", derandomize=False)
settings.load_profile("fixed")

# A shell ignores Ctrl-C for what it starts with "&", and a child inherits that: tests send it to processes they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Take what was imported out of the garbage collector's rounds: an eighth of the suite's time goes into them."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    # pytest listens to loggers that pass nothing on, and as long as somebody listens to this one, PyTorch's exporter
    # writes down each of its steps.
    logging.getLogger("torch.__trace").propagate = True


SIDE = 48
"""Of the square that moves in the clip, in pixels."""


class Clip(NamedTuple):
    """A textured square on a textured ground: the same frames three times."""

    frames: list[np.ndarray]
    boxes: np.ndarray
    folder: Path
    video: Path

    @property
    def init(self) -> str:
        """The first box, as --init wants it."""
        return ",".join(f"{value:g}" for value in self.boxes[0])


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    random = np.random.default_rng(7)
    ground = cv2.resize(random.integers(60, 120, (24, 32, 3), np.uint8), (320, 240))
    square = cv2.resize(random.integers(0, 256, (8, 8, 3), np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
    steps = np.arange(20)
    corners = np.stack([90 + 5 * steps, 70 + np.round(20 * np.sin(steps / 3))], axis=1).astype(int)
    frames = []
    for x, y in corners:
        frame = ground.copy()
        frame[y : y + SIDE, x : x + SIDE] = square
        frames.append(frame)
    boxes = np.concatenate([corners, np.full_like(corners, SIDE)], axis=1).astype(float)
    place = tmp_path_factory.mktemp("clip")
    folder, video = place / "frames", place / "clip.mp4"
    folder.mkdir()
    with open_video(video, (320, 240), 25.0) as writer:
        for number, frame in enumerate(frames):
            cv2.imwrite(str(folder / f"{number:03d}.png"), frame)
            writer.write(frame, number / 25)
    return Clip(frames, boxes, folder, video)


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a bundle that tracks the clip. Read it; to damage it, take `bundle_copy`."""
    return _exported("TINY", tmp_path_factory)


@pytest.fixture(scope="session")
def tiny_trk(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same bundle as one file."""
    return _zipped(tiny_bundle, tmp_path_factory)


@pytest.fixture(scope="session")
def many_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny bundle with graphs for two and for four targets at once."""
    return _exported("TINY", tmp_path_factory, targets=(2, 4))


@pytest.fixture(scope="session")
def long_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a bundle of two search graphs that share their weights in a file."""
    return _exported("TINY_LONG", tmp_path_factory)


@pytest.fixture(scope="session")
def long_trk(long_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same bundle as one file."""
    return _zipped(long_bundle, tmp_path_factory)


@pytest.fixture(scope="session")
def light_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the light SiamRPN++, whose weights ship: six kernels, a correlation by one of them."""
    from trk.export.bundle import export_bundle
    from trk.export.weights import choose

    out = tmp_path_factory.mktemp("light") / "bundle"
    row, net, weights = choose("siamrpnpp", "light", None)
    export_bundle(row, out, net, weights)
    return out


@pytest.fixture
def bundle_copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A bundle's folder that a test may damage."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def _exported(name: str, tmp_path_factory: pytest.TempPathFactory, **options: Any) -> Path:
    import tiny

    from trk.engine.manifest import Weights
    from trk.export.bundle import export_bundle

    out = tmp_path_factory.mktemp(name.lower()) / "bundle"
    weights = Weights(origin="checkpoint", file="tiny", licence="none: random projections")
    export_bundle(getattr(tiny, name), out, tiny.seeded(), weights, **options)
    return out


def _zipped(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from trk.export.write import write_bundle

    bundle = Bundle(folder)
    out = tmp_path_factory.mktemp("zipped") / "bundle.trk"
    write_bundle(out, bundle.manifest, {file.name: bundle.read(file.name) for file in bundle.manifest.files})
    return out
