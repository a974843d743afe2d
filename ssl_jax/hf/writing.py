# SPDX-License-Identifier: Apache-2.0
"""Our leaves as safetensors files, one line of a family's table at a time: what is held is a line's leaves.

A safetensors file is the length of its header (8 bytes, little endian), the header (JSON: name -> dtype,
shape, offsets in what follows) and the tensors' bytes.  The header follows from shapes, so it comes first.
"""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import ml_dtypes
import numpy as np

from ssl_jax.hf.families import Family, Use
from ssl_jax.hf.reading import INDEX, WEIGHTS
from ssl_jax.hf.table import Shapes, Tensor, tensors, to_theirs
from ssl_jax.types import Failure, Progress, UserError

DTYPES = {"float32": ("F32", np.dtype(np.float32)), "bfloat16": ("BF16", np.dtype(ml_dtypes.bfloat16))}
Read = Callable[[Sequence[str]], Mapping[str, np.ndarray]]  # names of leaves -> the leaves


@dataclass(frozen=True)
class Zeros:
    """A tensor that theirs must have, and that ours does without."""

    name: str
    shape: tuple[int, ...]


def stored(family: Family, use: Use, shapes: Shapes, vocab_size: int) -> list[Tensor | Zeros]:
    """Every tensor of an export, under its name there, in the order in which it is written.  Raises UserError
    where a leaf of ours has no place among them."""
    lines = [line for line in family.lines(use) if all(name in shapes for name in line.ours)]
    if unmapped := sorted(set(shapes) - {name for line in lines for name in line.ours}):
        raise UserError(
            f"no tensor of {family.heads[use].architecture} holds {', '.join(unmapped)}: "
            "the model cannot be exported"
        )
    found: list[Tensor | Zeros] = [t for line in lines for t in tensors(line, shapes, vocab_size)]
    names = {tensor.name for tensor in found}
    width = shapes["trunk.embeddings.tokens"][1]
    found += [Zeros(name, (rows, width)) for name, rows in family.zeros.items() if name not in names]
    if use is Use.TRUNK:  # files of a trunk alone leave its prefix out
        found = [dataclasses.replace(t, name=t.name.removeprefix(family.prefix)) for t in found]
    return found


def write(
    out: Path,
    plan: Sequence[Tensor | Zeros],
    read: Read,
    *,
    dtype: str,
    shard_size: int,
    progress: Progress,
) -> None:
    """The weights, in one file or in shards of at most shard_size bytes with an index (a larger tensor has a
    shard of its own).  Reads them back with the library, names and shapes, before it returns."""
    shards = _shards(plan, DTYPES[dtype][1].itemsize, shard_size)
    total = sum(_bytes(t, dtype) for t in plan)
    of_plan = values(plan, read)
    index: dict[str, str] = {}
    done = 0
    for number, shard in enumerate(shards, start=1):
        single = len(shards) == 1
        file = out / (WEIGHTS if single else f"model-{number:05d}-of-{len(shards):05d}.safetensors")
        with file.open("wb") as stream:
            _write_header(stream, {t.name: t.shape for t in shard}, dtype)
            for tensor in shard:
                _write_tensor(stream, tensor, next(of_plan), dtype)
                done += _bytes(tensor, dtype)
                progress("weights", done, total, "byte")
        index |= {t.name: file.name for t in shard}
        _read_back(file, {t.name: t.shape for t in shard})
    if len(shards) > 1:
        tree = {"metadata": {"total_size": total}, "weight_map": dict(sorted(index.items()))}
        (out / INDEX).write_text(json.dumps(tree, indent=2) + "\n", encoding="utf-8")


def _bytes(tensor: Tensor | Zeros, dtype: str) -> int:
    return int(np.prod(tensor.shape)) * DTYPES[dtype][1].itemsize


def _shards(plan: Sequence[Tensor | Zeros], itemsize: int, limit: int) -> list[list[Tensor | Zeros]]:
    shards: list[list[Tensor | Zeros]] = []
    room = 0
    for tensor in plan:
        size = int(np.prod(tensor.shape)) * itemsize
        if not shards or size > room:
            shards.append([])
            room = limit
        shards[-1].append(tensor)
        room -= size
    return shards


def values(plan: Sequence[Tensor | Zeros], read: Read) -> Iterator[np.ndarray]:
    """The tensors of the plan in turn, with the leaves of one line in memory."""
    line, leaves = None, {}
    for tensor in plan:
        if isinstance(tensor, Zeros):
            yield np.zeros(tensor.shape, np.float32)
            continue
        if tensor.line is not line:
            leaves = {}  # let go of before the next ones are read
            line, leaves = tensor.line, read(tensor.line.ours)
        yield to_theirs(tensor, leaves)


def _write_header(stream: BinaryIO, shapes: Mapping[str, tuple[int, ...]], dtype: str) -> None:
    code, numpy_dtype = DTYPES[dtype]
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, shape in shapes.items():
        end = at + int(np.prod(shape)) * numpy_dtype.itemsize
        header[name] = {"dtype": code, "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the tensors begin at a multiple of 8, as the library has it
    stream.write(len(text).to_bytes(8, "little") + text)


def _write_tensor(stream: BinaryIO, tensor: Tensor | Zeros, value: np.ndarray, dtype: str) -> None:
    assert value.shape == tensor.shape, (tensor.name, value.shape, tensor.shape)
    if not np.isfinite(value).all():
        raise UserError(f"{tensor.name} holds numbers that are not finite; export an earlier checkpoint")
    plain = np.ascontiguousarray(value, dtype=DTYPES[dtype][1])
    stream.write(plain.view(np.uint8).data if plain.ndim else plain.tobytes())


def _read_back(file: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    from safetensors import safe_open

    with safe_open(file, framework="numpy") as tensors_in:
        found = {name: tuple(tensors_in.get_slice(name).get_shape()) for name in tensors_in.keys()}  # noqa: SIM118
    if found != dict(shapes):
        raise Failure(f"{file} is not what was written; try another disk")
