"""A bundle in INT8: static QDQ, per channel, calibrated on crops of training data, or of the sample clips that ship.

    python -m trk.train.quantise lightfc.trk lightfc-int8.trk
    python -m trk.train.quantise light.trk light-int8.trk --data shards:trainset

Only convolutions with constant weights become INT8: the trunk, the necks, the heads. Correlations (their kernels arrive
at run time), the untrained responses, decoding and the step stay in float32, and so does the template graph. So do the
first convolutions, whose few channels differ most in range, the last of each head (see train/LOG.md), and those that
only weigh channels, which cost nothing.
"""

import argparse
import io
import logging
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import onnx
from onnx.shape_inference import infer_shapes
from onnxruntime import InferenceSession, SessionOptions
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from ..engine.bundle import Bundle
from ..engine.manifest import Manifest
from ..errors import ExportError, TrkError
from ..export.reference import frames_of
from ..export.write import file_entries, write_bundle
from ..weights.clips import SAMPLES, sample
from .augment import SEARCH, Augment, cut
from .layouts import read_data
from .scale import Scales
from .tracks import Frame, Images, Track

CROPS = 96
"""Calibration crops. Ranges leave out the outermost 0.001 % of their values: where they reach to the largest, FEAR-XS,
whose activations have no upper end, loses a seventh of its overlap, and networks with ReLU6 gain nothing."""
FIRST = 3
"""Convolutions at the beginning that stay in float32: the stem and the block without expansion."""
OUTPUTS = 8
"""A convolution with at most so many outputs is the last of a head."""
PLAIN = Augment(shift=0, scale=0, colour=0, grey=0, blur=0, noise=0)


class Feeds(CalibrationDataReader):  # type: ignore[misc]
    """Inputs of the search graph: a crop of a track, the kernels of another crop of it, sizes and parameters."""

    def __init__(self, manifest: Manifest, template: bytes, tracks: list[Track], seed: int = 0):
        self._feeds = self._made(manifest, template, tracks, np.random.default_rng(seed))

    def get_next(self) -> dict[str, Any] | None:
        """Return the next inputs, None at the end."""
        return next(self._feeds, None)

    @staticmethod
    def _made(
        manifest: Manifest, template: bytes, tracks: list[Track], rng: np.random.Generator
    ) -> Iterator[dict[str, Any]]:
        session = InferenceSession(template, _options(), providers=["CPUExecutionProvider"])
        names = [value.name for value in session.get_outputs()]
        inputs = {value.name for value in session.get_inputs()}
        images, search = Images(), manifest.searches[0]
        scales = Scales(manifest.geometry, search.size)
        params = np.array(list(manifest.params.values()), np.float32)
        for _ in range(CROPS):
            track = tracks[int(rng.integers(len(tracks)))]
            first, second = (track.frames[int(rng.integers(len(track.frames)))] for _ in range(2))
            crops = []
            for frame, pixels, rule, scale in (
                (first, scales.template_size, PLAIN, scales.template),
                (second, scales.search_size, SEARCH, scales.search),
            ):
                image = images.read(frame)
                box = frame.box_in(image)
                assert box is not None
                crop, seen = cut(image, box, pixels, rule, rng, scale=scale(image, box))
                crops.append((crop[None], seen[None, 2:]))
            feeds = {"crop": crops[0][0], "size": crops[0][1], "params": params}
            kernels = session.run(names, {name: value for name, value in feeds.items() if name in inputs})
            yield {
                "crop": crops[1][0],
                "size": crops[1][1],
                "params": params,
                **dict(zip(names, kernels, strict=True)),
            }


def quantise(bundle: Path, out: Path, tracks: list[Track]) -> Manifest:
    """Write the INT8 form of `bundle` to `out` and return its manifest. Raises ExportError."""
    opened = Bundle(bundle)
    manifest = opened.manifest
    if manifest.precision != "fp32" or len(manifest.searches) != 1 or manifest.template.external:
        raise ExportError(f"{bundle}: INT8 is made of an FP32 bundle with one search graph that holds its own weights")
    files = {file.name: opened.read(file.name) for file in manifest.files}
    opened.close()
    name = manifest.searches[0].file
    with TemporaryDirectory() as folder:
        source, target = Path(folder, "fp32.onnx"), Path(folder, "int8.onnx")
        source.write_bytes(files[name])
        with redirect_stdout(io.StringIO()):  # it tells of its histograms
            quantize_static(
                str(source),
                str(target),
                Feeds(manifest, files[manifest.template.file], [t for t in tracks if t.frames[0].box]),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.Percentile,
                op_types_to_quantize=["Conv", "Clip", "Relu", "Add"],
                nodes_to_quantize=constant_convolutions(onnx.load_from_string(files[name])),
            )
        model = onnx.load(str(target))
    files[name] = model.SerializeToString()
    changed = manifest.model_copy(
        update={
            "precision": "int8",
            "title": f"{manifest.title}, INT8",
            "files": file_entries(files),
            "parity": manifest.parity.model_copy(update={"crop": f"{manifest.parity.crop} (before INT8)"}),
        }
    )
    write_bundle(out, changed, files)
    return changed


def sample_tracks(folder: Path) -> list[Track]:
    """Return the sample clips as tracks, the frames that have boxes written to `folder`."""
    tracks = []
    for name in SAMPLES:
        clip, frames = sample(name), []
        for number, image in frames_of(clip.video, list(clip.groundtruth)).items():
            path = folder / f"{name}-{number}.png"
            cv2.imwrite(str(path), image)
            frames.append(Frame(path, clip.groundtruth[number], number=number))
        tracks.append(Track(name, "sample", "video", tuple(frames)))
    return tracks


def constant_convolutions(model: onnx.ModelProto) -> list[str]:
    """Return the names of the convolutions that become INT8, and of the activations after them."""
    shapes = {value.name: value.type.tensor_type.shape.dim for value in infer_shapes(model).graph.value_info}
    constants = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for value in node.input:
            users.setdefault(value, []).append(node)
    names: list[str] = []
    found = [node for node in model.graph.node if node.op_type == "Conv" and node.input[1] in constants]
    for node in found[FIRST:]:
        weighs_channels = [dim.dim_value for dim in shapes.get(node.output[0], ())][2:] == [1, 1]
        if constants[node.input[1]][0] > OUTPUTS and not weighs_channels:
            names.append(node.name)
            names += [user.name for user in users.get(node.output[0], []) if user.op_type in ("Clip", "Relu", "Add")]
    return list(dict.fromkeys(names))


def _options() -> SessionOptions:
    options = SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return options


def main(arguments: list[str] | None = None) -> int:
    """Make one bundle INT8."""
    parser = argparse.ArgumentParser(prog="python -m trk.train.quantise", description="A bundle in INT8.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", action="append", metavar="LAYOUT:PATH", help="Default: the sample clips.")
    options = parser.parse_args(arguments)
    logging.getLogger().setLevel(logging.ERROR)  # ONNX Runtime's advice on graphs that it prepares itself
    try:
        with TemporaryDirectory() as folder:
            tracks = read_data(options.data) if options.data else sample_tracks(Path(folder))
            quantise(options.bundle, options.out, tracks)
    except TrkError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"wrote {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
