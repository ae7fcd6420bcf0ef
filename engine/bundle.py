"""A bundle on disk: a folder, or the same as one `.trk` zip."""

import hashlib
import zipfile
from pathlib import Path

from pydantic import ValidationError

from ..errors import BundleError
from .manifest import MANIFEST_NAME, Manifest

MAX_MANIFEST_BYTES = 4 << 20
_LFS_HEAD = b"version https://git-lfs"


class Bundle:
    """A checked bundle: the manifest, and the bytes of its files on demand.

    The manifest is validated, every file is there with its size and SHA-256, and no name leaves the bundle. Raises
    BundleError with what is wrong and what to do.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        if not self.path.exists():
            raise BundleError(
                f"no bundle at {self.path}: make one with trk-export, or leave --bundle out for the default"
            )
        self._zip = None if self.path.is_dir() else self._open_zip()
        self.manifest = self._read_manifest()
        for file in self.manifest.files:
            self._check_size(file.name, file.bytes)

    def read(self, name: str) -> bytes:
        """Return the bytes of one file of the manifest, its hash checked."""
        file = next((file for file in self.manifest.files if file.name == name), None)
        if file is None:
            raise BundleError(f"{self.path}: no file {name!r} in the manifest")
        data = self._bytes(name)
        if data.startswith(_LFS_HEAD):
            raise BundleError(f"{self.path}: {name} is a Git LFS pointer, not the file: run 'git lfs pull'")
        if len(data) != file.bytes or hashlib.sha256(data).hexdigest() != file.sha256:
            raise BundleError(
                f"{self.path}: {name} was altered (its SHA-256 is not the manifest's): export the bundle again"
            )
        return data

    def external(self, name: str) -> Path | None:
        """Return the folder from which a graph with weights in a file beside it is loaded, or None within a zip."""
        return None if self._zip else self.path / name

    def close(self) -> None:
        """Close the zip, if the bundle is one."""
        if self._zip:
            self._zip.close()

    def _open_zip(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.path)
        except (zipfile.BadZipFile, OSError) as error:
            raise BundleError(
                f"{self.path} is not a bundle (a folder with {MANIFEST_NAME}, or a .trk file): {error}"
            ) from None

    def _size(self, name: str) -> int | None:
        if self._zip:
            try:
                return self._zip.getinfo(name).file_size
            except KeyError:
                return None
        path = self.path / name
        if path.is_symlink() or not path.is_file():
            return None
        return path.stat().st_size

    def _bytes(self, name: str) -> bytes:
        try:
            return self._zip.read(name) if self._zip else (self.path / name).read_bytes()
        except (OSError, KeyError, zipfile.BadZipFile, RuntimeError, EOFError, NotImplementedError) as error:
            raise BundleError(f"{self.path}: {name} can't be read: {error}") from None

    def _check_size(self, name: str, expected: int) -> None:
        size = self._size(name)
        if size is None:
            raise BundleError(f"{self.path}: {name} is missing: export the bundle again")
        if size != expected:
            raise BundleError(
                f"{self.path}: {name} has {size} bytes instead of {expected}: truncated, copy or export it again"
            )

    def _read_manifest(self) -> Manifest:
        size = self._size(MANIFEST_NAME)
        if size is None:
            raise BundleError(f"{self.path} holds no {MANIFEST_NAME}: it is not a bundle")
        if size > MAX_MANIFEST_BYTES:
            raise BundleError(f"{self.path}: {MANIFEST_NAME} has {size} bytes, more than any manifest")
        try:
            return Manifest.model_validate_json(self._bytes(MANIFEST_NAME))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise BundleError(
                f"{self.path}: {MANIFEST_NAME} is not valid: {where + ': ' if where else ''}{first['msg']}"
            ) from None
