"""A bundle on disk exists whole or not at all: written beside its place, synced, then renamed into it."""

import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from ..engine.bundle import Bundle
from ..engine.manifest import MANIFEST_NAME, File, Manifest
from ..errors import ExportError, UsageError


def check_target(out: Path) -> None:
    """Raise UsageError if `out` is something that a bundle must not replace, or lies where nothing can be written."""
    if out.suffix == ".trk":
        if out.is_dir():
            raise UsageError(f"{out} is a folder: name a .trk file, or a folder without that ending")
    elif out.is_file():
        raise UsageError(f"{out} is a file: name a folder, or a file that ends in .trk")
    elif out.is_dir() and any(out.iterdir()) and not (out / MANIFEST_NAME).is_file():
        raise UsageError(f"{out} holds other things than a bundle: name an empty or a new folder")
    parent = out.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        raise UsageError(f"nothing can be written to {parent}: {error.strerror}") from None


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
        Bundle(Path(name)).close()
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
        Bundle(fresh)
        if out.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{out.name}.old.", dir=parent))
            out.rename(old / "bundle")
            fresh.rename(out)
            shutil.rmtree(old)
        else:
            fresh.rename(out)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
