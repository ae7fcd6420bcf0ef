"""How fast each form of a correlation is in ONNX Runtime on this CPU, one thread.

    python -m trk.bench.correlation --targets 1 --targets 4

Each form is exported alone, with the sizes of real networks, and checked against the grouped convolution before it is
timed; the forms take turns, and the smallest and the median of each are printed. Its table is in bench/NOTES.md.
"""

import argparse
import sys
from statistics import median
from time import process_time
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import torch

from ..export.onnx_graph import to_onnx
from ..models import correlation
from ..models.correlation_forms import FORMS


class Case(NamedTuple):
    """Sizes of one correlation of a network."""

    what: str
    channels: int
    side: int
    kernel: int
    outputs: int = 0
    """0: depth-wise."""
    scales: int = 1


CASES = (
    Case("SiamRPN++ ResNet-50, a level", 512, 29, 5),
    Case("SiamRPN++ AlexNet", 512, 20, 4),
    Case("SiamRPN++ light", 64, 27, 7),
    Case("NanoTrack V3", 192, 18, 4),
    Case("SiamRPN box branch", 256, 20, 4, outputs=20),
    Case("SiamFC", 256, 22, 6, outputs=1, scales=3),
)
"""ResNet-50, AlexNet and NanoTrack as fused: class and box channels side by side."""


def session(case: Case, form: str, targets: int) -> tuple[Any, dict[str, Any], float]:
    """Return a session of `case` in `form`, its inputs, and how far it is from the grouped form, by the largest."""
    torch.manual_seed(0)
    layer: correlation.Depthwise | correlation.Full = correlation.Full() if case.outputs else correlation.Depthwise()
    layer.eval()
    x = torch.randn(targets * case.scales, case.channels, case.side, case.side)
    outputs = (case.outputs,) if case.outputs else ()
    kernel = torch.randn(targets, *outputs, case.channels, case.kernel, case.kernel)
    expected = layer(x, kernel)
    correlation.set_form(layer, form)
    if isinstance(layer, correlation.Depthwise):
        kernel = layer.prepared(kernel, case.side)
    model = to_onnx(layer, (x, kernel.contiguous()), ["x", "kernel"], ["out"])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    made = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feeds = {"x": x.numpy(), "kernel": kernel.contiguous().numpy()}
    difference = np.abs(made.run(None, feeds)[0] - expected.numpy()).max() / expected.abs().max().item()
    return made, feeds, float(difference)


def times(sessions: list[tuple[Any, dict[str, Any]]], rounds: int) -> list[list[float]]:
    """Return milliseconds of processor time of each session in each round; they take turns."""
    found: list[list[float]] = [[] for _ in sessions]
    for number in range(rounds + 2):
        for at, (made, feeds) in enumerate(sessions):
            began = process_time()
            made.run(None, feeds)
            if number >= 2:
                found[at].append(1000 * (process_time() - began))
    return found


def table(targets: int, rounds: int) -> list[str]:
    """Return the rows, as Markdown, of all cases and forms for that many targets."""
    rows = [f"| {targets} target{'s' * (targets > 1)} | x, kernel | {' | '.join(FORMS)} | largest difference |"]
    rows.append("|---" * (len(FORMS) + 3) + "|")
    for case in CASES:
        names = [name for name in FORMS if name != "toeplitz" or not case.outputs]
        made = [session(case, name, targets) for name in names]
        found = dict(zip(names, times([one[:2] for one in made], rounds), strict=True))
        cells = [f"{min(found[name]):.2f} ({median(found[name]):.2f})" if name in found else "-" for name in FORMS]
        shape = [f"{n}x" if n > 1 else "" for n in (case.scales, case.outputs)]
        sizes = f"{shape[0]}{case.channels}x{case.side}x{case.side}, {shape[1]}{case.kernel}x{case.kernel}"
        rows.append(f"| {case.what} | {sizes} | {' | '.join(cells)} | {max(one[2] for one in made):.0e} |")
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m trk.bench.correlation", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--targets", type=int, action="append", help="Targets in a batch. Default: 1.")
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for targets in options.targets or [1]:
        print(*table(targets, options.rounds), "", sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
