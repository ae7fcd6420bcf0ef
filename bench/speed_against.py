"""Who else runs a bundle's network: PyTorch as upstream has it, on the same device, or OpenCV."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..engine.bundle import Bundle
from ..engine.result import Box, Result, StageTimes
from ..errors import BackendError, UsageError
from ..video.source import Image
from .peers_opencv import open_opencv
from .speed import Entry
from .timed import Timed

OPENCV = "opencv-nano"


@dataclass(frozen=True)
class Way:
    """One way to run a network in PyTorch."""

    gradients: bool | None = None
    """Whether gradients are recorded; None: as its upstream does."""
    compiled: bool = False


AGAINST: Mapping[str, Way | None] = {
    "upstream-style": Way(),
    "upstream-no-grad": Way(gradients=False),
    "upstream-compile": Way(gradients=False, compiled=True),
    OPENCV: None,
}
"""By what --against calls them; None is no PyTorch."""


class Told:
    """An upstream-style tracker whose failures are ours: compilers, drivers and full memories raise what they like."""

    def __init__(self, tracker: Any, how: str):
        self._tracker, self._how = tracker, how
        self.is_close_call = tracker.is_close_call
        self.stages = StageTimes(0.0, 0.0, 0.0)
        """Seconds of the parts of the last update."""

    def init(self, frame: Image, box: Box) -> None:
        """Take the target. Raises BackendError."""
        try:
            self._tracker.init(frame, box)
        except RuntimeError as error:
            raise self._told(error) from error

    def update(self, frame: Image) -> Result:
        """Return where the target is. Raises BackendError."""
        try:
            result: Result = self._tracker.update(frame)
        except RuntimeError as error:
            raise self._told(error) from error
        self.stages = self._tracker.stages
        return result

    def _told(self, error: RuntimeError) -> BackendError:
        line = next((text.strip() for text in str(error).splitlines() if text.strip()), type(error).__name__)
        return BackendError(f"{self._how}: PyTorch failed: {line}: leave --against {self._how} out")


def against(
    label: str,
    bundle: Bundle,
    hows: Sequence[str],
    counts: Sequence[int],
    weights: Sequence[Path],
    device: str | None,
    folder: Path,
    about: Mapping[str, Any],
) -> Iterator[Entry]:
    """Yield an entry for each way of `hows` to run the network of `bundle` and each number of threads of `counts`.

    `weights`: checkpoints that it may have been exported from; `folder`: for files that others read. Raises
    BackendError, UsageError or CheckpointError where one can't be had.
    """
    try:
        import torch

        from .upstream_style import network_of, upstream_style
    except ImportError as error:
        raise BackendError(
            f"--against needs PyTorch ({error.name} is missing): pip install 'trk-engine[export]', or leave it out"
        ) from None
    net, device = network_of(bundle, weights), device or "cpu"
    state = folder / f"{label.replace('/', '_')}.pt"
    torch.save(net.state_dict(), state)
    for how in hows:
        way = AGAINST[how]
        for count in counts:
            if way is None:
                yield _opencv_nano(label, net, count, folder / label.replace("/", "_"))
                continue
            tracker = upstream_style(bundle, net, gradients=way.gradients, device=device, compiled=way.compiled)
            recipe: dict[str, Any] | None = {
                "kind": "upstream",
                "path": str(bundle.path.resolve()),
                "state": str(state),
                "how": how,
                "device": device,
                "threads": count,
            }
            told = Told(tracker, how)
            recipe = None if way.compiled else recipe  # minutes in every process anew: its first frame says nothing
            # On a GPU PyTorch's convolutions may round to TF32, as shipped, and only the launch can be told apart.
            on_cpu = device == "cpu"
            mine = {**about, "device": device} | ({} if on_cpu else {"tf32": bool(torch.backends.cudnn.allow_tf32)})
            yield Entry(
                label, how, count, told, mine, told.is_close_call, has_parts=on_cpu, same_boxes=on_cpu, recipe=recipe
            )


def open_upstream(recipe: Mapping[str, Any]) -> Any:
    """Return the upstream-style tracker that a recipe of `against` tells of."""
    import torch

    from ..models.registry import find
    from .upstream_style import upstream_style

    bundle = Bundle(recipe["path"])
    net = find(bundle.manifest.model, bundle.manifest.variant).build()
    net.load_state_dict(torch.load(recipe["state"], weights_only=True))
    torch.set_num_threads(recipe["threads"])
    way = AGAINST[recipe["how"]]
    assert way is not None
    return upstream_style(bundle, net, gradients=way.gradients, device=recipe["device"], compiled=way.compiled)


def _opencv_nano(label: str, net: Any, threads: int, folder: Path) -> Entry:
    from ..models.nanotrack import NanoTrack
    from .opencv_nano import FILES, write_opencv_nano

    if not isinstance(net, NanoTrack):
        raise UsageError(f"--against {OPENCV}: {label} is no NanoTrack, and OpenCV's TrackerNano runs nothing else")
    if not folder.exists():
        folder.mkdir(parents=True)
        write_opencv_nano(copy.deepcopy(net).cpu(), folder)
    target = "nano:" + ",".join(str(folder / name) for name in FILES)
    recipe = {"kind": "peer", "target": f"opencv:{target}", "threads": threads}
    runner = Timed(open_opencv(target))
    return Entry(label, OPENCV, threads, runner, {}, has_parts=False, same_boxes=False, recipe=recipe)
