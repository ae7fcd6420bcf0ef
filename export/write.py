"""A bundle on disk exists whole or not at all: written beside its place, synced, then renamed into it."""

import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from fnmatch import fnmatch
from hashlib import sha256
from pathlib import Path

from ..engine.bundle import Bundle
from ..engine.manifest import MANIFEST_NAME, File, Manifest
from ..errors import ExportError, UsageError
from .exchange import exchange

_OURS = ("*.onnx", "*.bin", "plans")
"""What a bundle's folder may hold besides its manifest."""


def check_target(out: Path) -> None:
    """Raise UsageError if `out` is something that a bundle must not replace, or lies where nothing can be written."""
    try:
        _check_replaceable(out)
        parent = out.absolute().parent
        while not parent.exists():
            parent = parent.parent
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        raise UsageError(f"no bundle can be written to {out}: {error.strerror}") from None


def _check_replaceable(out: Path) -> None:
    if out.suffix == ".trk":
        if out.is_dir():
            raise UsageError(f"{out} is a folder: name a .trk file, or a folder without that ending")
    elif out.is_file():
        raise UsageError(f"{out} is a file: name a folder, or a file that ends in .trk")
    elif out.is_dir():
        held = sorted(path.name for path in out.iterdir())
        foreign = [name for name in held if name != MANIFEST_NAME and not any(fnmatch(name, ours) for ours in _OURS)]
        if foreign or (held and MANIFEST_NAME not in held):
            raise UsageError(
                f"{out} holds {(foreign or held)[0]}, which is no part of a bundle: name an empty or a new folder"
            )


def file_entries(files: Mapping[str, bytes]) -> tuple[File, ...]:
    """Return the manifest's entries for `files`."""
    return tuple(
        File(name=name, bytes=len(data), sha256=sha256(data).hexdigest()) for name, data in sorted(files.items())
    )


def write_bundle(out: Path, manifest: Manifest, files: Mapping[str, bytes]) -> None:
    """Write the bundle to `out`, a folder or a `.trk` file, replacing a bundle that is there. Raises ExportError."""
    everything = {**files, MANIFEST_NAME: manifest.model_dump_json(indent=2).encode() + b"\n"}
    check_target(out)
    try:
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
        if out.suffix == ".trk":
            _write_zip(out, everything)
        else:
            _write_folder(out, everything)
    except OSError as error:
        raise ExportError(f"the bundle could not be written to {out}: {error.strerror or error}") from None


def _write_zip(out: Path, files: Mapping[str, bytes]) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{out.name}.", dir=out.absolute().parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
                for member, data in sorted(files.items()):
                    # A fixed date: the same export gives the same bytes.
                    archive.writestr(zipfile.ZipInfo(member, (1980, 1, 1, 0, 0, 0)), data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).chmod(0o644)
        _verify(Path(name))
        Path(name).replace(out)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _write_folder(out: Path, files: Mapping[str, bytes]) -> None:
    parent = out.absolute().parent
    fresh = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=parent))
    try:
        for member, data in files.items():
            path = fresh / member
            with path.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
        fresh.chmod(0o755)
        _verify(fresh)
        _swap(fresh, out)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def _verify(path: Path) -> None:
    """Read back what was written. Raises BundleError where it is not what the manifest says."""
    bundle = Bundle(path)
    try:
        for file in bundle.manifest.files:
            bundle.read(file.name)
    finally:
        bundle.close()


def _swap(fresh: Path, out: Path) -> None:
    """Give `fresh` the name `out`, in one step where the system can; what had the name is removed."""
    try:
        fresh.rename(out)  # nothing is there, or an empty folder
    except OSError:
        if not out.exists():
            raise
    else:
        return
    if exchange(fresh, out):
        _remove(fresh)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=fresh.parent))
    old = aside / "old"
    try:
        out.rename(old)
        fresh.rename(out)
    except BaseException:
        if old.exists() and not out.exists():
            old.rename(out)
        raise
    finally:
        if out.exists():  # else it lies aside still, and is better kept there than lost
            shutil.rmtree(aside, ignore_errors=True)


def _remove(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)
