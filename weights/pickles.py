"""PyTorch's pickles read by hand: the archive of today and the file of PyTorch 0.1.10 to 1.5, also when Python 2
wrote it.

A pickle is a program that names functions and calls them. Here every name is answered from a table of our own:
rebuilding a tensor becomes a note of where its numbers lie, containers become containers, what training programs keep
beside the weights becomes nothing, and any other name ends the reading. The numbers are fetched afterwards, each note
checked against the storage that it claims a part of.

Source of the format: pytorch/pytorch:torch/serialization.py, torch/_utils.py.
"""

import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
PUTS = ("PUT", "BINPUT", "LONG_BINPUT")

STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class RefusedError(Exception):
    """A pickle asks for something that is neither a tensor nor plain data."""


@dataclass(frozen=True)
class Storage:
    """A run of `count` numbers called `key`; `offset` where it is a view of another."""

    dtype: torch.dtype
    key: str
    count: int
    offset: int = 0


class TensorNote:
    """Where a tensor's numbers lie. Nothing that a pickle does to it has an effect."""

    __slots__ = ("offset", "size", "storage", "stride")

    def __init__(self, storage: Any, offset: Any, size: Any, stride: Any) -> None:
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride

    def __setstate__(self, state: object) -> None:
        """Ignore what old Variables add: whether they want a gradient."""


def read_pickled(path: Path) -> Any:
    """Return what `path` holds, its tensors real. Raises RefusedError, and whatever damaged bytes raise."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            pickled = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            folder = pickled.removesuffix("data.pkl")
            with archive.open(pickled) as file:
                loaded = Reader(file).load()
            return _real(loaded, lambda storage: archive.read(f"{folder}data/{storage.key}"))
    with path.open("rb") as file:
        return _read_sequence(file, path.stat().st_size)


def _read_sequence(file: IO[bytes], size: int) -> Any:
    """The older file: magic number, protocol, system, the object, the storages' names, then each storage."""
    first = Reader(file).load()
    if first != MAGIC:
        return _real(first, _no_storage)
    if Reader(file).load() != PROTOCOL:
        raise ValueError("an unknown version of PyTorch's file")
    system = Reader(file).load()
    if not system.get("little_endian", True):
        raise ValueError("written on a big-endian machine")
    reader = Reader(file)
    loaded = reader.load()
    names = Reader(file).load()
    itemsizes = {storage.key: storage.dtype.itemsize for storage in reader.storages}
    places: dict[str, tuple[int, int]] = {}
    for name in map(str, names):
        count = int.from_bytes(file.read(8), "little")
        start = file.tell()
        places[name] = (start, count * itemsizes[name])
        if start + places[name][1] > size:
            raise EOFError(f"storage {name} ends {start + places[name][1] - size} bytes behind the file's end")
        file.seek(places[name][1], 1)

    def fetch(storage: Storage) -> bytes:
        start, length = places[storage.key]
        file.seek(start)
        return file.read(length)

    return _real(loaded, fetch)


def _no_storage(storage: Storage) -> bytes:
    raise ValueError("a pickle without storages, but with tensors")


class Reader(pickle.Unpickler):
    """An unpickler that knows only the names in `NAMES`. Python 2's strings are read as Latin-1."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, encoding="latin1")
        self._file = file
        self.storages: list[Storage] = []

    def load(self) -> Any:
        """Return the object, once its program was looked through. Raises RefusedError.

        The unpickler makes room for every memo entry up to the highest number it meets: five bytes could ask for
        gigabytes. Writers number them in turn.
        """
        start = self._file.tell()
        for count, (operation, argument, _) in enumerate(pickletools.genops(self._file)):
            if operation.name in PUTS and not 0 <= int(argument or 0) <= count + 1:
                raise RefusedError(f"it numbers its objects up to {argument}, and has {count} before that")
        self._file.seek(start)
        return super().load()

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for `module.name` here. Raises RefusedError."""
        if module in ("torch", "torch.cuda", "torch.storage") and name in STORAGES:
            return STORAGES[name]
        if f"{module}.".startswith(TRAINERS):
            return _Nothing
        try:
            return NAMES[module, name]
        except KeyError:
            raise RefusedError(f"it calls {module}.{name}") from None

    def persistent_load(self, pid: Any) -> Storage:
        """Return the note of a storage: ("storage", type, key, device, count), and what it is a view of."""
        kind, dtype, key, _device, count, *view = pid
        if kind not in ("storage", b"storage") or not isinstance(dtype, torch.dtype):
            raise RefusedError(f"it refers to a {kind!r}, not to a tensor's storage")
        offset = int(view[0][1]) if view and view[0] is not None else 0
        storage = Storage(dtype, str(key), int(count), offset)
        self.storages.append(storage)
        return storage


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_rest: Any) -> TensorNote:
    return TensorNote(storage, offset, size, stride)


def _parameter(data: Any = None, *_rest: Any) -> Any:
    return data


def _mapping(*items: Any) -> "OrderedDict[Any, Any]":
    return OrderedDict(items[0]) if items and isinstance(items[0], list) else OrderedDict()


def _sequence(*items: Any) -> tuple[Any, ...]:
    return tuple(items[0]) if items and isinstance(items[0], list | tuple) else ()


class _Nothing:
    """Stands for what lies beside the weights: the best score, settings, statistics. Whatever is put in is dropped."""

    __slots__ = ()

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, item: object) -> None:
        """Drop `item`."""

    def extend(self, items: object) -> None:
        """Drop `items`."""


TRAINERS = (
    "lib.train.",  # LightFC and others of pytracking's descent: settings, statistics
    "ltr.admin.",
    "model_training.",  # FEAR: its callbacks
    "pytorch_lightning.",
    "lightning.",
    "omegaconf.",
    "easydict.",
    "argparse.",
    "pathlib.",
    "typing.",
)
"""Modules whose objects training programs keep beside the weights; none of them is imported, made or called."""

NAMES: dict[tuple[str, str], Callable[..., Any]] = {
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch.nn.parameter", "Parameter"): _parameter,
    ("torch.autograd.variable", "Variable"): _parameter,
    ("torch", "Size"): _sequence,
    ("torch", "device"): _Nothing,
    ("collections", "OrderedDict"): _mapping,
    ("collections", "defaultdict"): _mapping,
    ("builtins", "dict"): _mapping,
    **{
        (module, name): _Nothing
        for module in ("builtins", "__builtin__")  # Python 2's, with its long and unicode: so protocol 2 has it
        for name in ("bool", "bytes", "float", "int", "list", "long", "object", "set", "str", "tuple", "unicode")
    },
    ("copyreg", "_reconstructor"): _Nothing,
    ("copy_reg", "_reconstructor"): _Nothing,
    ("__builtin__", "dict"): _mapping,
    ("numpy.core.multiarray", "scalar"): _Nothing,
    ("numpy._core.multiarray", "scalar"): _Nothing,
    ("numpy", "dtype"): _Nothing,
    ("_codecs", "encode"): _Nothing,
}


def _real(loaded: Any, fetch: Callable[[Storage], bytes]) -> Any:
    """Return `loaded` with tensors for notes, in nested mappings; what else there is stays or is left out."""
    buffers: dict[str, Tensor] = {}

    def visit(value: Any) -> Any:
        if isinstance(value, TensorNote):
            return _real_tensor(value, fetch, buffers)
        if isinstance(value, dict):
            return {key: visit(item) for key, item in value.items()}
        return value

    return visit(loaded)


def _real_tensor(note: TensorNote, fetch: Callable[[Storage], bytes], buffers: dict[str, Tensor]) -> Tensor:
    storage = note.storage
    if not isinstance(storage, Storage):
        raise RefusedError("it makes a tensor of something that is no storage")
    size, stride = [int(n) for n in note.size], [int(n) for n in note.stride]
    offset = int(note.offset) + storage.offset
    if storage.key not in buffers:
        buffers[storage.key] = torch.frombuffer(bytearray(fetch(storage)) or bytearray(1), dtype=torch.uint8)
    numbers = buffers[storage.key][: len(buffers[storage.key]) // storage.dtype.itemsize * storage.dtype.itemsize]
    flat = numbers.view(storage.dtype)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    empty = 0 in size
    if min([offset, *size, *stride, 0]) < 0 or (not empty and last >= len(flat)):
        raise ValueError(f"a tensor of {size} lies outside its storage")
    return torch.empty(size, dtype=storage.dtype) if empty else flat.as_strided(size, stride, offset).clone()
