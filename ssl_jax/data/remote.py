# SPDX-License-Identifier: Apache-2.0
"""Files behind a URL (gs://, s3://, file://), through TensorStore's key-value store."""

import hashlib
import os
from functools import cached_property
from pathlib import Path
from typing import Any

from ssl_jax.data.files import disk_errors
from ssl_jax.types import Failure

_PIECE = 64 << 20


def is_remote(place: str | Path) -> bool:
    return "://" in str(place)


class Remote:
    """The files of one folder behind a URL.  TensorStore retries what fails for a moment."""

    def __init__(self, url: str):
        self.url = url.rstrip("/") + "/"

    @cached_property
    def _store(self) -> Any:
        import tensorstore as ts

        try:
            return ts.KvStore.open(self.url).result()
        except ValueError as error:
            raise Failure(f"{self.url}: cannot be opened: {str(error).splitlines()[0]}") from error

    def read(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        """Bytes start to stop of a file.  Raises FileNotFoundError, or Failure where it can't be read."""
        if stop is not None and stop <= start:
            return b""
        try:
            result = self._store.read(name, byte_range=slice(start, stop)).result()
        except (ValueError, OSError) as error:
            raise Failure(f"{self.url}{name}: cannot be read: {str(error).splitlines()[0]}") from error
        if result.state == "missing":
            raise FileNotFoundError(f"{self.url}{name}")
        return result.value

    def download(self, name: str, size: int, sha256: str, folder: Path) -> Path:
        """A local copy of a file, kept in a folder under its sha256.  Raises Failure where it differs."""
        path = folder / sha256
        if path.is_file() and path.stat().st_size == size:
            return path
        temporary = folder / f"{sha256}.{os.getpid()}.tmp"
        digest = hashlib.sha256()
        try:
            with disk_errors(path):
                folder.mkdir(parents=True, exist_ok=True)
                with temporary.open("wb") as file:
                    for start in range(0, size, _PIECE):
                        piece = self.read(name, start, min(size, start + _PIECE))
                        digest.update(piece)
                        file.write(piece)
                if digest.hexdigest() != sha256:
                    raise Failure(
                        f"{self.url}{name}: not the bytes that its manifest names; copy the store again"
                    )
                os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        return path
