"""Reading checkpoints of any of the usual containers, without ever running code from them.

Kinds: PyTorch's zip and its older pickle (.pth, .pt, .model, .pkl), NumPy's .npz, safetensors. What a file is, its
first bytes say, not its name. Python pickles can carry programs: they are read by PyTorch's restricted unpickler, and
what that does not know (files of PyTorch 0.3 and Python 2) by the one in `pickles`; anything that is not tensors and
plain data is refused.
"""

import hashlib
import os
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from ..errors import CheckpointError
from .pickles import RefusedError, read_pickled
from .reparameterised import in_branches
from .tensorflow import from_tensorflow, is_tensorflow

WRAPPERS = ("state_dict", "model", "net", "model_state_dict")
"""Under these names training scripts keep the weights, beside optimizer and epoch."""

LIGHTNING = "model."
"""What PyTorch Lightning's module of a training puts before the network's keys; the rest is the training's."""

LARGEST = 8 * 2**30
"""Bytes that an archive may unpack to; the largest tracker has 0.4 GB."""


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a file on the CPU, without wrapping, `module.` and `model.`; `kind` is the container's name."""

    tensors: dict[str, Tensor]
    sha256: str
    file: str
    kind: str
    about: Mapping[str, str] = field(default_factory=dict)
    """What trk wrote into it: `model` (a row's name) and `licence`, where it wrote the file."""


def read_checkpoint(path: Path | str) -> Checkpoint:
    """Return the weights in `path`. Raises CheckpointError: missing, damaged, no weights, it wants to run code."""
    path = Path(path)
    try:
        head, digest = _fingerprint(path)
    except OSError as error:
        raise CheckpointError(f"can't read {path}: {error.strerror or error}: give the path of a checkpoint") from error
    kind = _kind(path, head)
    try:
        tensors = _weights(READERS[kind](path), path.name)
        about = _about(path) if kind == "safetensors" else {}
        if is_tensorflow(tensors):
            tensors = from_tensorflow(tensors)
        tensors = in_branches(tensors)
    except RefusedError as error:
        raise CheckpointError(
            f"{path.name} is refused: {error}; trk reads tensors only and runs nothing from a checkpoint: "
            "save its state_dict alone, best as safetensors"
        ) from error
    except CheckpointError:
        raise
    except Exception as error:  # damaged bytes make the libraries below raise nearly anything
        raise CheckpointError(f"{path.name} is damaged or cut short ({kind}): {_line(error)}; fetch it anew") from error
    if not tensors:
        raise CheckpointError(f"{path.name} holds no weights: trk looks for tensors by name, or below {WRAPPERS[0]!r}")
    return Checkpoint(tensors, digest, path.name, kind, about)


def write_safetensors(
    path: Path | str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write `tensors` and a few words about them, whole or not at all. Raises CheckpointError.

    Tensors that share memory are written once each.
    """
    plain = {key: value.detach().cpu().clone().contiguous() for key, value in tensors.items()}
    target = Path(path)
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        safetensors.torch.save_file(plain, fresh, dict(metadata or {}))
        fresh.replace(target)
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{target} can't be written: {error}") from None
    finally:
        fresh.unlink(missing_ok=True)


def _fingerprint(path: Path) -> tuple[bytes, str]:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        head = file.read(512)
        digest.update(head)
        while block := file.read(1 << 20):
            digest.update(block)
    return head, digest.hexdigest()


def _kind(path: Path, head: bytes) -> str:
    if not head:
        raise CheckpointError(f"{path.name} is empty: fetch it anew")
    if head.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path.name} is a Git LFS pointer: run `git lfs pull` where it came from")
    if head.lstrip().startswith(b"<"):
        raise CheckpointError(f"{path.name} is a web page: the download site wanted a click first; fetch it anew")
    if head.startswith(b"PK"):
        return _archive_kind(path)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size:
        return "safetensors"
    if head.startswith(b"\x80"):
        return "PyTorch pickle"
    what = "a text file" if head.isascii() and b"\0" not in head else "nothing that trk knows"
    raise CheckpointError(f"{path.name} is {what}, not a checkpoint: give a {', a '.join(READERS)} file")


def _archive_kind(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            size = sum(info.file_size for info in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError) as error:
        raise CheckpointError(f"{path.name} is damaged or cut short (zip): {_line(error)}; fetch it anew") from error
    if size > LARGEST:
        raise CheckpointError(f"{path.name} unpacks to {size / 2**30:.0f} GB: no checkpoint of a tracker is so large")
    if any(name.endswith("/data.pkl") for name in names):
        return "PyTorch zip"
    if names and all(name.endswith(".npy") for name in names):
        return "NumPy npz"
    raise CheckpointError(f"{path.name} is an archive without weights: give a {', a '.join(READERS)} file")


def _read_torch(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception:
        # PyTorch's reasons are many and its advice is to switch the protection off: our reader says what is wrong.
        return read_pickled(path)


def _read_npz(path: Path) -> dict[str, Tensor]:
    with np.load(path, allow_pickle=False) as arrays:
        return {key: torch.from_numpy(np.array(arrays[key])) for key in arrays.files}


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = safetensors.torch.load_file(path)
    return tensors


def _about(path: Path) -> dict[str, str]:
    with safetensors.safe_open(path, "pt") as file:
        words: dict[str, str] = file.metadata() or {}
    return {name: words[name] for name in ("model", "licence") if name in words}


READERS: dict[str, Callable[[Path], Any]] = {
    "PyTorch zip": _read_torch,
    "PyTorch pickle": _read_torch,
    "NumPy npz": _read_npz,
    "safetensors": _read_safetensors,
}


def _weights(loaded: Any, file: str) -> dict[str, Tensor]:
    """Return the tensors of what a file held, from under its wrapper, if it has one."""
    while isinstance(loaded, Mapping):
        inner = next((loaded[name] for name in WRAPPERS if isinstance(loaded.get(name), Mapping)), None)
        if inner is None:
            break
        loaded = inner
    found = loaded if isinstance(loaded, Mapping) else {}
    tensors = {_text(key).removeprefix("module."): value for key, value in found.items() if isinstance(value, Tensor)}
    if any(key.startswith(LIGHTNING) for key in tensors):
        tensors = {key.removeprefix(LIGHTNING): value for key, value in tensors.items() if key.startswith(LIGHTNING)}
    for key, value in tensors.items():
        if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
            raise CheckpointError(f"{file}: {key} is sparse, quantized or without values: trk takes plain tensors only")
    return {key: value.detach().contiguous() for key, value in tensors.items()}


def _text(key: object) -> str:
    return key.decode("latin1") if isinstance(key, bytes) else str(key)


def _line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
