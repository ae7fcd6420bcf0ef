"""Plans on disk: caches, each with a side-car that says what it was built for. A foreign or stale one is never used."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from ...errors import BackendError
from ..bundle import Bundle

FOLDER = "plans"
CACHE_VARIABLE = "TRK_CACHE"
"""Environment variable: the folder for plans of bundles that can't hold them (.trk files, read-only folders)."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Key:
    """What a plan depends on. Two plans of equal keys are interchangeable."""

    graph: str
    """File name of the ONNX graph."""
    onnx_sha256: str
    runtime: str
    """TensorRT or TensorRT-RTX."""
    version: str
    gpu: str
    """Name and compute capability, or the targets an RTX plan was built for."""
    precision: str
    flags: str = ""

    @property
    def name(self) -> str:
        """File name of the plan."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
        return f"{Path(self.graph).stem}-{digest[:16]}.plan"


def key_of(bundle: Bundle, graph: str, runtime: str, version: str, gpu: str, flags: str = "") -> Key:
    """Return the key of a plan of `graph`, a file of `bundle`."""
    listed = {file.name: file.sha256 for file in bundle.manifest.files}
    return Key(graph, listed[graph], runtime, version, gpu, bundle.manifest.precision, flags)


def place(bundle: Bundle) -> Path:
    """Return the folder for plans of `bundle`: inside it, or in the user's cache where it is a file or read-only."""
    if bundle.path.is_dir() and os.access(bundle.path, os.W_OK):
        return bundle.path / FOLDER
    cache = os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "trk"
    return Path(cache) / FOLDER


def find(folder: Path, key: Key, capability: str = "") -> tuple[bytes | None, str]:
    """Return the plan for `key` in `folder`, or None and why there is none to use.

    Where the GPU's `capability` is given, a plan that was built for it by name (`Key.flags`) serves as well.
    """
    named = [Key(**other) for other in _side_cars(folder) if _serves(other, key, capability)]
    for one in (key, *named):
        path = folder / one.name
        about = read_side_car(path)
        if about is None or not path.is_file():
            continue
        data = path.read_bytes()
        if about.get("key") != asdict(one):
            return None, f"{path.name} was built for something else than its name says"
        if about.get("sha256") != hashlib.sha256(data).hexdigest():
            return None, f"{path.name} is damaged"
        return data, ""
    others = [_difference(key, other) for other in _side_cars(folder) if other.get("graph") == key.graph]
    if others:
        return None, f"the plan of {key.graph} there is {min(others, key=len)}"
    return None, f"there is no plan of {key.graph} yet"


def keep(folder: Path, key: Key, plan: bytes) -> Path:
    """Write `plan` and its side-car to `folder`, whole or not at all; drop plans of the same graph's older exports."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.glob("*.plan"):
            key_there = (read_side_car(path) or {}).get("key")
            if isinstance(key_there, dict) and _stale(key, key_there):
                path.unlink(missing_ok=True)
                side_car(path).unlink(missing_ok=True)
        path = folder / key.name
        about = {"key": asdict(key), "bytes": len(plan), "sha256": hashlib.sha256(plan).hexdigest()}
        write_whole(side_car(path), json.dumps(about, indent=2).encode() + b"\n")
        write_whole(path, plan)
    except OSError as error:
        raise BackendError(f"the plan can't be kept in {folder}: {error.strerror or error}") from None
    return path


def side_car(plan: Path) -> Path:
    """Return the path of what describes `plan`."""
    return plan.with_suffix(".json")


def read_side_car(plan: Path) -> dict[str, object] | None:
    """Return what describes `plan`, None where that is missing or no JSON object."""
    try:
        about = json.loads(side_car(plan).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return about if isinstance(about, dict) else None


def _side_cars(folder: Path) -> list[dict[str, str]]:
    found = (read_side_car(path) for path in sorted(folder.glob("*.plan")))
    keys = [about.get("key") for about in found if about]
    return [key for key in keys if isinstance(key, dict)]


def _difference(key: Key, other: dict[str, str]) -> str:
    """In words, how a plan of key `other` differs from `key`."""
    ours = asdict(key)
    wrong = [name for name in ours if other.get(name) != ours[name]]
    if "onnx_sha256" in wrong:
        return "of an older export of the bundle"
    return "for " + ", ".join(f"{name} {other.get(name)}, not {ours[name]}" for name in wrong)


def _serves(other: dict[str, str], key: Key, capability: str) -> bool:
    """Whether a plan of key `other` is one of `key` but for the GPUs, and was built for `capability` among them."""
    ours = asdict(key)
    same = set(other) == set(ours) and all(other[name] == ours[name] for name in ours if name not in ("gpu", "flags"))
    return same and bool(capability) and capability in str(other["flags"]).split(",")


def _stale(key: Key, other: dict[str, str]) -> bool:
    """Whether `other` is the same graph's of another export: of no use any more. Other GPUs' and versions' stay."""
    return other.get("graph") == key.graph and other.get("onnx_sha256") != key.onnx_sha256


def write_whole(path: Path, data: bytes) -> None:
    """Write `data` to `path`: whenever the process ends, the old file is there or the new one. Raises OSError."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
