"""The container: a zip of .npy members beside one of JSON, with a checksum for each.

    manifest.json    what the file is, its version, the document, and the SHA-256 of every array
    manifest.sha256  the SHA-256 of that
    <name>.npy       an array

Nothing is pickled on either side.  A file is written beside its place and moved there, so that a reader of one
finds a whole one.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

FORMAT, VERSION = "iconlearn", 1
MANIFEST, SEAL = "manifest.json", "manifest.sha256"


def write(path, document, arrays):
    """Write a document and its arrays to `path`, all or nothing.

    Parameters
    ----------
    path : str or Path
    document : dict
        Whatever JSON can hold, NaN and infinity included.
    arrays : dict of ndarray
        By names that are file names.
    """
    with _replacing(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
        sums = {}
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                hashing = _Hashing(member)
                np.lib.format.write_array(hashing, array, allow_pickle=False)
                sums[name] = hashing.hash.hexdigest()
        manifest = {"format": FORMAT, "version": VERSION, "sha256": sums, "document": document}
        text = json.dumps(manifest).encode()
        # Without the time of day: equal models make equal files.
        archive.writestr(zipfile.ZipInfo(MANIFEST), text)
        archive.writestr(zipfile.ZipInfo(SEAL), hashlib.sha256(text).hexdigest())


def read(path):
    """The document and the arrays of a file; nothing is returned before all of it is known to be whole.

    Raises
    ------
    ValueError
        If it is no such file, or truncated, altered, or of a newer version.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            return _contents(path, archive)
    except (zipfile.BadZipFile, EOFError, KeyError, OSError, NotImplementedError, UnicodeError) as error:
        if isinstance(error, OSError) and not path.is_file():
            raise
        raise _refused(path, "is truncated, altered, or no file of iconlearn's") from error


def _contents(path, archive):
    if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
        raise _refused(path, "has compressed members, which iconlearn never writes")
    text, seal = archive.read(MANIFEST), archive.read(SEAL)
    try:
        manifest = json.loads(text)
        version, known = manifest["version"], manifest["format"] == FORMAT
    except (ValueError, KeyError, TypeError) as error:
        raise _refused(path, "has no manifest that can be read") from error
    if not known:
        raise _refused(path, f"is a {manifest['format']!r} file, not one of iconlearn's")
    if version != VERSION:
        raise _refused(
            path,
            f"has format version {version}, and this iconlearn reads {VERSION}; install a newer iconlearn",
        )
    if hashlib.sha256(text).hexdigest().encode() != seal:
        raise _refused(path, "was altered: its manifest does not match its checksum")
    if {f"{name}.npy" for name in manifest["sha256"]} | {MANIFEST, SEAL} != set(archive.namelist()):
        raise _refused(path, "was altered: it does not hold the arrays that its manifest names")
    arrays = {}
    for name, expected in manifest["sha256"].items():
        # Nothing is parsed before its bytes are known to be those that were written.
        with archive.open(f"{name}.npy") as member:
            if hashlib.file_digest(member, "sha256").hexdigest() != expected:
                raise _refused(path, f"was altered: its array {name} does not match its checksum")
        with archive.open(f"{name}.npy") as member:
            try:
                arrays[name] = np.lib.format.read_array(member, allow_pickle=False)
            except ValueError as error:
                raise _refused(path, f"was altered: its array {name} cannot be read") from error
    return manifest["document"], arrays


def _refused(path, reason):
    return ValueError(f"{path} {reason}")


class _Hashing:
    """A file that keeps the SHA-256 of all that is written to it."""

    def __init__(self, file):
        self.file, self.hash = file, hashlib.sha256()

    def write(self, data):
        self.hash.update(data)
        return self.file.write(data)


@contextmanager
def _replacing(path):
    """A file beside `path` that takes its place once it is complete."""
    path = Path(path)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        with suppress(FileNotFoundError):
            part.unlink()
