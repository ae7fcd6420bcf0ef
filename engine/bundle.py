"""A bundle on disk: a folder, or the same as one `.trk` zip."""

import hashlib
import struct
import zipfile
import zlib
from pathlib import Path

from pydantic import ValidationError

from ..errors import BundleError
from .manifest import MANIFEST_NAME, Manifest

MAX_MANIFEST_BYTES = 4 << 20
_LFS_HEAD = b"version https://git-lfs"
_LFS_POINTER_BYTES = 1024
"""No Git LFS pointer is longer."""
_DAMAGED = (OSError, RuntimeError, EOFError, ValueError, zipfile.BadZipFile, zlib.error, struct.error)
"""What zipfile raises on archives that are none, damaged, encrypted or of another make."""


class Bundle:
    """A checked bundle: the manifest, and the bytes of its files on demand.

    The manifest is validated, every file is there with its size and SHA-256, and no name leaves the bundle. Raises
    BundleError with what is wrong and what to do.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self._zip = self._open_zip() if self._is_file() else None
        try:
            self.manifest = self._read_manifest()
            for file in self.manifest.files:
                self._check_size(file.name, file.bytes)
        except BaseException:
            self.close()
            raise

    def read(self, name: str) -> bytes:
        """Return the bytes of one file of the manifest, its hash checked."""
        file = next((file for file in self.manifest.files if file.name == name), None)
        if file is None:
            raise BundleError(f"{self.path}: no file {name!r} in the manifest")
        data = self._bytes(name)
        if len(data) != file.bytes or hashlib.sha256(data).hexdigest() != file.sha256:
            raise BundleError(
                f"{self.path}: {name} was altered (its SHA-256 is not the manifest's): export the bundle again"
            )
        return data

    def close(self) -> None:
        """Close the zip, if the bundle is one."""
        if self._zip:
            self._zip.close()

    def _is_file(self) -> bool:
        try:
            if self.path.is_dir():
                return False
            if self.path.is_file():
                return True
            there = self.path.exists()
        except OSError as error:  # a name too long, a folder on the way that can't be entered
            raise BundleError(f"no bundle can be read at {self.path}: {error.strerror}") from None
        if there:
            raise BundleError(f"{self.path} is neither a folder nor a file: a bundle is a folder or a .trk file")
        raise BundleError(f"no bundle at {self.path}: make one with trk-export, or leave --bundle out for the default")

    def _open_zip(self) -> zipfile.ZipFile:
        try:
            with self.path.open("rb") as stream:
                head = stream.read(len(_LFS_HEAD))
            if head == _LFS_HEAD:
                raise BundleError(f"{self.path} is a Git LFS pointer, not the bundle: run 'git lfs pull'")
            return zipfile.ZipFile(self.path)
        except _DAMAGED as error:
            raise BundleError(
                f"{self.path} is not a bundle (a folder with {MANIFEST_NAME}, or a .trk file): {error}"
            ) from None

    def _size(self, name: str) -> int | None:
        """Return the size of a file, None where there is none. Raises BundleError if it lies elsewhere or is packed."""
        if self._zip:
            try:
                member = self._zip.getinfo(name)
            except KeyError:
                return None
            # Stored members are never larger than the file they lie in: no claim of a size has to be believed.
            if member.compress_type != zipfile.ZIP_STORED:
                raise BundleError(f"{self.path}: {name} is compressed, a .trk file is not: pack it with zip -0")
            return member.file_size
        path = self.path / name
        try:
            if path.resolve() != self.path.resolve() / name:
                raise BundleError(f"{self.path}: {name} is a link, a bundle holds its files itself: copy them into it")
            return path.stat().st_size if path.is_file() else None
        except (OSError, RuntimeError) as error:  # links in a circle are RuntimeError up to Python 3.12
            raise BundleError(f"{self.path}: {name} can't be read: {error}") from None

    def _bytes(self, name: str) -> bytes:
        try:
            return self._zip.read(name) if self._zip else (self.path / name).read_bytes()
        except (KeyError, *_DAMAGED) as error:
            raise BundleError(f"{self.path}: {name} can't be read: {error}") from None

    def _check_size(self, name: str, expected: int) -> None:
        size = self._size(name)
        if size is None:
            raise BundleError(f"{self.path}: {name} is missing: export the bundle again")
        if size != expected:
            self._refuse_pointer(name, size)
            raise BundleError(
                f"{self.path}: {name} has {size} bytes instead of {expected}: truncated, copy or export it again"
            )

    def _refuse_pointer(self, name: str, size: int) -> None:
        if size <= _LFS_POINTER_BYTES and self._bytes(name).startswith(_LFS_HEAD):
            raise BundleError(f"{self.path}: {name} is a Git LFS pointer, not the file: run 'git lfs pull'")

    def _read_manifest(self) -> Manifest:
        size = self._size(MANIFEST_NAME)
        if size is None:
            raise BundleError(
                f"{self.path} is not a bundle: it holds no {MANIFEST_NAME} (of a checkpoint, trk-export makes a bundle)"
            )
        if size > MAX_MANIFEST_BYTES:
            raise BundleError(f"{self.path}: {MANIFEST_NAME} has {size} bytes, more than any manifest")
        self._refuse_pointer(MANIFEST_NAME, size)
        try:
            return Manifest.model_validate_json(self._bytes(MANIFEST_NAME))
        except ValidationError as error:
            first = error.errors()[0]
            # A key that is no plain word is shown as Python writes it: it may hold line breaks.
            words = (str(part) for part in first["loc"])
            where = ".".join(word if word.isprintable() else ascii(word) for word in words)
            why = first["msg"].removeprefix("Value error, ")
            raise BundleError(
                f"{self.path}: {MANIFEST_NAME} is not valid: {where + ': ' if where else ''}{why}"
            ) from None
