"""Parameters from files, a part of a network or all of it."""

from pathlib import Path

import torch

from ..errors import CheckpointError
from ..models.network import SiameseNet

IMAGENET = "mobilenetv2_imagenet.safetensors"
"""ImageNet weights of MobileNetV2, which ship with trk."""
OWN = "not stated: trained with trk-train"
"""Licence of weights trained here."""


def read_parts(path: Path, prefix: str = "") -> dict[str, torch.Tensor]:
    """Return the parameters of `path` (safetensors, or a checkpoint of a run) whose names begin with `prefix`, without.

    A run's checkpoint gives its averaged parameters. Raises CheckpointError.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(str(path))
        else:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
            state = loaded.get("average", loaded.get("net", loaded))
    except Exception as error:  # each library raises its own
        raise CheckpointError(f"{path} can't be read: {error}") from None
    return {
        name.removeprefix(prefix): value.float() if value.is_floating_point() else value
        for name, value in state.items()
        if name.startswith(prefix) and isinstance(value, torch.Tensor)
    }


def load_parts(net: SiameseNet, named: str) -> None:
    """Load parameters that `net` has, of the same shapes: from a file, or a part as PART=FILE (trunk=run/latest.pt).

    Raises CheckpointError: nothing there, or nothing of this model in it.
    """
    part, equals, name = named.partition("=")
    if not equals or Path(named).exists():
        part, name = "", named
    prefix, path = f"{part}." if part else "", Path(name)
    state = {prefix + key: value for key, value in read_parts(path, prefix).items()}
    own = net.state_dict()
    fitting = {key: value for key, value in state.items() if key in own and own[key].shape == value.shape}
    if not fitting:
        raise CheckpointError(f"{path} has no parameter of this model{f' in {part}' if part else ''}: is it another's?")
    net.load_state_dict(fitting, strict=False)


def write_weights(
    path: Path, state: dict[str, torch.Tensor], half: bool = True, about: dict[str, str] | None = None
) -> None:
    """Write parameters as safetensors, kernels as float16 where `half`; counters of batch norms are left out.

    `about`: what `trk-export` is to read of them. Raises CheckpointError; the file is there whole or not at all.
    """
    from ..weights.checkpoint import write_safetensors

    kept = {
        name: (value.half() if half and value.is_floating_point() and value.ndim > 1 else value).contiguous()
        for name, value in state.items()
        if not name.endswith("num_batches_tracked")
    }
    write_safetensors(path, kept, about)
