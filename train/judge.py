"""Where a student stands: its accuracy on clips, and that of its trunk under its teacher's heads.

    python -m trk.train.judge slimfc validation --init runs/slim/latest.pt --runs 2
    python -m trk.train.judge slimfc validation --init runs/slim/latest.pt --under lightfc.npz

The second figure says which half is behind: near the teacher's own, the heads are what is missing.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import TrkError, UsageError
from ..models.network import SiameseNet
from ..models.registry import find
from .parts import load_parts
from .teacher import Featured, Teacher, read_teacher
from .validate import accuracies


class Under(SiameseNet):
    """The features of one network under the heads of another."""

    def __init__(self, trunk: SiameseNet, teacher: Teacher):
        super().__init__()
        if not isinstance(trunk, Featured):
            raise UsageError("--under wants a model with features of its own")
        self.trunk, self.heads = trunk, teacher.featured
        self.kernel_names, self.map_names = teacher.net.kernel_names, teacher.net.map_names

    def template(self, z: Tensor) -> tuple[Tensor, ...]:
        """Return the features of the template."""
        return (self.trunk.features(z),)

    def search(self, x: Tensor, *kernels: Tensor) -> tuple[Tensor, ...]:
        """Return the teacher's maps of the student's features."""
        return self.heads.maps(self.trunk.features(x), *kernels)


def main(arguments: list[str] | None = None) -> int:
    """Print the accuracy on each sequence, and the mean."""
    parser = argparse.ArgumentParser(prog="python -m trk.train.judge", description="Accuracy of weights in training.")
    parser.add_argument("model", help="model, or model/variant")
    parser.add_argument("folder", type=Path, help="folder of sequences")
    parser.add_argument("--init", action="append", required=True, metavar="[PART=]FILE")
    parser.add_argument("--under", metavar="WEIGHTS", help="judge the trunk under the heads of this teacher")
    parser.add_argument("--runs", type=int, default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        model, _, variant = options.model.partition("/")
        row = find(model, variant or None)
        net = row.build().eval()
        for named in options.init:
            load_parts(net, named)
        if options.under:
            teacher = read_teacher(options.under, row)
            row, net = teacher.row, Under(net, teacher).eval()
        found = accuracies(row, net, options.folder, runs=options.runs)
    except TrkError as error:
        print(error, file=sys.stderr)
        return 2
    for name, value in found.items():
        print(f"{name}  {value:.3f}")
    print(f"mean  {np.mean(list(found.values())):.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
