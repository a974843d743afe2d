# SPDX-License-Identifier: Apache-2.0
"""Files of a corpus: listing, content hashes (remembered by stat), decompression as a stream."""

import contextlib
import errno
import fcntl
import glob
import gzip
import hashlib
import json
import lzma
import os
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ssl_jax.types import Failure, UserError

CHUNK = 1 << 20
COMPRESSED = (".gz", ".xz", ".zst")
# Typical text, only to share out the tokenizer's sample between files before any has been read.
EXPANSION = {".gz": 3.0, ".xz": 4.0, ".zst": 3.5, ".parquet": 2.0}


def cache_dir() -> Path:
    """$SSL_JAX_CACHE, else ~/.cache/ssl_jax."""
    return Path(os.environ.get("SSL_JAX_CACHE") or Path.home() / ".cache" / "ssl_jax")


def listing(pattern: str) -> list[tuple[str, Path]]:
    """(name, path) of the files of a path, directory or glob, in the order of their names.

    Names are relative to the deepest folder without a wildcard, so that they don't depend on where the
    corpus lies.  Raises UserError where there is no file.
    """
    path = Path(pattern).expanduser()
    if path.is_file():
        return [(path.name, path)]
    if path.is_dir():
        root, found = path, (Path(d) / f for d, _, files in os.walk(path, followlinks=True) for f in files)
    elif glob.has_magic(pattern):
        fixed = [p for p in path.parts]
        root = Path(*fixed[: next(i for i, p in enumerate(fixed) if glob.has_magic(p))] or ["."])
        found = (p for p in map(Path, glob.iglob(str(path), recursive=True)) if p.is_file())
    else:
        raise UserError(f"data.source: {pattern}: no such file or directory")
    named = [(p.relative_to(root).as_posix(), p) for p in found]
    named = sorted((n, p) for n, p in named if not any(part.startswith(".") for part in n.split("/")))
    if not named:
        raise UserError(f"data.source: {pattern}: no files there")
    return named


def suffix(name: str) -> tuple[str, str]:
    """("books.jsonl.gz") -> (".jsonl", ".gz")."""
    path = Path(name)
    packed = path.suffix if path.suffix in COMPRESSED else ""
    return Path(path.stem if packed else path.name).suffix, packed


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class ContentHashes:
    """sha256 of files, remembered in the cache by (path, size, mtime, ctime, inode).

    A file changed less than two seconds before it was hashed is not remembered: a later change within the
    clock's grain would go unseen.
    """

    def __init__(self) -> None:
        self._path = cache_dir() / "content_hashes.jsonl"
        self._known: dict[str, tuple[list[int], str]] | None = None

    def __call__(self, path: Path) -> str:
        if self._known is None:
            self._known = self._load()
        path = path.resolve()
        stat = path.stat()
        stamp = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
        known = self._known.get(str(path))
        if known and known[0] == stamp:
            return known[1]
        try:
            digest = sha256_of(path)
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from error
        if time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) > 2_000_000_000:
            self._known[str(path)] = (stamp, digest)
            # Only a memory: where the cache can't be written, files are hashed again next time.
            with contextlib.suppress(OSError):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                with self._path.open("a") as file:
                    file.write(json.dumps([str(path), stamp, digest]) + "\n")
        return digest

    def _load(self) -> dict[str, tuple[list[int], str]]:
        known = {}
        with contextlib.suppress(OSError), self._path.open() as file:
            for line in file:
                with contextlib.suppress(ValueError):  # a line torn by a kill
                    path, stamp, digest = json.loads(line)
                    known[path] = (stamp, digest)
        return known


content_hash = ContentHashes()


def open_stream(path: Path) -> BinaryIO:
    """The decompressed bytes of a file, as a stream.  Raises UserError where it can't be opened."""
    try:
        if path.suffix == ".gz":
            return gzip.open(path, "rb")
        if path.suffix == ".xz":
            return lzma.open(path, "rb")
        if path.suffix == ".zst":
            try:
                import zstandard
            except ImportError as error:
                raise UserError(f"{path}: reading .zst needs: pip install 'ssl_jax[zstd]'") from error
            file = path.open("rb")
            return zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True, closefd=True)
        return path.open("rb")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error


def chunks(path: Path, size: int = CHUNK) -> Iterator[bytes]:
    """Pieces of the decompressed bytes.  Raises UserError where the compressed data is damaged."""
    done = 0
    with open_stream(path) as stream:
        while True:
            try:
                chunk = stream.read(size)
            except (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile, _zstd_error()) as error:
                what = f"{path}: damaged after byte {done} of the decompressed text ({error}); fetch it again"
                raise UserError(what) from error
            except OSError as error:
                raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
            if not chunk:
                return
            done += len(chunk)
            yield chunk


def _zstd_error() -> type[Exception]:
    try:
        import zstandard
    except ImportError:
        return EOFError
    return zstandard.ZstdError


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """A full or read-only disk as one line in place of a traceback."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Failure(f"{path}: no space left on the disk; free some, then run again to go on") from error
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            what = f"cannot be written: {error.strerror}; set data.store or SSL_JAX_CACHE"
            raise Failure(f"{path}: {what}") from error
        raise


def fsync_dir(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_json(path: Path, value: Any) -> None:
    """Atomic and durable: after a kill or a power cut the old file is there or the new one."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w") as file:
        json.dump(value, file, indent=1, sort_keys=True, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    fsync_dir(path.parent)


@contextlib.contextmanager
def locked(path: Path, waiting=lambda: None) -> Iterator[None]:
    """Holds an exclusive lock; the kernel lets go of it when the process ends, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):
                raise
            what = "this file system has no file locks (Lustre has them with -o flock)"
            raise Failure(f"{path}: {what}; set data.store or SSL_JAX_CACHE to one that has") from error
        yield
