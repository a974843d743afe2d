# SPDX-License-Identifier: Apache-2.0
"""Vectors to `.npz` or Parquet, some at a time: constant memory, and nothing half-written under the name.

Both hold the fields of `embed.Vectors`: arrays of the .npz (words as numpy's own strings, no pickle), columns
of the Parquet file (vectors as lists of one length).
"""

import contextlib
import itertools
import json
import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from ssl_jax.data.files import CHUNK, fsync_dir
from ssl_jax.types import UserError
from ssl_jax.use.embed import ARRAYS, Vectors

_WORDS = 4096  # at once


class Writer(Protocol):
    def add(self, part: Vectors) -> None: ...
    def finish(self) -> None: ...


@contextlib.contextmanager
def writing(path: Path) -> Iterator[Writer]:
    """A writer whose file gets its name when the block ends, and never where it fails.

    Until then everything is in the folder NAME.partial beside it.  Raises UserError where the suffix is none
    of ours, or nothing can be written there.
    """
    kinds = {".npz": _Npz, ".parquet": _Parquet}
    if path.suffix not in kinds:
        raise UserError(f"{path}: vectors go into a file that ends in .npz or .parquet")
    partial = path.with_name(path.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
    try:
        partial.mkdir()
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error
    try:
        whole = partial / "whole"
        writer = kinds[path.suffix](partial, whole)
        yield writer
        writer.finish()
        with whole.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(whole, path)
        fsync_dir(path.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


class _Npz:
    """A .npz tells each array's length before its numbers, so they wait in a file each."""

    def __init__(self, folder: Path, whole: Path):
        self._whole = whole
        self._files = {name: (folder / name).open("w+b") for name in (*ARRAYS, "words")}
        self._kinds: dict[str, tuple[np.dtype, tuple[int, ...]]] = {}
        self._count = self._longest = 0

    def add(self, part: Vectors) -> None:
        for name in ARRAYS:
            array = np.ascontiguousarray(getattr(part, name))
            self._kinds[name] = (array.dtype, array.shape[1:])
            self._files[name].write(array.data)
        for word in part.words:
            self._longest = max(self._longest, len(word))
            self._files["words"].write(json.dumps(word).encode() + b"\n")
        self._count += len(part)

    def finish(self) -> None:
        for file in self._files.values():
            file.seek(0)
        with zipfile.ZipFile(self._whole, "w") as archive:
            for name, (dtype, shape) in self._kinds.items():
                with _member(archive, name, dtype, (self._count, *shape)) as out:
                    shutil.copyfileobj(self._files[name], out, CHUNK)
            dtype = np.dtype(f"<U{max(1, self._longest)}")
            archive.compression = zipfile.ZIP_DEFLATED  # a short word is filled up with zeros
            with _member(archive, "words", dtype, (self._count,)) as out:
                while lines := list(itertools.islice(self._files["words"], _WORDS)):
                    out.write(np.array([json.loads(line) for line in lines], dtype).tobytes())
        for file in self._files.values():
            file.close()


@contextlib.contextmanager
def _member(
    archive: zipfile.ZipFile, name: str, dtype: np.dtype, shape: tuple[int, ...]
) -> Iterator[BinaryIO]:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as out:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(out, header)
        yield out


class _Parquet:
    def __init__(self, folder: Path, whole: Path):
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise UserError("writing .parquet needs: pip install 'ssl_jax[parquet]'") from error
        self._arrow, self._whole = pyarrow, whole
        self._writer: Any = None

    def add(self, part: Vectors) -> None:
        columns = {name: self._column(getattr(part, name)) for name in ARRAYS}
        table = self._arrow.table(columns | {"words": self._arrow.array(part.words, self._arrow.string())})
        if self._writer is None:
            self._writer = self._arrow.parquet.ParquetWriter(self._whole, table.schema)
        self._writer.write_table(table)

    def _column(self, array: np.ndarray) -> Any:
        if array.ndim == 1:
            return self._arrow.array(array)
        flat = self._arrow.array(array.reshape(-1))
        return self._arrow.FixedSizeListArray.from_arrays(flat, array.shape[1])

    def finish(self) -> None:
        self._writer.close()
