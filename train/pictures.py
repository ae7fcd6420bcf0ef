"""Pictures of any sizes in one tensor on a device, and crops of many of them at once.

A clip of 150 frames of 480 x 854 takes 246 MB: a pixel is four bytes, so that one read gives all of its colours.
"""

import os
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import SourceError
from .tracks import Frame, Image, decoded

Key = tuple[Path, str | int]
"""A picture: of a zip and by its member's name, or of a video and by its frame's number."""
ZIP = ".zip"
BATCH = 256
"""Members of a zip that are read by one thread."""

Report = Callable[[int, int], None]


def key(frame: Frame) -> Key:
    """Return which picture `frame` is."""
    return frame.path, frame.member if frame.path.suffix == ZIP and frame.member else frame.number


class Pictures:
    """Pictures on a device. `sizes`: w, h of each, [P, 2]."""

    def __init__(self, images: Sequence[Image], device: torch.device):
        """Copy `images`, uint8 [H, W, 4]. Raises SourceError where the device has no room for them."""
        self.sizes = np.array([(image.shape[1], image.shape[0]) for image in images], np.int64).reshape(-1, 2)
        ends = self.sizes.prod(1).cumsum()
        try:
            self.pixels = torch.empty(int(ends[-1]), dtype=torch.int32, device=device)
        except RuntimeError:  # torch's OutOfMemoryError is one
            raise SourceError(f"{4 * ends[-1] / 1e9:.1f} GB of pictures don't fit: name fewer clips") from None
        for image, end in zip(images, ends, strict=True):
            flat = torch.from_numpy(image.reshape(-1, 4)).view(torch.int32)[:, 0]
            self.pixels[end - len(flat) : end].copy_(flat)
        self._first = torch.from_numpy(ends - self.sizes.prod(1)).to(device)
        self._sizes = torch.from_numpy(self.sizes).to(device)

    def crops(self, chosen: Tensor, origin: Tensor, step: Tensor, side: int) -> Tensor:
        """Return crops float [N, side, side, 3] BGR 0..255, sampled between pixels, black outside of the pictures.

        chosen: [N], numbers of pictures; origin: [N, 2], x, y in the picture of the middle of the crop's first pixel;
        step: [N, 2], picture pixels to the next one, negative from right to left.
        """
        along = torch.arange(side, dtype=torch.float32, device=origin.device)
        places = origin[:, :, None] + step[:, :, None] * along
        whole = places.floor()
        share, whole = places - whole, whole.long()
        sizes, first = self._sizes[chosen], self._first[chosen]
        out: Tensor | None = None
        for down in (0, 1):
            y, weight_y = _tap(whole[:, 1] + down, share[:, 1], down, sizes[:, 1])
            row = first[:, None] + y * sizes[:, :1]
            for right in (0, 1):
                x, weight_x = _tap(whole[:, 0] + right, share[:, 0], right, sizes[:, 0])
                read = self.pixels[row[:, :, None] + x[:, None, :]]
                colours = read.view(torch.uint8).reshape(*read.shape, 4)[..., :3]
                part = colours * (weight_y[:, :, None] * weight_x[:, None, :])[..., None]
                out = part if out is None else out.add_(part)
        assert out is not None
        return out


def _tap(at: Tensor, share: Tensor, next_one: int, size: Tensor) -> tuple[Tensor, Tensor]:
    """Return pixels [N, S] that exist and what they count, 0 where `at` lies outside of pictures of `size` [N]."""
    last = size[:, None] - 1
    inside = (at >= 0) & (at <= last)
    return at.clamp(min=0).minimum(last), (share if next_one else 1 - share) * inside


def read_pictures(
    frames: Iterable[Frame], device: torch.device, report: Report, threads: int | None = None
) -> tuple[Pictures, dict[Key, int]]:
    """Decode the pictures of `frames` in `threads`, all cores without; return them and the number of each.

    Frames past a video's end are left out. Raises SourceError: a zip or video can't be read.
    """
    wanted: defaultdict[Path, set[str | int]] = defaultdict(set)
    for path, which in map(key, frames):
        wanted[path].add(which)
    jobs = [job for path, which in sorted(wanted.items()) for job in _jobs(path, which)]
    found: dict[Key, Image] = {}
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        for number, images in enumerate(pool.map(lambda job: job(), jobs)):
            found.update(images)
            report(number + 1, len(jobs))
    if not found:
        raise SourceError("no pictures: the tracks have no frame that is there")
    return Pictures(list(found.values()), device), {one: number for number, one in enumerate(found)}


Job = Callable[[], Mapping[Key, Image]]


def _jobs(path: Path, which: set[str | int]) -> list[Job]:
    if path.suffix != ZIP:
        return [partial(_video, path, which)]
    names = sorted(map(str, which))
    return [partial(_zip, path, names[at : at + BATCH]) for at in range(0, len(names), BATCH)]


def _zip(path: Path, names: Sequence[str]) -> dict[Key, Image]:
    try:
        with zipfile.ZipFile(path) as stored:
            return {(path, name): _padded(decoded(stored.read(name), f"{path} {name}")) for name in names}
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise SourceError(f"{path} can't be read: {error}") from None


def _video(path: Path, which: set[str | int]) -> dict[Key, Image]:
    found: dict[Key, Image] = {}
    capture = _opened(path)
    for number in range(1 + max(map(int, which))):
        if not capture.grab():
            break
        if number in which:
            good, image = capture.retrieve()
            if good:
                found[path, number] = _padded(np.asarray(image, np.uint8))
    if not found:
        raise SourceError(f"{path} holds no frame that OpenCV can decode")
    return found


def count_frames(path: Path) -> tuple[int, tuple[int, int]]:
    """Return how many frames a video decodes to, and their width and height. Raises SourceError where none."""
    capture, count = _opened(path), 0
    while capture.grab():
        count += 1
    if not count:
        raise SourceError(f"{path} holds no frame that OpenCV can decode")
    return count, (int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))


def _opened(path: Path) -> cv2.VideoCapture:
    """Return a video, decoded by one thread: the threads are there for the videos."""
    return cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])


def _padded(image: Image) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2BGRA), np.uint8)
