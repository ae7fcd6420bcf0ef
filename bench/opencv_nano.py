"""NanoTrack's weights as the two ONNX files that OpenCV's own TrackerNano reads: the same network, run by OpenCV.

    python -m trk.bench.opencv_nano nanotrackv2.npz FOLDER

OpenCV hands the network red-green-blue and the published weights were trained on blue-green-red, so the file turns the
channels round first. OpenCV's maps have 16 cells a side whatever the network: V3's 15 get a row and a column that never
win, which puts every other cell where it belongs. Hyper-parameters are compiled into OpenCV.

Source: opencv/opencv:modules/video/src/tracking/tracker_nano.cpp.
"""

import sys
import warnings
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..models.nanotrack import NanoTrack
from ..weights.checkpoint import read_checkpoint
from ..weights.recognise import load_into, recognise

FILES = ("backbone.onnx", "neckhead.onnx")
CELLS = 16
"""A side of the maps that OpenCV expects."""
NEVER = -1e4
"""Logit of a cell that is not there."""


class Backbone(nn.Module):
    """`input` [1, 3, H, W] float32 RGB, 0..255 -> features."""

    def __init__(self, net: NanoTrack) -> None:
        super().__init__()
        self.backbone = net.backbone

    def forward(self, image: Tensor) -> Tensor:
        """Return the features of `image`."""
        return cast(Tensor, self.backbone(image.flip(1)))


class Head(nn.Module):
    """Features of template and search -> cls [1, 2, 16, 16] logits and loc [1, 4, 16, 16] distances."""

    def __init__(self, net: NanoTrack) -> None:
        super().__init__()
        self.head = net.ban_head

    def forward(self, template: Tensor, search: Tensor) -> tuple[Tensor, Tensor]:
        """Return cls and loc."""
        cls, distances = self.head.search(search, *self.head.template(template))
        missing = CELLS - cls.shape[-1]
        if missing:
            edges = (missing, 0, missing, 0)
            background = nn.functional.pad(cls[:, :1], edges, value=0.0)
            cls = torch.cat([background, nn.functional.pad(cls[:, 1:], edges, value=NEVER)], dim=1)
            distances = nn.functional.pad(distances, edges)
        return cls, distances.exp()


def write_opencv_nano(net: NanoTrack, folder: Path) -> tuple[Path, Path]:
    """Write the two files of `net` into `folder` and return their paths."""
    net = net.eval()
    backbone, head = Backbone(net).eval(), Head(net).eval()  # the exporter puts back what mode it found
    paths = (folder / FILES[0], folder / FILES[1])
    template, search = torch.zeros(1, 3, 127, 127), torch.zeros(1, 3, 255, 255)
    # OpenCV's importer reads what the older exporter writes best, and one graph serves both sizes of crop.
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            backbone,
            (search,),
            str(paths[0]),
            input_names=["input"],
            output_names=["output"],
            dynamic_axes={"input": {2: "h", 3: "w"}, "output": {2: "y", 3: "x"}},
            opset_version=13,
            dynamo=False,
        )
        torch.onnx.export(
            head,
            (backbone(template), backbone(search)),
            str(paths[1]),
            input_names=["input1", "input2"],
            output_names=["output1", "output2"],
            opset_version=13,
            dynamo=False,
        )
    return paths


def main() -> None:
    """Write the files of a checkpoint and print what --tracker wants."""
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    checkpoint = read_checkpoint(Path(sys.argv[1]))
    net = recognise(checkpoint).build()
    if not isinstance(net, NanoTrack):
        raise UsageError(f"{sys.argv[1]} holds no NanoTrack: OpenCV's TrackerNano runs nothing else")
    load_into(net, checkpoint)
    folder = Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    print("opencv:nano:" + ",".join(str(path) for path in write_opencv_nano(net, folder)))


if __name__ == "__main__":
    main()
