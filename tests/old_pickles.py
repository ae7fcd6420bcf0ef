"""Files as PyTorch 0.3 under Python 2 wrote them: bytes for strings, no version-2 rebuild function, storages behind."""

import pickle
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


class Storage(NamedTuple):
    key: str
    count: int
    location: str


class Stored(NamedTuple):
    """A tensor as the pickle has it: a storage, and the part of it."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class Ordered:
    """An OrderedDict, which Python 2 pickled as a list of lists."""

    def __init__(self, items: Mapping[str, Any]) -> None:
        self.items = [[key, value] for key, value in items.items()]


class Python2Pickler(pickle._Pickler):
    dispatch = dict(pickle._Pickler.dispatch)

    def save_python2_string(self, text: str) -> None:
        data = text.encode("latin1")
        short = len(data) < 256
        self.write(
            pickle.SHORT_BINSTRING + bytes([len(data)]) if short else pickle.BINSTRING + struct.pack("<i", len(data))
        )
        self.write(data)
        self.memoize(text)

    dispatch[str] = save_python2_string

    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, Storage):
            return None
        kind = torch.cuda.FloatStorage if obj.location.startswith("cuda") else torch.FloatStorage
        return "storage", kind, obj.key, obj.location, obj.count, None

    def reducer_override(self, obj: Any) -> Any:
        from collections import OrderedDict

        if isinstance(obj, Ordered):
            return OrderedDict, (obj.items,)
        if isinstance(obj, Stored):
            return torch._utils._rebuild_tensor, tuple(obj)
        return NotImplemented


def stored(values: Tensor, key: str, location: str = "cpu") -> Stored:
    return Stored(Storage(key, values.numel(), location), 0, tuple(values.shape), values.stride())


def write_python2(path: Path, content: Any, storages: Mapping[str, Tensor]) -> None:
    """Write `content`, in which `Stored` and `Ordered` stand for tensors and dicts, and the numbers of its storages."""
    with path.open("wb") as file:
        for header in (MAGIC, PROTOCOL, {"protocol_version": PROTOCOL, "little_endian": True}):
            pickle.dump(header, file, 2)
        Python2Pickler(file, 2).dump(content)
        pickle.dump(list(storages), file, 2)
        for values in storages.values():
            file.write(struct.pack("<q", values.numel()) + values.contiguous().numpy().tobytes())


def write_state_dict(path: Path, state: Mapping[str, Tensor], location: str = "cpu") -> None:
    """Write a flat state dict as DaSiamRPN's authors did."""
    floats = {key: value.float() for key, value in state.items()}
    items = {name: stored(value, f"s{i}", location) for i, (name, value) in enumerate(floats.items())}
    write_python2(path, Ordered(items), {f"s{i}": value for i, value in enumerate(floats.values())})
